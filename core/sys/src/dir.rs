//! Reading directories fast: getdents64(2) into one buffer that is used again and again.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

pub use rustix::fs::FileType;
use rustix::fs::RawDir;

use crate::error::SysError;

/// As much as glibc asks for at once.
const BUFFER_BYTES: usize = 32 * 1024;

/// One name in a directory.
#[derive(Debug, Clone, Copy)]
pub struct DirectoryEntry<'a> {
    /// The name, any bytes but `/` and NUL.
    pub name: &'a CStr,
    /// Type; [`FileType::Unknown`] where the file system does not tell.
    pub file_type: FileType,
    /// Inode number as in the directory, which overlay may give another than `statx`.
    pub inode: u64,
}

impl<'a> DirectoryEntry<'a> {
    /// The name's bytes without the final NUL.
    pub fn name_bytes(&self) -> &'a [u8] {
        self.name.to_bytes()
    }
}

/// Reads directories, one after another.
#[derive(Debug)]
pub struct DirectoryReader {
    buffer: Vec<MaybeUninit<u8>>,
}

impl Default for DirectoryReader {
    fn default() -> Self {
        Self::new()
    }
}

impl DirectoryReader {
    /// A reader with its own buffer.
    pub fn new() -> Self {
        Self {
            buffer: vec![MaybeUninit::uninit(); BUFFER_BYTES],
        }
    }

    /// Calls `visit` for each name but `.` and `..`, in the file system's own order, from where
    /// `directory` stands (its start, when just opened) to its end. The first error ends it.
    pub fn read<E: From<SysError>>(
        &mut self,
        directory: impl AsFd,
        mut visit: impl FnMut(DirectoryEntry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let directory = directory.as_fd();
        let mut entries = RawDir::new(directory, &mut self.buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => {
                    let subject = format!("fd {}", directory.as_raw_fd());
                    return Err(SysError::new("getdents64", errno, subject).into());
                }
            };
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            visit(DirectoryEntry {
                name: entry.file_name(),
                file_type: entry.file_type(),
                inode: entry.ino(),
            })?;
        }
        Ok(())
    }
}
