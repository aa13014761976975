//! Overlay's own marks: character devices 0:0 and opaque directories.

use super::Namespace;
use rustix::fs::{AtFlags, FileType, Mode, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use strata_driver::upper::{UpperMarks, reopen};
use strata_driver::{Error, Result};
use strata_sys::xattr;

impl UpperMarks for Namespace {
    fn hide(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        rustix::fs::mknodat(
            directory,
            OsStr::from_bytes(name),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )
        .map_err(|errno| {
            Error::io("apply", errno.into())
                .because("the whiteout cannot be made")
                .with("name", String::from_utf8_lossy(name))
        })
    }

    fn unhide(&self, _directory: BorrowedFd<'_>, _name: &[u8]) -> Result<bool> {
        Ok(false)
    }

    fn is_hidden(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
        let name = OsStr::from_bytes(name);
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
                Ok(device && stat.st_rdev == 0)
            }
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::io("apply", errno.into())),
        }
    }

    fn seal(&self, directory: BorrowedFd<'_>) -> Result<()> {
        let directory = reopen(directory)?;
        rustix::fs::fsetxattr(&directory, self.opaque(), b"y", XattrFlags::empty())
            .map_err(|errno| Error::io("apply", errno.into()).because("cannot make it opaque"))
    }

    fn is_sealed(&self, directory: BorrowedFd<'_>) -> Result<bool> {
        let directory = reopen(directory)?;
        Ok(xattr::get(&directory, self.opaque())?.as_deref() == Some(b"y"))
    }

    fn ends_at_others(&self) -> bool {
        true
    }

    fn longest_name(&self) -> usize {
        usize::MAX
    }
}
