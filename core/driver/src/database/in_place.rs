//! Catalogue files that are overwritten in place, also on btrfs.
//!
//! `SQLite` maps `catalog.db-shm` into memory. On a file system that copies on write, a page of it
//! that was written out needs room to be written to again, and where there is none the kernel ends
//! the process with SIGBUS. So the files are marked, which has an effect only while they are empty.
//! It helps from Linux 6.17 on ("btrfs: fix -ENOSPC mmap write failure on NOCOW files/extents").

use rustix::fs::{IFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Makes `file`, empty and marked, unless it is there or its file system writes in place anyway.
///
/// `SQLite` makes what is missing; without the mark it works until the disk is full.
pub(super) fn make(file: &Path) {
    // To close a file drops all locks on it of this process, those of SQLite too. It opens no file
    // before this has been called, so within the lock nobody has the one that is made.
    static MAKING: Mutex<()> = Mutex::new(());
    let _turn = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if rustix::fs::access(file, rustix::fs::Access::EXISTS) != Err(Errno::NOENT)
        || !file.parent().is_some_and(copies_on_write)
    {
        return;
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let made = rustix::fs::open(file, flags, Mode::from_raw_mode(0o644));
    note(file, made.and_then(set));
}

fn copies_on_write(directory: &Path) -> bool {
    /// `BTRFS_SUPER_MAGIC` of statfs(2).
    const BTRFS: i64 = 0x9123_683E;
    rustix::fs::statfs(directory).is_ok_and(|stat| stat.f_type == BTRFS)
}

fn set(file: impl AsFd) -> rustix::io::Result<()> {
    let before = rustix::fs::ioctl_getflags(&file)?;
    // What is compressed cannot be overwritten in place; the flag may come from the directory.
    rustix::fs::ioctl_setflags(&file, (before - IFlags::COMPRESSED) | IFlags::NOCOW)
}

fn note(file: &Path, outcome: rustix::io::Result<()>) {
    match outcome {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => tracing::debug!(
            file = %file.display(), %error, "catalogue file not marked to be overwritten in place"
        ),
    }
}
