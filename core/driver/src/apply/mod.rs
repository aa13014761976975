//! Applying a changeset to a directory, confined to it.
//!
//! [`apply`] reads a layer and makes the directory that a driver hands it say what the layer says.
//! How "hide what lies below" is stored is the driver's [`Placement`]; everything else, the
//! confinement above all, is the same for every driver. The rules stand in `docs/formats.md`.
//!
//! Nothing is synced here: durability is the business of the driver, once for the whole layer.

mod placement;

use crate::error::Result;
use crate::options::ApplyOptions;
use crate::snapshot::Applied;
use std::io::Read;
use std::os::fd::BorrowedFd;

pub use placement::{Below, DirectoryAttributes, Placement, PlainPlacement};

/// Where a changeset is applied.
pub struct ApplyTarget<'a> {
    /// The directory that becomes the layer's root; open for reading, or with `O_PATH`.
    pub root: BorrowedFd<'a>,
    /// How what lies below is looked up and hidden.
    pub placement: &'a mut dyn Placement,
}

impl std::fmt::Debug for ApplyTarget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplyTarget")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// Applies `changeset` to `target`, from its first byte to its last.
///
/// Blocks; call it off the async threads. The stream is read and hashed on a second thread, and
/// always to its end. Directories keep or get the times that the rules give them, the root keeps
/// its own.
///
/// # Errors
/// What stood in the target is then half changed: it is good for removal only.
/// - [`InvalidInput`](crate::ErrorKind::InvalidInput): the changeset is malformed or refused.
/// - [`NoSpace`](crate::ErrorKind::NoSpace): the file system or the quota is full.
/// - [`PermissionDenied`](crate::ErrorKind::PermissionDenied): the kernel refused an owner, a
///   device or an attribute.
/// - the reader's own error, and [`Other`](crate::ErrorKind::Other).
///
/// All name the `entry` and the `offset` in the stream.
pub fn apply(
    target: ApplyTarget<'_>,
    changeset: Box<dyn Read + Send>,
    options: &ApplyOptions,
) -> Result<Applied> {
    drop((target, changeset, options));
    Err(crate::Error::new(crate::ErrorKind::Unsupported, "apply"))
}
