//! `summary.md`: at most forty lines, for a comment.

use super::table::{class_lines, environment_line, self_check_line};
use super::{bytes, details, digits, duration};
use crate::bench::report::{BenchReport, CellReport};

/// Most lines of the summary.
const MOST_LINES: usize = 40;

/// The report as markdown.
pub fn render(report: &BenchReport) -> String {
    let columns = report.columns();
    let mut lines = vec![
        "# Storage drivers side by side".to_owned(),
        String::new(),
        format!("{} blocks, seed {}, {}.", report.run.blocks, report.run.seed, report.run.stopped.as_str()),
        "Median, ratio to a plain directory on ext4, device bytes, syncs, further figures (`space`: bytes taken per byte of content put into layers); `+` slower, `-` faster, `=` equivalent, `?` inconclusive.".to_owned(),
        String::new(),
        format!("| workload | control | {} |", columns.join(" | ")),
        format!("|---|---|{}", "---|".repeat(columns.len())),
    ];
    for row in report.rows() {
        let control = report
            .cell(&row, "control")
            .and_then(|cell| cell.summary.as_ref());
        let control =
            control.map_or_else(|| "n/a".to_owned(), |known| duration(known.time_ns.median));
        let cells: Vec<_> = columns
            .iter()
            .map(|column| {
                report
                    .cell(&row, column)
                    .map_or_else(|| "skipped".to_owned(), entry)
            })
            .collect();
        lines.push(format!("| {row} | {control} | {} |", cells.join(" | ")));
    }
    lines.push(String::new());
    lines.push(format!("- {}", self_check_line(report)));
    lines.extend(
        class_lines(report)
            .into_iter()
            .map(|line| format!("- {line}")),
    );
    lines.push(format!("- input: {}", report.run.input));
    lines.push(format!("- system calls: {}", report.run.syscalls));
    lines.push(format!("- {}", environment_line(report)));
    let faults: Vec<_> = report
        .incorrect()
        .map(|cell| {
            format!(
                "- **incorrect**: {} on {}: {}",
                cell.cell,
                cell.row(),
                cell.incorrect.as_deref().unwrap_or("")
            )
        })
        .chain(
            report
                .skipped
                .iter()
                .map(|skipped| format!("- skipped: {}: {}", skipped.what, skipped.reason)),
        )
        .collect();
    let repeat = format!("- repeat: `{}`", report.run.command);
    let room = MOST_LINES.saturating_sub(lines.len() + 2);
    let left_out = faults.len().saturating_sub(room);
    lines.extend(faults.into_iter().take(room));
    if left_out > 0 {
        lines.push(format!("- and {left_out} more in results.json"));
    }
    lines.push(repeat);
    lines.truncate(MOST_LINES);
    lines.push(String::new());
    lines.join("\n")
}

fn entry(cell: &CellReport) -> String {
    if cell.incorrect.is_some() {
        return "**incorrect**".to_owned();
    }
    let Some(summary) = &cell.summary else {
        return "too few samples".to_owned();
    };
    let ratio = summary
        .ratio_control
        .map_or_else(String::new, |ratio| format!(" {}x", digits(ratio.median)));
    let mark = summary
        .verdict
        .map_or(' ', super::super::verdict::Verdict::mark);
    let device = summary
        .dev_write
        .map_or_else(String::new, |value| format!(", {}", bytes(value)));
    let syncs = cell.syscalls.as_ref().map_or_else(String::new, |counts| {
        format!(", {} syncs", counts.sync_total())
    });
    let time = duration(summary.time_ns.median);
    let mut parts = vec![format!("{time}{ratio} {mark}{device}{syncs}")];
    parts.extend(details(summary));
    parts.join(", ")
}
