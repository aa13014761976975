//! The lock that says "this is mounted" across processes.
use crate::error::Result;
use std::path::Path;
use strata_sys::lock::FileLock;

/// Takes `path` for a commit, a removal or an apply, so that nobody mounts meanwhile; `None`
/// while somebody has it mounted. Keep it until the operation is over.
pub fn try_exclusive(path: &Path) -> Result<Option<FileLock>> {
    todo!()
}
/// Whether somebody has it mounted right now.
pub fn is_held(path: &Path) -> Result<bool> {
    todo!()
}
