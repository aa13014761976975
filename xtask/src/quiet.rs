//! Programs that talk much and matter only when they fail.

use anyhow::bail;
use xshell::Cmd;

/// Runs a talkative command, and shows the end of what it said only if it fails.
pub(crate) fn run_silently(command: Cmd<'_>) -> anyhow::Result<()> {
    let line = command.to_string();
    let output = command.quiet().ignore_status().output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    let end = &lines[lines.len().saturating_sub(15)..];
    bail!(
        "`{line}` ended with {}:\n  {}",
        output.status,
        end.join("\n  ")
    );
}
