//! Whether two inodes are the same in everything that counts.

use super::xattrs::{self, Xattrs};
use crate::tree::inode::Inode;
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// What failed, in the words of an error message, and how.
pub(super) type Step<T> = Result<T, (&'static str, Errno)>;

/// Bytes compared at once.
const BUFFER: usize = 256 * 1024;

/// One side of a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side<'a> {
    pub(super) directory: BorrowedFd<'a>,
    /// Empty for the directory itself.
    pub(super) name: &'a CStr,
    pub(super) stat: &'a Stat,
}

impl<'a> Side<'a> {
    fn inode(&self) -> Inode<'a> {
        if self.name.is_empty() {
            Inode::Open(self.directory)
        } else {
            Inode::Named(self.directory, self.name)
        }
    }

    fn open(&self) -> Step<OwnedFd> {
        open(self.directory, self.name, OFlags::NONBLOCK)
            .map_err(|errno| ("open the file to compare it", errno))
    }
}

/// Opens for reading, without a new access time where the caller may ask for that.
pub(super) fn open(
    directory: BorrowedFd<'_>,
    name: &CStr,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(directory, name, flags, Mode::empty()),
        other => other,
    }
}

/// Whether what stat(2) tells is the same, the modification time left out for a root.
pub(super) fn same_header(upper: &Side<'_>, lower: &Side<'_>) -> bool {
    let (one, other) = (upper.stat, lower.stat);
    let kind = FileType::from_raw_mode(one.st_mode);
    let mode = match kind {
        FileType::Symlink => FileType::from_raw_mode(other.st_mode) == kind,
        _ => one.st_mode == other.st_mode,
    };
    let own = match kind {
        FileType::RegularFile => one.st_size == other.st_size,
        FileType::CharacterDevice | FileType::BlockDevice => one.st_rdev == other.st_rdev,
        _ => true,
    };
    mode && own
        && one.st_uid == other.st_uid
        && one.st_gid == other.st_gid
        && (upper.name.is_empty()
            || (one.st_mtime, one.st_mtime_nsec) == (other.st_mtime, other.st_mtime_nsec))
}

/// Compares inodes; keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct Comparer {
    names: Vec<u8>,
    upper_xattrs: Xattrs,
    lower_xattrs: Xattrs,
    upper: Vec<u8>,
    lower: Vec<u8>,
}

impl Comparer {
    /// Whether nothing that counts differs. Reads no more than it takes to know.
    pub(super) fn same(&mut self, upper: &Side<'_>, lower: &Side<'_>) -> Step<bool> {
        if !same_header(upper, lower) {
            return Ok(false);
        }
        let inode = |stat: &Stat| (stat.st_dev, stat.st_ino);
        if inode(upper.stat) == inode(lower.stat) {
            return Ok(true);
        }
        let kind = FileType::from_raw_mode(upper.stat.st_mode);
        if kind == FileType::Symlink {
            let read = |side: &Side<'_>| {
                rustix::fs::readlinkat(side.directory, side.name, Vec::new())
                    .map_err(|errno| ("read the link", errno))
            };
            if read(upper)? != read(lower)? {
                return Ok(false);
            }
        }
        if !self.same_xattrs(upper.inode(), lower.inode())? {
            return Ok(false);
        }
        if kind == FileType::RegularFile && upper.stat.st_size > 0 {
            return self.same_content(upper, lower);
        }
        Ok(true)
    }

    /// Whether both have the same attributes of those that count.
    fn same_xattrs(&mut self, upper: Inode<'_>, lower: Inode<'_>) -> Step<bool> {
        let blame = |errno| ("read the extended attributes", errno);
        xattrs::read(upper, &mut self.names, &mut self.upper_xattrs).map_err(blame)?;
        xattrs::read(lower, &mut self.names, &mut self.lower_xattrs).map_err(blame)?;
        Ok(self.upper_xattrs == self.lower_xattrs)
    }

    /// Whether `root` has any of the attributes that count.
    pub(super) fn has_xattrs(&mut self, root: BorrowedFd<'_>) -> Step<bool> {
        xattrs::read(Inode::Open(root), &mut self.names, &mut self.upper_xattrs)
            .map_err(|errno| ("read the extended attributes", errno))?;
        Ok(!self.upper_xattrs.is_empty())
    }

    fn same_content(&mut self, upper: &Side<'_>, lower: &Side<'_>) -> Step<bool> {
        let files = (upper.open()?, lower.open()?);
        let size = upper.stat.st_size.unsigned_abs();
        let sparse = |stat: &Stat| stat.st_blocks.unsigned_abs() * 512 < size;
        let sparse = sparse(upper.stat) && sparse(lower.stat);
        self.upper.resize(BUFFER, 0);
        self.lower.resize(BUFFER, 0);
        let mut offset = 0;
        while offset < size {
            if sparse {
                // Where both have a hole, both read as zeros.
                match (data(&files.0, offset)?, data(&files.1, offset)?) {
                    (None, None) => return Ok(true),
                    (one, other) => {
                        offset = one.unwrap_or(size).min(other.unwrap_or(size)).min(size);
                    }
                }
            }
            let wanted = (size - offset).min(BUFFER as u64) as usize;
            let upper = fill(&files.0, &mut self.upper[..wanted], offset)?;
            let lower = fill(&files.1, &mut self.lower[..wanted], offset)?;
            if upper != lower {
                return Ok(false);
            }
            offset += wanted as u64;
        }
        Ok(true)
    }
}

/// Where the next data begins; none if only a hole follows.
fn data(file: &OwnedFd, offset: u64) -> Step<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that knows no holes: all is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset)),
        Err(errno) => Err(("find the holes of the file", errno)),
    }
}

fn fill<'a>(file: &OwnedFd, buffer: &'a mut [u8], offset: u64) -> Step<&'a [u8]> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(file.as_fd(), &mut buffer[done..], offset + done as u64) {
            Ok(0) => return Err(("compare the file: it shrank meanwhile", Errno::IO)),
            Ok(got) => done += got,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(("read the file", errno)),
        }
    }
    Ok(buffer)
}
