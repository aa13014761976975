//! Owner, mode, times and extended attributes, through descriptors and names in a directory.

use super::error::{Step as _, refused};
use crate::changeset::{Metadata, Xattr};
use crate::error::Result;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use strata_sys::xattr;

pub(super) use crate::changeset::travels;

const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
const CAPABILITY: &[u8] = b"security.capability";

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
            Self::Open(file) => xattr::set(file, name, value),
            Self::Name(directory, file) => xattr::set_at(directory, file, name, value),
        };
        match (set, self) {
            // xattr(7): only regular files and directories have them.
            (Err(error), Self::Name(..)) if name.starts_with(b"user.") && error.is(Errno::PERM) => {
                Err(refused(
                    "`user.*` attributes exist on files and directories only",
                ))
            }
            // The limits of xattr(7), the same on every file system.
            (Err(error), _) if error.is(Errno::TOOBIG) => {
                Err(refused("an extended attribute has more than 65536 bytes"))
            }
            (Err(error), _) if error.is(Errno::RANGE) && name.len() > 255 => Err(refused(
                "the name of an extended attribute has more than 255 bytes",
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
                let name = name.as_slice();
                match self {
                    Self::Open(file) => xattr::remove(file, name),
                    Self::Name(directory, file) => xattr::remove_at(directory, file, name),
                }
                .step("cannot remove an extended attribute")?;
            }
        }
        Ok(())
    }

    fn xattr_names(self) -> Result<Vec<Vec<u8>>> {
        let mut list = Vec::new();
        let listed = match self {
            Self::Open(file) => xattr::list_into(file, &mut list),
            Self::Name(directory, file) => xattr::list_at_into(directory, file, &mut list),
        };
        match listed {
            Err(error) if error.is_unsupported() => return Ok(Vec::new()),
            listed => listed.step("cannot list the extended attributes")?,
        }
        let names = xattr::names(&list).map(|name| name.to_bytes().to_vec());
        Ok(names.collect())
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
            && let Some(value) =
                xattr::get(file, name.as_slice()).step("cannot read an extended attribute")?
        {
            xattrs.push((name, value));
        }
    }
    xattrs.sort();
    Ok(xattrs)
}

/// The path by which a descriptor can be named where a call takes no descriptor.
fn descriptor_path(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
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
