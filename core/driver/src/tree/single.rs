//! Copying one inode, for who decides by himself where it goes.

use super::attributes::{Attributes, Made};
use super::content::{Contents, Files};
use super::inode::Inode;
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicBool;

/// Copies inodes one by one, from several threads; knows whether blocks can be shared.
#[derive(Debug)]
pub struct InodeCopier {
    share: AtomicBool,
}

impl Default for InodeCopier {
    fn default() -> Self {
        Self {
            share: AtomicBool::new(true),
        }
    }
}

/// An inode: a name in a directory, or the directory (any file opened with `O_PATH`) itself if
/// the name is empty.
pub type At<'a> = (BorrowedFd<'a>, &'a CStr);

impl InodeCopier {
    /// Copies the content of a regular file that `stat` describes into an empty one: shared where
    /// the file system can, holes kept.
    pub fn content(
        &self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        stat: &Stat,
    ) -> Result<(), Errno> {
        let copied = Contents::new(&self.share).copy(Files { source, target }, stat);
        copied.map(drop).map_err(|(_, errno)| errno)
    }

    /// Gives `target`, which this process just made with the permission bits `made`, the owner,
    /// extended attributes, mode and times of `source`.
    pub fn attributes(&self, source: At<'_>, target: At<'_>, made: u32) -> Result<(), Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let stat = rustix::fs::statat(source.0, source.1, flags)?;
        let from = Inode::Named(source.0, source.1);
        let made = Made {
            inode: Inode::Named(target.0, target.1),
            mode: made,
        };
        let mut attributes = Attributes::new();
        let copied = attributes.list(from);
        let copied = copied.and_then(|_| attributes.finish(from, &stat, made));
        copied.map_err(|(_, errno)| errno)
    }
}
