//! Removing a directory tree.

use crate::error::Result;
use std::os::fd::BorrowedFd;

/// How many names one call of [`remove`] may delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// All of them.
    Unlimited,
    /// At most this many, or one.
    Entries(u64),
}

/// How far [`remove`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "something may be left"]
pub enum Removal {
    /// Nothing is left.
    Complete,
    /// The budget was used up; call again.
    Left,
}

/// Removes `name` in `parent` and everything below it; absent is removed.
///
/// Immutable and append-only files and directories (chattr) lose those flags first. A mount inside the tree is
/// not entered: [`Busy`](crate::ErrorKind::Busy).
pub fn remove(parent: BorrowedFd<'_>, name: &[u8], budget: Budget) -> Result<Removal> {
    todo!()
}
