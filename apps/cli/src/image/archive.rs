//! `save`, `load`, `import`.

use super::flags::{ImportFlags, LoadFlags, SaveFlags};
use super::opened::Context;
use std::process::ExitCode;

pub(super) fn save(_flags: &SaveFlags, _context: &Context<'_>) -> anyhow::Result<ExitCode> {
    anyhow::bail!("to come")
}
pub(super) fn load(_flags: &LoadFlags, _context: &Context<'_>) -> anyhow::Result<ExitCode> {
    anyhow::bail!("to come")
}
pub(super) fn import(_flags: &ImportFlags, _context: &Context<'_>) -> anyhow::Result<ExitCode> {
    anyhow::bail!("to come")
}
