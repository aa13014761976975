//! The final table on the terminal.

use super::{bytes, details, digits, duration};
use crate::bench::report::{BenchReport, CellReport, Role};
use std::fmt::{self, Write};

/// The whole result as text, the command to repeat it last.
pub fn render(report: &BenchReport) -> String {
    let mut text = String::new();
    match write_report(&mut text, report) {
        Ok(()) => text,
        Err(fmt::Error) => format!("{text}\n(the table could not be written whole)"),
    }
}

fn write_report(out: &mut String, report: &BenchReport) -> fmt::Result {
    let width = report
        .cells
        .iter()
        .map(|cell| cell.cell.len())
        .max()
        .unwrap_or(0)
        .max(10);
    for row in report.rows() {
        let cells: Vec<_> = report
            .cells
            .iter()
            .filter(|cell| cell.row() == row && cell.role != Role::Twin)
            .collect();
        let Some(first) = cells.first() else { continue };
        let parameters: Vec<_> = first
            .params
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        writeln!(
            out,
            "\n{row}  [{}] {}",
            first.cache.as_str(),
            parameters.join(", ")
        )?;
        writeln!(
            out,
            "  {:width$}  {:>10} {:>9}   {:<24} {:<14} {:>10} {:>9} {:>6}{}",
            "cell",
            "median",
            "+-mad",
            "ratio to control [95 %]",
            "verdict",
            "device",
            "syscalls",
            "syncs",
            if cells.iter().any(|cell| has_more(cell)) {
                "  more"
            } else {
                ""
            }
        )?;
        for cell in cells {
            write_cell(out, cell, width)?;
        }
    }
    write_foot(out, report)
}

fn has_more(cell: &CellReport) -> bool {
    cell.summary
        .as_ref()
        .is_some_and(|summary| !details(summary).is_empty())
}

fn write_cell(out: &mut String, cell: &CellReport, width: usize) -> fmt::Result {
    write!(out, "  {:width$}  ", cell.cell)?;
    if let Some(fault) = &cell.incorrect {
        return writeln!(out, "INCORRECT, no speed shown: {fault}");
    }
    let Some(summary) = &cell.summary else {
        return writeln!(out, "too few samples ({})", cell.samples.len());
    };
    let ratio = summary.ratio_control.map_or_else(String::new, |ratio| {
        format!(
            "{}x [{}-{}]",
            digits(ratio.median),
            digits(ratio.low),
            digits(ratio.high)
        )
    });
    let verdict = summary
        .verdict
        .map_or("", super::super::verdict::Verdict::as_str);
    let (calls, syncs) = match &cell.syscalls {
        Some(counts) => (counts.all.to_string(), counts.sync_total().to_string()),
        None => ("n/c".to_owned(), "n/c".to_owned()),
    };
    let more = match details(summary) {
        parts if parts.is_empty() => String::new(),
        parts => format!("  {}", parts.join(", ")),
    };
    writeln!(
        out,
        "{:>10} {:>9}   {ratio:<24} {verdict:<14} {:>10} {calls:>9} {syncs:>6}{more}",
        duration(summary.time_ns.median),
        duration(summary.mad_ns),
        summary.dev_write.map_or_else(|| "n/a".to_owned(), bytes),
    )
}

fn write_foot(out: &mut String, report: &BenchReport) -> fmt::Result {
    let run = &report.run;
    writeln!(out)?;
    for skipped in &report.skipped {
        writeln!(out, "skipped: {}: {}", skipped.what, skipped.reason)?;
    }
    writeln!(out, "{}", self_check_line(report))?;
    for line in class_lines(report) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "input: {}", run.input)?;
    writeln!(out, "system calls: {} (n/c: not counted)", run.syscalls)?;
    writeln!(out, "{}", environment_line(report))?;
    writeln!(
        out,
        "{} blocks in {:.0} s, seed {}, {} profile; {}",
        run.blocks,
        run.seconds,
        run.seed,
        run.profile.as_str(),
        run.stopped.as_str()
    )?;
    writeln!(out, "repeat: {}", run.command)
}

/// The result of the A/A twin in a line.
pub(super) fn self_check_line(report: &BenchReport) -> String {
    let aa = &report.aa;
    let Some(of) = &aa.of else {
        return "A/A: no twin was run".to_owned();
    };
    let mut line = format!(
        "A/A: {of} against its twin differs on {} of {} rows ({:.1} expected by chance)",
        aa.significant,
        aa.pairs,
        aa.expected()
    );
    if !aa.rows.is_empty() {
        let _ = write!(line, ": {}", aa.rows.join(", ")); // a string takes everything
    }
    if aa.is_unfit() {
        line.push_str("; UNFIT: this machine is too noisy, do not trust the times");
    } else if aa.is_noisy() {
        line.push_str("; noisy: above twice the expected");
    }
    line
}

/// Which classes there are, and that they are not to be ranked together.
pub(super) fn class_lines(report: &BenchReport) -> Vec<String> {
    let mut classes: Vec<&str> = Vec::new();
    for cell in &report.cells {
        if let Some(class) = cell.durability
            && !classes.contains(&class.as_str())
        {
            classes.push(class.as_str());
        }
    }
    match classes[..] {
        [] => Vec::new(),
        [one] => vec![format!("durability: {one} (the control promises nothing)")],
        _ => vec![format!(
            "durability: {}; cells of different classes promise different things and are not ranked together",
            classes.join(", ")
        )],
    }
}

/// The host in a line.
pub(super) fn environment_line(report: &BenchReport) -> String {
    let env = &report.run.env;
    let get = |name| env.get(name).unwrap_or("?");
    format!(
        "host: Linux {}, {} x {}, {}; loop files on {} ({}), direct I/O {}",
        get("kernel"),
        get("processors"),
        get("processor"),
        get("memory"),
        get("scratch"),
        get("scratch-file-system"),
        get("loop-direct-io"),
    )
}
