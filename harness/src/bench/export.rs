//! Showing a report: JSON for programs, a table for the terminal, markdown for a comment.

use crate::bench::report::Summary;
use crate::bench::sample::{Figure, Unit};

pub mod json;
pub mod markdown;
pub mod table;

/// A time in the unit that suits it. A difference of two times may be negative.
pub(crate) fn duration(ns: f64) -> String {
    match ns {
        _ if ns < 0.0 => format!("-{}", duration(-ns)),
        _ if ns < 1e3 => format!("{ns:.0} ns"),
        _ if ns < 1e6 => format!("{} us", digits(ns / 1e3)),
        _ if ns < 1e9 => format!("{} ms", digits(ns / 1e6)),
        _ => format!("{} s", digits(ns / 1e9)),
    }
}

/// Three digits that matter.
pub(crate) fn digits(value: f64) -> String {
    match value {
        _ if value < 10.0 => format!("{value:.2}"),
        _ if value < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A size in the unit that suits it.
pub(crate) fn bytes(bytes: f64) -> String {
    const KIB: f64 = 1024.0;
    match bytes {
        _ if bytes < KIB => format!("{bytes:.0} B"),
        _ if bytes < KIB * KIB => format!("{} KiB", digits(bytes / KIB)),
        _ if bytes < KIB * KIB * KIB => format!("{} MiB", digits(bytes / KIB / KIB)),
        _ => format!("{} GiB", digits(bytes / KIB / KIB / KIB)),
    }
}

/// What a row gives besides time, bytes and calls: space, further numbers, single operations.
pub(crate) fn details(summary: &Summary) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(amplification) = summary.space_amplification {
        parts.push(format!("space {}x", digits(amplification)));
    }
    for (name, figure) in &summary.figures {
        parts.push(format!("{name} {}", number(*figure)));
    }
    for (name, found) in &summary.latencies_ns {
        let [p50, p99] = [found.p50, found.p99].map(|ns| duration(ns as f64));
        parts.push(format!("{name} p50 {p50} p99 {p99} of {}", found.count));
    }
    parts
}

fn number(figure: Figure) -> String {
    match figure.unit {
        Unit::Count if figure.value.fract() == 0.0 => format!("{:.0}", figure.value),
        Unit::Count => digits(figure.value),
        Unit::Bytes => bytes(figure.value),
        Unit::Ns => duration(figure.value),
        Unit::Ratio => format!("{}x", digits(figure.value)),
    }
}

#[cfg(test)]
mod tests;
