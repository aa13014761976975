//! A full copy of a directory tree.

use super::record::CopyRecord;
use crate::error::Result;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;

/// Whether a copy may share blocks with its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reflink {
    /// Where the file system can (`FICLONE`).
    #[default]
    WherePossible,
    /// Every byte is written anew.
    Never,
}

/// Whether a copy says of each inode how it left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Witness {
    /// It does not.
    #[default]
    Omit,
    /// [`Copied::record`] tells it. The copy then ends at least one clock tick after its last
    /// change.
    Record,
}

/// Options of [`copy`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Threads that copy.
    pub threads: NonZeroUsize,
    /// Whether blocks are shared.
    pub reflink: Reflink,
    /// Whether a [`CopyRecord`] is made.
    pub witness: Witness,
}

impl Default for CopyOptions {
    /// As many threads as processors (at most eight), reflinks where possible, no record.
    fn default() -> Self {
        let one = NonZeroUsize::MIN;
        let processors = std::thread::available_parallelism().unwrap_or(one);
        Self {
            threads: processors.min(one.saturating_add(7)),
            reflink: Reflink::WherePossible,
            witness: Witness::Omit,
        }
    }
}

impl CopyOptions {
    /// Copies with `threads` threads.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// Says whether blocks may be shared.
    #[must_use]
    pub fn with_reflink(mut self, reflink: Reflink) -> Self {
        self.reflink = reflink;
        self
    }

    /// Says whether a [`CopyRecord`] is made.
    #[must_use]
    pub fn with_witness(mut self, witness: Witness) -> Self {
        self.witness = witness;
        self
    }
}

/// What a copy amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// Names made, the root left out.
    pub entries: u64,
    /// Bytes of content written; shared and skipped stretches left out.
    pub bytes: u64,
    /// Regular files whose blocks are shared with the source.
    pub reflinked: u64,
    /// Names that were linked to a file copied under another name.
    pub links: u64,
    /// What [`Witness::Record`] asks for.
    pub record: Option<CopyRecord>,
}

/// Copies the contents and attributes of the directory `source` into the empty directory `target`.
///
/// Content, holes, types, modes, owners, times in nanoseconds, extended attributes, ACLs and link
/// groups are the same afterwards; inode flags (chattr) are not copied. The source must not be
/// written meanwhile. Nothing is synced.
///
/// # Errors
/// Whatever cannot be copied is an error naming its path; what was copied until then stays.
pub fn copy(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    options: &CopyOptions,
) -> Result<Copied> {
    todo!()
}
