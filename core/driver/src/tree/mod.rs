//! Walking, copying, measuring and removing directory trees.
//!
//! Everything here works by directory descriptors and never follows a symbolic link, so a tree
//! that somebody else filled cannot lead out of itself. A walk holds two descriptors open for each
//! level of depth.

mod attributes;
mod content;
mod copy;
pub(crate) mod inode;
mod links;
pub(crate) mod names;
pub(crate) mod queue;
mod record;
mod remove;
mod single;
pub(crate) mod trail;
mod usage;

pub use copy::{Copied, CopyOptions, Reflink, Witness, copy};
pub use record::CopyRecord;
pub use remove::{Budget, Removal, remove};
pub use single::{At, InodeCopier};
pub use usage::usage;
