//! An inode in a branch: a directory and a name, or a descriptor alone.

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Statx, StatxFlags, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use strata_fuse::Attr;
use strata_sys::{SysError, xattr};

/// All that an answer about an inode takes, and its birth.
const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// The errno of a failed call; what the crate below refuses by itself has none.
pub(crate) fn errno(error: &SysError) -> Errno {
    error.errno().unwrap_or(Errno::NOSYS)
}

/// statx(2) of a name in a directory; of `directory` itself when the name is empty.
pub(crate) fn statx_at(directory: BorrowedFd<'_>, name: &CStr) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(directory, name, flags, WANTED)
}

/// [`statx_at`]; none where there is no such name.
pub(crate) fn find_at(directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<Statx>, Errno> {
    match statx_at(directory, name) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(u32::from(stat.stx_mode))
}

pub(crate) fn is_directory(stat: &Statx) -> bool {
    file_type(stat) == FileType::Directory
}

/// Attributes as the branch has them, under the number that callers see.
pub(crate) fn attr(stat: &Statx, ino: u64) -> Attr {
    let time = |stamp: rustix::fs::StatxTimestamp| (stamp.tv_sec, stamp.tv_nsec);
    Attr {
        ino,
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        atime: time(stat.stx_atime),
        mtime: time(stat.stx_mtime),
        ctime: time(stat.stx_ctime),
        mode: u32::from(stat.stx_mode),
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        rdev: (stat.stx_rdev_major, stat.stx_rdev_minor),
        blksize: stat.stx_blksize,
    }
}

/// Where an inode is reached.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// A directory; with an empty name the inode itself.
    pub(crate) directory: Arc<OwnedFd>,
    /// A name in it.
    pub(crate) name: CString,
}

impl Place {
    pub(crate) fn named(directory: Arc<OwnedFd>, name: &CStr) -> Self {
        Self {
            directory,
            name: name.to_owned(),
        }
    }

    /// A descriptor, which keeps the inode when its last name goes.
    pub(crate) fn held(file: OwnedFd) -> Self {
        Self {
            directory: Arc::new(file),
            name: CString::default(),
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.name.is_empty()
    }

    /// Whether it is that name in that directory.
    pub(crate) fn is_named(&self, directory: &Arc<OwnedFd>, name: &CStr) -> bool {
        Arc::ptr_eq(&self.directory, directory) && *self.name == *name
    }

    /// A descriptor for the inode that is here now.
    pub(crate) fn hold(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if self.is_held() {
            return self
                .directory
                .try_clone()
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        }
        rustix::fs::openat(&*self.directory, &*self.name, flags, Mode::empty())
    }

    pub(crate) fn stat(&self) -> Result<Statx, Errno> {
        statx_at(self.directory.as_fd(), &self.name)
    }

    /// The path by which calls without `AT_EMPTY_PATH` reach a descriptor.
    fn descriptor_path(&self) -> String {
        format!("/proc/self/fd/{}", self.directory.as_raw_fd())
    }

    /// Opens a regular file or a directory.
    pub(crate) fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        if self.is_held() {
            return rustix::fs::open(self.descriptor_path(), flags, Mode::empty());
        }
        let flags = flags | OFlags::NOFOLLOW;
        rustix::fs::openat(&*self.directory, &*self.name, flags, Mode::empty())
    }

    pub(crate) fn chmod(&self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        if self.is_held() {
            return rustix::fs::chmod(self.descriptor_path(), mode);
        }
        rustix::fs::chmodat(&*self.directory, &*self.name, mode, AtFlags::empty())
    }

    pub(crate) fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        rustix::fs::chownat(
            &*self.directory,
            &*self.name,
            uid.map(Uid::from_raw),
            gid.map(Gid::from_raw),
            AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH,
        )
    }

    pub(crate) fn set_times(&self, times: &Timestamps) -> Result<(), Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        rustix::fs::utimensat(&*self.directory, &*self.name, times, flags)
    }

    pub(crate) fn readlink(&self) -> Result<Vec<u8>, Errno> {
        let target = rustix::fs::readlinkat(&*self.directory, &*self.name, Vec::new())?;
        Ok(target.into_bytes())
    }

    /// One more name for the inode.
    pub(crate) fn link_to(&self, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let flags = if self.is_held() {
            AtFlags::EMPTY_PATH
        } else {
            AtFlags::empty()
        };
        rustix::fs::linkat(&*self.directory, &*self.name, directory, name, flags)
    }

    pub(crate) fn list_xattrs(&self) -> Result<Vec<u8>, Errno> {
        let mut names = Vec::new();
        let listed = xattr::list_at_into(&*self.directory, &*self.name, &mut names);
        listed.map_err(|error| errno(&error))?;
        Ok(names)
    }

    pub(crate) fn xattr(&self, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
        xattr::get_at(&*self.directory, &*self.name, name).map_err(|error| errno(&error))
    }

    pub(crate) fn set_xattr(&self, name: &CStr, value: &[u8]) -> Result<(), Errno> {
        xattr::set_at(&*self.directory, &*self.name, name, value).map_err(|error| errno(&error))
    }

    /// Whether there was one.
    pub(crate) fn remove_xattr(&self, name: &CStr) -> Result<bool, Errno> {
        xattr::remove_at(&*self.directory, &*self.name, name).map_err(|error| errno(&error))
    }
}

/// Access and modification time as they are.
pub(crate) fn times_of(stat: &Statx) -> Timestamps {
    let time = |stamp: rustix::fs::StatxTimestamp| Timespec {
        tv_sec: stamp.tv_sec,
        tv_nsec: stamp.tv_nsec.into(),
    };
    Timestamps {
        last_access: time(stat.stx_atime),
        last_modification: time(stat.stx_mtime),
    }
}

/// Whether an error says that the name is not there.
pub(crate) fn errno_is_absent(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::STALE)
}
