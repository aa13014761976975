//! The attributes of directories that a driver makes in an upper directory.

use crate::changeset::travels;
use rustix::fs::{Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use strata_sys::xattr;

/// Gives `upper` what the root of `parent` has, or what an empty snapshot has: 0755, 0:0, time 0.
pub fn set_root(upper: &Path, parent: Option<&Path>) -> io::Result<()> {
    let root = open(upper)?;
    let Some(parent) = parent else {
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755))?;
        rustix::fs::futimens(&root, &times(0, 0))?;
        return Ok(());
    };
    let model = open(parent)?;
    copy(&model, &root)
}

/// Gives a directory of which nothing is said what the one below has: owner and mode, where its own
/// are still those of an empty snapshot; the time, where nothing has happened in it; and the
/// attributes that it lacks.
pub(super) fn inherit(model: impl AsFd, own: impl AsFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(&own)?;
    let (model, own) = (open_again(model.as_fd())?, open_again(own.as_fd())?);
    if (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) != (0o755, 0, 0) {
        return Ok(());
    }
    let mut kept = Vec::new();
    for name in xattr::list(&own).map_err(io::Error::other)? {
        if travels(&name)
            && let Some(value) = xattr::get(&own, name.as_slice()).map_err(io::Error::other)?
        {
            kept.push((name, value));
        }
    }
    copy(&model, &own)?;
    for (name, value) in kept {
        xattr::set(&own, name.as_slice(), &value).map_err(io::Error::other)?;
    }
    if (stat.st_mtime, stat.st_mtime_nsec) != (0, 0) {
        rustix::fs::futimens(&own, &times(stat.st_mtime, stat.st_mtime_nsec as i64))?;
    }
    Ok(())
}

/// Takes away what a new directory has got from the one that it was made in.
pub(super) fn clear(own: impl AsFd) -> io::Result<()> {
    for name in xattr::list(&own).map_err(io::Error::other)? {
        if travels(&name) {
            xattr::remove(&own, name.as_slice()).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

fn open_again(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, ".", flags, Mode::empty())?)
}

/// Copies owner, mode, attributes and times from one directory to another, in the order in
/// which none undoes another. Attributes of a union's own, which no layer carries, stay behind.
pub(super) fn copy(model: impl AsFd, root: impl AsFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(&model)?;
    let own = rustix::fs::fstat(&root)?;
    if (stat.st_uid, stat.st_gid) != (own.st_uid, own.st_gid) {
        rustix::fs::fchown(
            &root,
            Some(Uid::from_raw(stat.st_uid)),
            Some(Gid::from_raw(stat.st_gid)),
        )?;
    }
    if stat.st_mode != own.st_mode || stat.st_uid != own.st_uid || stat.st_gid != own.st_gid {
        rustix::fs::fchmod(&root, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    }
    for name in xattr::list(&model).map_err(io::Error::other)? {
        let own_mark = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
        if own_mark || name == b"security.selinux" {
            continue;
        }
        let value = xattr::get(&model, name.as_slice()).map_err(io::Error::other)?;
        if let Some(value) = value {
            xattr::set(&root, name.as_slice(), &value).map_err(io::Error::other)?;
        }
    }
    rustix::fs::futimens(&root, &times(stat.st_mtime, stat.st_mtime_nsec as i64))?;
    Ok(())
}

fn times(seconds: i64, nanoseconds: i64) -> Timestamps {
    let stamp = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    Timestamps {
        last_access: stamp,
        last_modification: stamp,
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
