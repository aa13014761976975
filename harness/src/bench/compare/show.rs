//! A comparison in words: a table for the terminal, a summary for a pull request.

use super::{Comparison, CountChange, Gate, TimeChange};
use crate::bench::counts::Counts;
use crate::bench::export::{bytes, digits, duration};
use crate::bench::report::{BenchReport, Role};
use crate::bench::verdict::Verdict;

/// Most lines of the summary.
const MOST_LINES: usize = 40;
/// Most lines of one kind in it.
const MOST_OF_A_KIND: usize = 10;

/// One line: how it ended.
pub fn headline(found: &Comparison) -> String {
    match found.exit_code() {
        0 if found.gate == Gate::None => "compared, nothing gated".to_owned(),
        0 => format!("no regression in {}", found.gate.as_str()),
        1 => "a run was incorrect".to_owned(),
        2 => format!("regression in {}", found.gate.as_str()),
        _ => "no verdict".to_owned(),
    }
}

/// Every row side by side, for the terminal.
pub fn table(found: &Comparison) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        text.push_str(&words.to_string());
        text.push('\n');
    };
    line(format_args!("old: {}", found.old));
    line(format_args!("new: {}", found.new));
    for fault in &found.incorrect {
        line(format_args!("INCORRECT  {fault}"));
    }
    for difference in &found.differences {
        line(format_args!("unlike     {difference}"));
    }
    for (word, changes) in [("WORSE", &found.worse), ("better", &found.better)] {
        for change in changes {
            line(format_args!("{word:<10} {}", sentence(change)));
        }
    }
    for reason in &found.missing {
        line(format_args!("missing    {reason}"));
    }
    if found.compared() > 0 {
        line(format_args!(
            "counts: {} worse, {} better, {} unchanged",
            found.worse.len(),
            found.better.len(),
            found.unchanged
        ));
    }
    if !found.times.is_empty() {
        let judged = match &found.not_judged {
            Some(reason) => format!("not judged: {reason}"),
            None => "judged within blocks, Holm's correction over all of them".to_owned(),
        };
        line(format_args!("times ({judged}):"));
        line(format_args!(
            "{:<28} {:<32} {:>9} {:>9}  ratio",
            "row", "cell", "old", "new"
        ));
        for change in &found.times {
            line(format_args!(
                "{:<28} {:<32} {:>9} {:>9}  {}",
                change.row,
                change.cell,
                duration(change.old),
                duration(change.new),
                ratio(change)
            ));
        }
    }
    if let Some(reason) = found.unfit() {
        line(format_args!("no verdict: {reason}"));
    }
    line(format_args!(
        "{} (exit code {})",
        headline(found),
        found.exit_code()
    ));
    text
}

/// The same for a pull request, in at most forty lines of markdown.
pub fn summary(found: &Comparison) -> String {
    let mut lines = vec![
        format!("# strata compare: {}", headline(found)),
        String::new(),
        format!(
            "- old: {}; new: {}; gate: {}; exit code {}",
            found.old,
            found.new,
            found.gate.as_str(),
            found.exit_code()
        ),
        format!(
            "- counts: {} worse, {} better, {} unchanged",
            found.worse.len(),
            found.better.len(),
            found.unchanged
        ),
    ];
    if let Some(reason) = found.unfit() {
        lines.push(format!("- no verdict: {reason}"));
    }
    if let Some(reason) = &found.not_judged
        && !found.times.is_empty()
        && found.gate != Gate::Times
    {
        lines.push(format!("- times not judged: {reason}"));
    }
    capped(
        &mut lines,
        found
            .incorrect
            .iter()
            .map(|fault| format!("- **incorrect**: {fault}")),
    );
    let mut rows: Vec<String> = Vec::new();
    rows.extend(found.worse.iter().map(|change| row("**worse**", change)));
    rows.extend(found.slower().map(time_row));
    let mut gains: Vec<String> = Vec::new();
    gains.extend(found.better.iter().map(|change| row("better", change)));
    gains.extend(
        found
            .times
            .iter()
            .filter(|change| change.verdict == Some(Verdict::Faster))
            .map(time_row),
    );
    if !rows.is_empty() || !gains.is_empty() {
        lines.push(String::new());
        lines.push("| | row | cell | what | old | new | change |".to_owned());
        lines.push("|---|---|---|---|---|---|---|".to_owned());
        capped(&mut lines, rows);
        capped(&mut lines, gains);
        lines.push(String::new());
    }
    if !found.is_refused() {
        capped(
            &mut lines,
            found
                .differences
                .iter()
                .map(|what| format!("- unlike: {what}")),
        );
    }
    capped(
        &mut lines,
        found
            .missing
            .iter()
            .map(|what| format!("- missing: {what}")),
    );
    lines.truncate(MOST_LINES);
    lines.push(String::new());
    lines.join("\n")
}

/// Adds what there is room for, and says how much there was no room for.
fn capped(lines: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    let more: Vec<String> = more.into_iter().collect();
    let table = more.first().is_some_and(|line| line.starts_with('|'));
    let left_out = more.len().saturating_sub(MOST_OF_A_KIND);
    lines.extend(more.into_iter().take(MOST_OF_A_KIND));
    if left_out > 0 {
        lines.push(if table {
            format!("| and {left_out} more | | | | | | |")
        } else {
            format!("- and {left_out} more")
        });
    }
}

/// A count in its unit.
fn value(name: &str, count: u64) -> String {
    if name == "device-bytes" {
        bytes(count as f64)
    } else {
        count.to_string()
    }
}

fn share(old: f64, new: f64) -> String {
    if old > 0.0 {
        format!("{:+.1} %", (new / old - 1.0) * 100.0)
    } else {
        "from none".to_owned()
    }
}

fn sentence(change: &CountChange) -> String {
    format!(
        "{} on {}: {} {} -> {} ({})",
        change.row,
        change.cell,
        change.count,
        value(change.count, change.old),
        value(change.count, change.new),
        share(change.old as f64, change.new as f64)
    )
}

fn row(word: &str, change: &CountChange) -> String {
    format!(
        "| {word} | {} | {} | {} | {} | {} | {} |",
        change.row,
        change.cell,
        change.count,
        value(change.count, change.old),
        value(change.count, change.new),
        share(change.old as f64, change.new as f64)
    )
}

fn time_row(change: &TimeChange) -> String {
    let word = if change.is_slower() {
        "**slower**"
    } else {
        "faster"
    };
    format!(
        "| {word} | {} | {} | time | {} | {} | {} |",
        change.row,
        change.cell,
        duration(change.old),
        duration(change.new),
        ratio(change)
    )
}

fn ratio(change: &TimeChange) -> String {
    let interval = &change.ratio;
    format!(
        "{} [{}-{}] {}",
        digits(interval.median),
        digits(interval.low),
        digits(interval.high),
        change.verdict.map_or("not judged", Verdict::as_str)
    )
}

/// What a run counted, one line a row and cell.
pub fn counts(report: &BenchReport) -> String {
    let names: Vec<&str> = super::RULES.iter().map(|rule| rule.name).collect();
    let line = |row: &str, cell: &str, columns: &[String]| {
        let columns: Vec<String> = columns.iter().map(|word| format!("{word:>14}")).collect();
        format!("{row:<28} {cell:<32} {}\n", columns.join(" "))
    };
    let titles: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut text = line("row", "cell", &titles);
    for cell in report.cells.iter().filter(|cell| cell.role != Role::Twin) {
        let columns: Vec<String> = match (&cell.incorrect, cell.counts.last()) {
            (Some(fault), _) => vec![format!("INCORRECT: {fault}")],
            (None, None) => Vec::new(),
            (None, Some(Counts(known))) => names
                .iter()
                .map(|name| {
                    let count = known.get(*name);
                    count.map_or_else(|| "n/c".to_owned(), |count| value(name, *count))
                })
                .collect(),
        };
        text.push_str(&line(&cell.row(), &cell.cell, &columns));
    }
    text
}
