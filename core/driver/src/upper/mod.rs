//! Drivers whose snapshot is a thin upper directory over the layers below: what they do alike.
//!
//! They differ in how an upper directory says that something below is gone: [`UpperMarks`]. From
//! that follow [applying](UpperPlacement) a changeset into one, and giving a filled one a
//! [parent that comes late](adopt).

mod attributes;
mod late;
mod placement;
mod questions;

pub use attributes::set_root;
pub use late::adopt;
pub use placement::UpperPlacement;

use crate::error::{Error, Result};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{BorrowedFd, OwnedFd};

/// How a driver's upper directory hides what lies below.
///
/// Directories are open in any way, also with `O_PATH`. An opaque mark at the root of an upper
/// directory need not mean anything to a mount: one mark per name stands there too.
pub trait UpperMarks: Send + Sync + std::fmt::Debug {
    /// Hides `name` of the layers below in `directory`, which has nothing by that name.
    fn hide(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<()>;
    /// Takes that mark away, if it stands beside the name and not in its place; whether there was
    /// one.
    fn unhide(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool>;
    /// Whether `name` is hidden in `directory` by a mark.
    fn is_hidden(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool>;
    /// Hides all that the layers below have in `directory`. Done again, nothing more happens.
    fn seal(&self, directory: BorrowedFd<'_>) -> Result<()>;
    /// Whether [`seal`](Self::seal) was done.
    fn is_sealed(&self, directory: BorrowedFd<'_>) -> Result<bool>;
    /// Whether what is no directory in one layer ends a merge: directories of the same name above
    /// it then show nothing of those below it.
    fn ends_at_others(&self) -> bool;
    /// Bytes of the longest name that an upper directory can hold.
    fn longest_name(&self) -> usize;
}

/// A descriptor that reads, whatever the given one was opened for.
pub fn reopen(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, ".", flags, Mode::empty())
        .map_err(|errno| Error::io("apply", errno.into()))
}
