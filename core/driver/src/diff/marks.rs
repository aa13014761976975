//! How a union driver marks deletions in its upper directory.

use crate::error::Result;
use rustix::fs::{FileType, Stat};
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// What a name in a union's upper directory means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// What it is.
    Plain,
    /// A directory that hides what the lower tree has at its path.
    OpaqueDirectory,
    /// The lower tree's thing of the same name is gone.
    Whiteout,
    /// The lower tree's thing of this other name is gone (aufs: `.wh.NAME`).
    WhiteoutOf(Vec<u8>),
    /// A record of the driver's own.
    Hidden,
    /// What the union shows here is not all in the upper directory: data or a directory's contents
    /// lie elsewhere (overlay: metacopy, redirect), or other names of the file changed with it
    /// (overlay with an index: `trusted.overlay.nlink`; aufs: pseudo-links). Only whole trees tell.
    Elsewhere,
}

/// Reads one driver's marks.
pub trait Marks: Sync {
    /// Says what `entry` means. Also asked for the upper directory itself, with an empty name.
    fn classify(&self, entry: &UpperEntry<'_>) -> Result<Mark>;
}

/// One name of an upper directory.
#[derive(Debug)]
pub struct UpperEntry<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
    pub(super) stat: &'a Stat,
}

impl UpperEntry<'_> {
    /// Its name; empty for the upper directory itself.
    pub fn name(&self) -> &[u8] {
        self.name.to_bytes()
    }

    /// Its type.
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Major and minor number, of a device.
    pub fn device(&self) -> (u32, u32) {
        (
            rustix::fs::major(self.stat.st_rdev),
            rustix::fs::minor(self.stat.st_rdev),
        )
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.stat.st_size.unsigned_abs()
    }

    /// The value of an extended attribute of it.
    pub fn xattr(&self, name: &CStr) -> Result<Option<Vec<u8>>> {
        todo!()
    }

    /// Whether it is a directory that has `name` in it.
    pub fn holds(&self, name: &CStr) -> Result<bool> {
        todo!()
    }
}
