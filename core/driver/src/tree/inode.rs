//! Extended attributes of an inode, however it is reached.

use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use strata_sys::{SysError, xattr};

/// An inode: an open file, or a name in a directory (the link itself, of a symbolic link).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Inode<'a> {
    /// A file that is open for more than its path.
    Open(BorrowedFd<'a>),
    /// A name in a directory.
    Named(BorrowedFd<'a>, &'a CStr),
}

impl Inode<'_> {
    /// Replaces `names` by the names of its attributes; none where the file system has none.
    pub(crate) fn list_into(self, names: &mut Vec<u8>) -> Result<(), Errno> {
        let listed = match self {
            Self::Open(file) => xattr::list_into(file, names),
            Self::Named(directory, name) => xattr::list_at_into(directory, name, names),
        };
        match listed.map_err(|error| errno(&error)) {
            Err(Errno::OPNOTSUPP) => {
                names.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// Replaces `value` by the value of an attribute; false if there is none of that name.
    pub(crate) fn get_into(self, attribute: &CStr, value: &mut Vec<u8>) -> Result<bool, Errno> {
        let got = match self {
            Self::Open(file) => xattr::get_into(file, attribute, value),
            Self::Named(directory, name) => xattr::get_at_into(directory, name, attribute, value),
        };
        got.map_err(|error| errno(&error))
    }

    /// Sets an attribute.
    pub(crate) fn set(self, attribute: &CStr, value: &[u8]) -> Result<(), Errno> {
        let set = match self {
            Self::Open(file) => xattr::set(file, attribute, value),
            Self::Named(directory, name) => xattr::set_at(directory, name, attribute, value),
        };
        set.map_err(|error| errno(&error))
    }
}

/// The errno of a failed call; what the crate below refuses by itself has none.
pub(crate) fn errno(error: &SysError) -> Errno {
    error.errno().unwrap_or(Errno::NOSYS)
}
