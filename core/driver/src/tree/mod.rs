//! Walking, copying, measuring and removing directory trees.
//!
//! Everything here works by directory descriptors and never follows a symbolic link, so a tree
//! that somebody else filled cannot lead out of itself.

mod copy;
mod record;
mod remove;
mod usage;

pub use copy::{Copied, CopyOptions, Reflink, Witness, copy};
pub use record::CopyRecord;
pub use remove::{Budget, Removal, remove};
pub use usage::usage;
