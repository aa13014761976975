//! How a union driver marks deletions in its upper directory.

use super::same::Step;
use crate::error::{Error, Result};
use crate::tree::inode::Inode;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
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
    WhiteoutOf(CString),
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
#[derive(Clone, Copy, Debug)]
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
        let device = self.stat.st_rdev;
        (rustix::fs::major(device), rustix::fs::minor(device))
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.stat.st_size.unsigned_abs()
    }

    /// The value of an extended attribute of it; none where the file system has none either.
    pub fn xattr(&self, name: &CStr) -> Result<Option<Vec<u8>>> {
        let inode = if self.name.is_empty() {
            Inode::Open(self.directory)
        } else {
            Inode::Named(self.directory, self.name)
        };
        let mut value = Vec::new();
        match inode.get_into(name, &mut value) {
            Ok(there) => Ok(there.then_some(value)),
            Err(Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(self.error("read a mark", errno)),
        }
    }

    /// Whether it is a directory that has `name` in it.
    pub fn holds(&self, name: &CStr) -> Result<bool> {
        if self.file_type() != FileType::Directory {
            return Ok(false);
        }
        let mut path = self.name.to_bytes().to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        match rustix::fs::statat(self.directory, &*path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(self.error("look for a mark", errno)),
        }
    }

    fn error(&self, step: &str, errno: Errno) -> Error {
        Error::io("diff", errno.into())
            .because(format!("cannot {step}"))
            .with("name", self.name().escape_ascii())
    }
}

/// The attributes of `name` in `directory`; none if it is not there.
pub(super) fn look_up(directory: BorrowedFd<'_>, name: &CStr) -> Step<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(("read the attributes", errno)),
    }
}
