//! Comparing two trees.

use super::marks::Marks;
use crate::counters::Counters;
use crate::error::Result;
use crate::options::DiffOptions;
use crate::snapshot::{Bytes, Change};
use crate::tree::CopyRecord;
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;

/// The newer of two trees.
#[derive(Clone, Copy)]
pub enum Upper<'a> {
    /// A directory that holds the whole tree: what it lacks is deleted.
    Whole(BorrowedFd<'a>),
    /// A union's upper directory: what it lacks is as in the lower tree.
    Partial {
        /// The directory.
        root: BorrowedFd<'a>,
        /// Tells deletions in it.
        marks: &'a dyn Marks,
    },
}

/// Options of [`compare`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CompareOptions<'a> {
    /// Threads that walk.
    pub threads: NonZeroUsize,
    /// Made when the upper tree was copied from the lower one, which has not changed since.
    pub record: Option<&'a CopyRecord>,
}

impl Default for CompareOptions<'_> {
    /// As many threads as processors (at most eight), no record.
    fn default() -> Self {
        Self {
            threads: crate::tree::CopyOptions::default().threads,
            record: None,
        }
    }
}

impl<'a> CompareOptions<'a> {
    /// Walks with `threads` threads.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// Trusts `record` of what is unchanged.
    #[must_use]
    pub fn with_record(mut self, record: &'a CopyRecord) -> Self {
        self.record = Some(record);
        self
    }
}

/// What [`compare`] found.
#[derive(Debug)]
pub enum Outcome {
    /// The difference.
    Compared(Comparison),
    /// A partial upper directory does not tell: compare whole trees, as the union shows them.
    NeedsWholeTrees,
}

/// The difference of two trees, to be listed or written. Neither may be changed meanwhile.
#[derive(Debug)]
pub struct Comparison {}

/// What [`Comparison::write`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Entries and whiteouts.
    pub entries: u64,
    /// Length of the changeset.
    pub size: Bytes,
}

/// Compares `upper` with `lower`, or with the empty directory.
pub fn compare(
    lower: Option<BorrowedFd<'_>>,
    upper: Upper<'_>,
    options: &CompareOptions<'_>,
    counters: &Counters,
) -> Result<Outcome> {
    todo!()
}

impl Comparison {
    /// The changed paths, in the order of the changeset.
    pub fn changes(&self) -> Vec<Change> {
        todo!()
    }

    /// Writes the canonical changeset.
    pub fn write(&self, out: &mut dyn Write, options: &DiffOptions) -> Result<Written> {
        todo!()
    }
}
