//! Making, finding and removing subvolumes.
//!
//! Making goes through libbtrfsutil. Removing and finding go through `strata_sys`: the library's
//! own walk takes a user id of 0 for privilege, which it is not in a user namespace, and its Rust
//! binding looks for what the walk finds in the working directory.

use super::open_directory;
use crate::error::BtrfsError;
use btrfsutil::error::LibError;
use btrfsutil::subvolume::{SnapshotFlags, Subvolume};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use strata_driver::Result;
use strata_driver::tree::{self, Budget};
use strata_sys::{SysError, btrfs};

/// Makes an empty subvolume: 0755, 0:0, time 0.
pub(crate) fn create_empty(path: &Path) -> Result<()> {
    Subvolume::create(path, None).map_err(|said| made_nothing(path, said))?;
    let start = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: start,
        last_modification: start,
    };
    let directory = open_directory(path)?;
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o755))
        .and_then(|()| rustix::fs::futimens(&directory, &times))
        .map_err(|errno| {
            BtrfsError::MakeDirectory {
                path: path.to_owned(),
                source: errno.into(),
            }
            .into()
        })
}

/// Makes `path` a snapshot of `source`. The data of both is on disk afterwards: the kernel writes
/// what is dirty and commits the transaction before it returns (`create_snapshot` of its
/// `fs/btrfs/ioctl.c`).
pub(crate) fn snapshot(source: &Path, path: &Path, flags: Option<SnapshotFlags>) -> Result<()> {
    let made = Subvolume::get(source).and_then(|source| source.snapshot(path, flags, None));
    made.map(drop).map_err(|said| made_nothing(path, said))
}

/// The library keeps the errno of what failed and its binding does nothing after that but to free
/// a string, which leaves errno alone (free(3)).
fn made_nothing(path: &Path, said: LibError) -> strata_driver::Error {
    let source = std::io::Error::last_os_error();
    BtrfsError::MakeSubvolume {
        path: path.to_owned(),
        said,
        source,
    }
    .into()
}

/// A subvolume inside the one whose root is `root` (at `path`, for errors), if there is any: its
/// path below that root.
pub(crate) fn find_nested(root: BorrowedFd<'_>, path: &Path) -> Result<Option<PathBuf>> {
    let found = btrfs::children(root).and_then(|children| match children.first() {
        None => Ok(None),
        Some(child) => match btrfs::place_of(root, *child) {
            Ok((mut place, name)) => {
                place.extend(name);
                Ok(Some(PathBuf::from(OsString::from_vec(place))))
            }
            Err(error) if error.is(Errno::NAMETOOLONG) => {
                Ok(Some(PathBuf::from("(a path that is too long to be told)")))
            }
            Err(error) => Err(error),
        },
    });
    found.map_err(|error| {
        BtrfsError::Look {
            path: path.to_owned(),
            source: error.source,
        }
        .into()
    })
}

/// Removes the subvolume at `path` with all subvolumes inside it, the inner ones first; absent is
/// removed.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match (path.parent(), path.file_name().and_then(OsStr::to_str)) {
        (Some(parent), Some(name)) => remove_of(parent, &[name]),
        _ => Ok(()),
    }
}

/// [`remove`] of several names in one directory.
pub(crate) fn remove_of(parent: &Path, names: &[&str]) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened.map_err(|errno| BtrfsError::Open {
            path: parent.to_owned(),
            source: errno.into(),
        })?,
    };
    for name in names {
        remove_at(directory.as_fd(), OsStr::new(name)).map_err(|error| {
            BtrfsError::RemoveSubvolume {
                path: parent.join(name),
                source: error.source,
            }
        })?;
    }
    Ok(())
}

fn remove_at(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), SysError> {
    let fail = |step| move |errno: Errno| SysError::new(step, errno, name.to_string_lossy());
    let root = match open_beneath(parent, name) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened.map_err(fail("openat2"))?,
    };
    let children = btrfs::children(&root);
    // A plain directory tells of the subvolume around it, or of nothing.
    let is_told = children.as_ref().is_ok_and(Vec::is_empty);
    if !is_told && !is_subvolume(&root).map_err(fail("fstat"))? {
        return remove_directory(parent, name);
    }
    let children = children?;
    if !children.is_empty() {
        // Whoever mounted it may have made it read-only since, and then nothing in it can go.
        btrfs::set_read_only(&root, false)?;
    }
    for child in children {
        let (place, inner) = match btrfs::place_of(&root, child) {
            // Somebody else removes the same subvolume.
            Err(error) if error.is(Errno::NOENT) => continue,
            // The kernel tells no such place; a walk comes there.
            Err(error) if error.is(Errno::NAMETOOLONG) => return remove_directory(parent, name),
            placed => placed?,
        };
        let place = match open_beneath(root.as_fd(), OsStr::from_bytes(&place)) {
            Err(Errno::NOENT) => continue,
            opened => opened.map_err(fail("openat2"))?,
        };
        remove_at(place.as_fd(), OsStr::from_bytes(&inner))?;
    }
    match btrfs::destroy(parent, name) {
        Err(error)
            if matches!(
                error.errno(),
                Some(Errno::PERM | Errno::ACCESS | Errno::ROFS)
            ) =>
        {
            remove_unprivileged(parent, name, &root)
        }
        Err(error) if error.is(Errno::NOENT) => Ok(()),
        Err(error) if error.is(Errno::INVAL) && !is_subvolume(&root).map_err(fail("fstat"))? => {
            remove_directory(parent, name)
        }
        other => other,
    }
}

/// Whether the directory is the root of a subvolume, and not what stands in its place where the
/// driver's root is a copy, or in a snapshot of a subvolume around it.
fn is_subvolume(root: &OwnedFd) -> Result<bool, Errno> {
    /// `BTRFS_FIRST_FREE_OBJECTID` of `linux/btrfs_tree.h`.
    const ROOT_INODE: u64 = 256;
    Ok(rustix::fs::fstat(root)?.st_ino == ROOT_INODE)
}

/// In a user namespace the ioctl takes a mount option and a subvolume that can be written; without
/// the option an empty subvolume is removed like a directory (Linux 4.18).
fn remove_unprivileged(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    root: &OwnedFd,
) -> Result<(), SysError> {
    btrfs::set_read_only(root, false)?;
    match btrfs::destroy(parent, name) {
        Err(error) if matches!(error.errno(), Some(Errno::PERM | Errno::ACCESS)) => {}
        Err(error) if error.is(Errno::NOENT) => return Ok(()),
        other => return other,
    }
    remove_directory(parent, name)
}

fn remove_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), SysError> {
    tree::remove(parent, name.as_bytes(), Budget::Unlimited)
        .map(drop)
        .map_err(|error| {
            SysError::new(
                "remove the subvolume's files",
                std::io::Error::other(error.chain()),
                name.to_string_lossy(),
            )
        })
}

fn open_beneath(parent: BorrowedFd<'_>, path: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let path = if path.is_empty() {
        OsStr::new(".")
    } else {
        path
    };
    loop {
        match rustix::fs::openat2(parent, path, flags, Mode::empty(), resolve) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// Whether there is anything at `path`.
pub(crate) fn exists(path: &Path) -> bool {
    rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}
