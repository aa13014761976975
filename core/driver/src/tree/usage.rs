//! The space that a directory tree holds.

use crate::counters::Counters;
use crate::error::Result;
use crate::snapshot::Usage;
use std::os::fd::BorrowedFd;

/// Allocated bytes and inodes of `directory` and everything below it, each inode once.
pub fn usage(directory: BorrowedFd<'_>, counters: &Counters) -> Result<Usage> {
    todo!()
}
