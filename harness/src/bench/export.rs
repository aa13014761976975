//! Showing a report: JSON for programs, a table for the terminal, markdown for a comment.

pub mod json;
pub mod markdown;
pub mod table;

/// A time in the unit that suits it.
pub(crate) fn duration(ns: f64) -> String {
    match ns {
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

#[cfg(test)]
mod tests;
