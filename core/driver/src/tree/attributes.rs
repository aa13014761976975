//! Owner, mode, extended attributes and times of one copied inode.

use super::inode::Inode;
use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// Namespaces whose attributes a copy must have.
const REQUIRED: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system.posix_acl_"];
/// Labels and measurements that the security modules of a host give by their own rules; a file
/// system or a kernel without that module takes none.
const LABELS: [&[u8]; 5] = [
    b"security.selinux",
    b"security.ima",
    b"security.evm",
    b"security.apparmor",
    b"security.SMACK64",
];

/// What failed, in the words of an error message, and how.
pub(super) type Step<T> = Result<T, (&'static str, Errno)>;

/// Names the step of a kernel call.
pub(super) trait During<T> {
    fn during(self, step: &'static str) -> Step<T>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, step: &'static str) -> Step<T> {
        self.map_err(|errno| (step, errno))
    }
}

/// Gives copies the attributes of their sources; keeps buffers.
#[derive(Debug)]
pub(super) struct Attributes {
    /// Owner of what this thread makes.
    uid: u32,
    gid: u32,
    names: Vec<u8>,
    value: Vec<u8>,
}

/// A copy as it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made<'a> {
    pub(super) inode: Inode<'a>,
    /// Permission bits that it was made with, none of them a set-id bit.
    pub(super) mode: u32,
}

impl Attributes {
    pub(super) fn new() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            names: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Reads which attributes `source` has; [`finish`](Self::finish) copies those. Says whether
    /// there are any.
    pub(super) fn list(&mut self, source: Inode<'_>) -> Step<bool> {
        source
            .list_into(&mut self.names)
            .during("list extended attributes")?;
        Ok(!self.names.is_empty())
    }

    /// Owner, attributes that were listed, mode, times: in this order, and after the content,
    /// since writing and chown(2) clear set-id bits and capabilities, an ACL changes the mode, and
    /// all of them are changes.
    pub(super) fn finish(&mut self, source: Inode<'_>, stat: &Stat, copy: Made<'_>) -> Step<()> {
        let wanted = stat.st_mode & 0o7777;
        let mut mode_known = copy.mode == wanted;
        if (stat.st_uid, stat.st_gid) != (self.uid, self.gid) {
            chown(copy.inode, stat).during("change the owner")?;
        }
        let names = std::mem::take(&mut self.names);
        for name in strata_sys::xattr::names(&names) {
            mode_known &= !name.to_bytes().starts_with(b"system.");
            self.copy_attribute(source, copy.inode, name)?;
        }
        self.names = names;
        if !mode_known && rustix::fs::FileType::from_raw_mode(stat.st_mode) != SYMLINK {
            chmod(copy.inode, wanted).during("change the mode")?;
        }
        set_times(copy.inode, &times_of(stat)).during("set times")
    }

    fn copy_attribute(&mut self, from: Inode<'_>, to: Inode<'_>, name: &CStr) -> Step<()> {
        let there = from
            .get_into(name, &mut self.value)
            .during("read an extended attribute")?;
        if !there {
            return Ok(()); // listed by a security module that has no value for this inode
        }
        let begins = |prefix: &&[u8]| name.to_bytes().starts_with(prefix);
        let optional = LABELS.iter().any(begins) || !REQUIRED.iter().any(begins);
        match to.set(name, &self.value) {
            Err(Errno::OPNOTSUPP) if optional => Ok(()),
            other => other.during("copy an extended attribute"),
        }
    }
}

const SYMLINK: rustix::fs::FileType = rustix::fs::FileType::Symlink;

fn chown(copy: Inode<'_>, stat: &Stat) -> Result<(), Errno> {
    let owner = Some(Uid::from_raw(stat.st_uid));
    let group = Some(Gid::from_raw(stat.st_gid));
    match copy {
        Inode::Open(file) => rustix::fs::fchown(file, owner, group),
        Inode::Named(directory, name) => {
            rustix::fs::chownat(directory, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

fn chmod(copy: Inode<'_>, mode: u32) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(mode);
    match copy {
        Inode::Open(file) => rustix::fs::fchmod(file, mode),
        Inode::Named(directory, name) => {
            rustix::fs::chmodat(directory, name, mode, AtFlags::empty())
        }
    }
}

/// Access and modification time of an inode.
pub(super) fn times_of(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec as _,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        },
    }
}

/// Sets access and modification time.
pub(super) fn set_times(copy: Inode<'_>, times: &Timestamps) -> Result<(), Errno> {
    match copy {
        Inode::Open(file) => rustix::fs::futimens(file, times),
        Inode::Named(directory, name) => {
            rustix::fs::utimensat(directory, name, times, AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

/// Makes an empty directory a plain one of this thread's: what is made in it then inherits neither
/// group nor ACL, and nobody else can look in until it is finished.
pub(super) fn make_plain(directory: BorrowedFd<'_>) -> Step<()> {
    let mut names = Vec::new();
    let inode = Inode::Open(directory);
    inode
        .list_into(&mut names)
        .during("list extended attributes")?;
    for name in strata_sys::xattr::names(&names) {
        let label = LABELS
            .iter()
            .any(|known| name.to_bytes().starts_with(known));
        if !label {
            strata_sys::xattr::remove(directory, name)
                .map_err(|error| super::inode::errno(&error))
                .during("remove an extended attribute")?;
        }
    }
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    rustix::fs::fchown(directory, Some(uid), Some(gid)).during("change the owner")?;
    rustix::fs::fchmod(directory, Mode::RWXU).during("change the mode")
}
