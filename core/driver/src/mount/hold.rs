//! The lock that says "this is mounted" across processes.
//!
//! Whoever mounts shares the plan's hold path while it is mounted. A driver takes it for itself
//! during commit, remove and apply: that fails while anybody has it mounted, and keeps everybody
//! from mounting meanwhile. Mounts that outlive their process are rows of the
//! [catalogue](crate::catalog::Catalog::is_mounted) instead.

use crate::error::{Error, ErrorKind, Result};
use rustix::io::Errno;
use std::path::Path;
use std::time::Duration;
use strata_sys::lock::FileLock;

/// How often a mount asks again: [`is_held`] of another process takes the lock for a moment.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// Takes `path` for a commit, a removal or an apply; `None` while somebody has it mounted. Keep
/// it until the operation is over.
pub fn try_exclusive(path: &Path) -> Result<Option<FileLock>> {
    Ok(FileLock::try_exclusive(path)?)
}

/// Whether somebody has it mounted right now.
pub fn is_held(path: &Path) -> Result<bool> {
    Ok(try_exclusive(path)?.is_none())
}

/// Shares `path` for a mount.
pub(super) fn share(path: &Path) -> Result<FileLock> {
    for _ in 0..TRIES {
        match FileLock::try_shared(path) {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) => {}
            Err(error) if error.is(Errno::NOENT) => {
                return Err(Error::new(ErrorKind::NotFound, "mount")
                    .because("the snapshot was committed or removed since it was asked how to mount it, or its directory was lost")
                    .with("hold", path.display())
                    .caused_by(error));
            }
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(PAUSE);
    }
    Err(Error::new(ErrorKind::Busy, "mount")
        .because("a commit, removal or apply of the snapshot is under way")
        .with("hold", path.display()))
}
