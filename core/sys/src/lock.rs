//! Advisory locks of whole files and directories, flock(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Result};

/// A lock on a file or a directory, held until dropped.
///
/// The lock belongs to the open file description: two locks of one process on one path exclude
/// each other like those of two processes. A process that dies loses its locks.
#[derive(Debug)]
#[must_use = "dropping a lock releases it"]
pub struct FileLock {
    file: OwnedFd,
}

impl FileLock {
    /// Waits until nobody holds `path` exclusively, then shares it.
    pub fn shared(path: &Path) -> Result<Self> {
        Self::shared_on(open(path)?)
    }

    /// Waits until nobody else holds `path`.
    pub fn exclusive(path: &Path) -> Result<Self> {
        Self::exclusive_on(open(path)?)
    }

    /// Shares `path` unless somebody holds it exclusively (`None`).
    pub fn try_shared(path: &Path) -> Result<Option<Self>> {
        Self::try_shared_on(open(path)?)
    }

    /// Takes `path` unless somebody else holds it (`None`).
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        Self::try_exclusive_on(open(path)?)
    }

    /// [`FileLock::shared`] on a file that is open already.
    pub fn shared_on(file: OwnedFd) -> Result<Self> {
        lock(&file, FlockOperation::LockShared)?;
        Ok(Self { file })
    }

    /// [`FileLock::exclusive`] on a file that is open already.
    pub fn exclusive_on(file: OwnedFd) -> Result<Self> {
        lock(&file, FlockOperation::LockExclusive)?;
        Ok(Self { file })
    }

    /// [`FileLock::try_shared`] on a file that is open already.
    pub fn try_shared_on(file: OwnedFd) -> Result<Option<Self>> {
        try_lock(file, FlockOperation::NonBlockingLockShared)
    }

    /// [`FileLock::try_exclusive`] on a file that is open already.
    pub fn try_exclusive_on(file: OwnedFd) -> Result<Option<Self>> {
        try_lock(file, FlockOperation::NonBlockingLockExclusive)
    }
}

impl AsFd for FileLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing alone would not do: a child that is between fork and exec shares the
        // description, and would hold the lock for as long.
        if let Err(errno) = rustix::fs::flock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(fd = self.file.as_raw_fd(), %errno, "lock left to close");
        }
    }
}

fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )
    .on("open", || path.display())
}

fn lock(file: &OwnedFd, operation: FlockOperation) -> Result<()> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation))
        .on("flock", || format!("fd {}", file.as_raw_fd()))
}

fn try_lock(file: OwnedFd, operation: FlockOperation) -> Result<Option<FileLock>> {
    match lock(&file, operation) {
        Ok(()) => Ok(Some(FileLock { file })),
        Err(error) if error.is(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error),
    }
}
