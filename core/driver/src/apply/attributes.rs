//! Owner, mode, times and extended attributes, through descriptors and names in a directory.

use super::error::{Step as _, refused};
use crate::changeset::{Metadata, Xattr};
use crate::error::Result;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
const CAPABILITY: &[u8] = b"security.capability";

/// Whether layers carry an attribute: then it is removed where an entry lacks it.
///
/// Labels of security modules and the marks of drivers belong to the host and are left alone.
pub(super) fn travels(name: &[u8]) -> bool {
    let of_overlay =
        name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let of_user = name.starts_with(b"user.") || name.starts_with(b"trusted.");
    (of_user && !of_overlay) || matches!(name, ACCESS_ACL | DEFAULT_ACL | CAPABILITY)
}

/// The two times of utimensat(2): modification as told, access left alone.
pub(super) fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds.into(),
        },
    }
}

/// The modification time of an entry.
pub(super) fn mtime(metadata: &Metadata) -> (i64, u32) {
    (metadata.mtime.seconds, metadata.mtime.nanoseconds)
}

/// A user and a group, as chown(2) takes them.
pub(super) fn owner(uid: u32, gid: u32) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

/// Something whose attributes are set: an open file, or a name that is never followed.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    Open(BorrowedFd<'a>),
    Name(BorrowedFd<'a>, &'a [u8]),
}

impl Subject<'_> {
    pub(super) fn set_owner(self, uid: u32, gid: u32) -> Result<()> {
        let (uid, gid) = owner(uid, gid);
        match self {
            Self::Open(file) => rustix::fs::fchown(file, uid, gid),
            Self::Name(directory, name) => {
                rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
        .step("cannot set the owner")
    }

    /// Not for symbolic links, whose mode cannot be set.
    pub(super) fn set_mode(self, mode: u32) -> Result<()> {
        let bits = Mode::from_raw_mode(mode);
        match self {
            Self::Open(file) => rustix::fs::fchmod(file, bits),
            Self::Name(directory, name) => {
                // Before fchmodat2 (Linux 6.6) a mode can be set without following links only
                // through a descriptor; O_PATH wakes no device and waits for no pipe.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(directory, name, flags, Mode::empty())
                    .and_then(|node| rustix::fs::chmod(descriptor_path(&node), bits))
            }
        }
        .step("cannot set the mode")
    }

    pub(super) fn set_mtime(self, mtime: (i64, u32)) -> Result<()> {
        let times = times(mtime);
        match self {
            Self::Open(file) => rustix::fs::futimens(file, &times),
            Self::Name(directory, name) => {
                rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
        .step("cannot set the time")
    }

    /// Sets what can be set before the mode is: all but ACLs, which decide about the mode, and
    /// file capabilities, which a change of owner or content clears.
    pub(super) fn set_early_xattrs(self, xattrs: &[Xattr]) -> Result<()> {
        xattrs
            .iter()
            .filter(|(name, _)| !is_late(name))
            .try_for_each(|xattr| self.set_xattr(xattr))
    }

    /// Sets ACLs and file capabilities.
    pub(super) fn set_late_xattrs(self, xattrs: &[Xattr]) -> Result<()> {
        let late = || xattrs.iter().filter(|(name, _)| is_late(name));
        late()
            .filter(|(name, _)| name != CAPABILITY)
            .chain(late().filter(|(name, _)| name == CAPABILITY))
            .try_for_each(|xattr| self.set_xattr(xattr))
    }

    fn set_xattr(self, (name, value): &Xattr) -> Result<()> {
        let name = name.as_slice();
        let set = match self {
            Self::Open(file) => rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()),
            Self::Name(directory, file) => {
                rustix::fs::lsetxattr(path_of(directory, file), name, value, XattrFlags::empty())
            }
        };
        match (set, self) {
            // xattr(7): only regular files and directories have them.
            (Err(Errno::PERM), Self::Name(..)) if name.starts_with(b"user.") => Err(refused(
                "`user.*` attributes exist on files and directories only",
            )),
            (set, _) => set.step("cannot set an extended attribute"),
        }
        .map_err(|error| error.with("attribute", name.escape_ascii()))
    }

    /// Removes the attributes that layers carry and `wanted` lacks.
    pub(super) fn remove_other_xattrs(self, wanted: &[Xattr]) -> Result<()> {
        for name in self.xattr_names()? {
            let is_wanted = || wanted.iter().any(|(wanted, _)| *wanted == name);
            if travels(&name) && !is_wanted() {
                match self.remove_xattr(&name) {
                    Err(Errno::NODATA) => {}
                    removed => removed.step("cannot remove an extended attribute")?,
                }
            }
        }
        Ok(())
    }

    fn remove_xattr(self, name: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Open(file) => rustix::fs::fremovexattr(file, name),
            Self::Name(directory, file) => {
                rustix::fs::lremovexattr(path_of(directory, file), name)
            }
        }
    }

    fn xattr_names(self) -> Result<Vec<Vec<u8>>> {
        let mut list = Vec::new();
        loop {
            list.resize(list.len().max(512) * 2, 0);
            let listed = match self {
                Self::Open(file) => rustix::fs::flistxattr(file, &mut list[..]),
                Self::Name(directory, file) => {
                    rustix::fs::llistxattr(path_of(directory, file), &mut list[..])
                }
            };
            match listed {
                Err(Errno::RANGE) => {}
                Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
                other => {
                    list.truncate(other.step("cannot list the extended attributes")?);
                    let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty());
                    return Ok(names.map(<[u8]>::to_vec).collect());
                }
            }
        }
    }
}

fn is_late(name: &[u8]) -> bool {
    matches!(name, ACCESS_ACL | DEFAULT_ACL | CAPABILITY)
}

/// Whether an open directory has a default ACL, which new names in it inherit.
pub(super) fn has_default_acl(directory: BorrowedFd<'_>) -> Result<bool> {
    match rustix::fs::fgetxattr(directory, DEFAULT_ACL, &mut [0_u8; 0][..]) {
        Ok(_) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno).step("cannot read a directory's default ACL"),
    }
}

/// Whether attributes hold a default ACL.
pub(super) fn grant_default_acl(xattrs: &[Xattr]) -> bool {
    xattrs.iter().any(|(name, _)| name == DEFAULT_ACL)
}

/// The attributes of an open file that layers carry, sorted by name.
pub(super) fn read_xattrs(file: BorrowedFd<'_>) -> Result<Vec<Xattr>> {
    let mut xattrs = Vec::new();
    for name in Subject::Open(file).xattr_names()? {
        if travels(&name)
            && let Some(value) = read_xattr(file, &name)?
        {
            xattrs.push((name, value));
        }
    }
    xattrs.sort();
    Ok(xattrs)
}

fn read_xattr(file: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut value = Vec::new();
    loop {
        value.resize(value.len().max(128) * 2, 0);
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) => {}
            Err(Errno::NODATA) => return Ok(None),
            Err(errno) => return Err(errno).step("cannot read an extended attribute"),
        }
    }
}

/// The path by which a descriptor can be named where a call takes no descriptor.
fn descriptor_path(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// The path of a name in an open directory. The calls that take it do not follow its last
/// component.
fn path_of(directory: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_drivers_and_labels_of_hosts_do_not_travel() {
        let stay: [&[u8]; 4] = [
            b"trusted.overlay.opaque",
            b"user.overlay.origin",
            b"security.selinux",
            b"btrfs.compression",
        ];
        let go: [&[u8]; 4] = [b"user.a", b"trusted.b", CAPABILITY, DEFAULT_ACL];
        assert!(stay.iter().all(|name| !travels(name)) && go.iter().all(|name| travels(name)));
    }
}
