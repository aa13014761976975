//! A read-only snapshot that lasts as long as a value.

use super::subvolume;
use crate::layout::Layout;
use btrfsutil::subvolume::SnapshotFlags;
use rustix::fs::Mode;
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use strata_driver::{Error, Result};
use strata_sys::lock::FileLock;

/// How an active snapshot looked at one moment; gone when dropped.
#[derive(Debug)]
#[must_use = "dropping a moment removes its snapshot"]
pub(crate) struct Moment {
    directory: PathBuf,
    /// Tells that somebody still uses it.
    _lock: FileLock,
}

impl Moment {
    /// Takes a snapshot of the subvolume at `source`.
    pub(crate) fn of(layout: &Layout, source: &Path) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let moment = loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{number}", std::process::id());
            let directory = layout.moments().join(name);
            match rustix::fs::mkdir(&directory, Mode::RWXU) {
                Ok(()) => {}
                // Of an earlier process with this number.
                Err(Errno::EXIST) => continue,
                Err(errno) => {
                    return Err(Error::io("diff", errno.into()).with("path", directory.display()));
                }
            }
            // A sweep may take it away before it is locked.
            if let Ok(Some(lock)) = FileLock::try_exclusive(&directory)
                && directory.exists()
            {
                break Self {
                    directory,
                    _lock: lock,
                };
            }
        };
        subvolume::snapshot(source, &moment.path(), Some(SnapshotFlags::READ_ONLY))?;
        Ok(moment)
    }

    /// The root of its tree.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("fs")
    }

    /// Removes what killed processes left.
    pub(crate) fn sweep(layout: &Layout) -> Result<()> {
        let io = |error| Error::io("sweep moments", error);
        for entry in fs_err::read_dir(layout.moments()).map_err(io)? {
            let directory = entry.map_err(io)?.path();
            match FileLock::try_exclusive(&directory) {
                Ok(Some(_lock)) => take_away(&directory)?,
                Ok(None) => {}
                Err(error) if error.is(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        if let Err(error) = take_away(&self.directory) {
            tracing::warn!(
                path = %self.directory.display(), error = %error.chain(),
                "a snapshot for a moment is left to the next reclaim"
            );
        }
    }
}

fn take_away(directory: &Path) -> Result<()> {
    subvolume::remove(&directory.join("fs"))?;
    match rustix::fs::rmdir(directory) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => {
            Err(Error::io("remove moment", errno.into()).with("path", directory.display()))
        }
    }
}
