//! `results.json`: everything, raw samples included.

use crate::bench::report::BenchReport;
use anyhow::Result;

/// The report as JSON text. Numbers that do not exist are null.
pub fn render(report: &BenchReport) -> Result<String> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(text)
}
