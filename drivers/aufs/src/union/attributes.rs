//! Attributes: owner, mode, times, length, extended ones.

use super::copyup::Content;
use super::node::{Body, Node};
use super::open::drop_set_id;
use super::options::Udba;
use super::place::Place;
use super::state::Union;
use rustix::fs::{StatVfsMountFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strata_fuse::{AttrReply, Caller, SetAttr, StatFs, TimeChange};

const UTIME_NOW: i64 = 0x3fff_ffff;
const UTIME_OMIT: i64 = 0x3fff_fffe;

/// What a program may do beyond its user; the kernel asks for it at each change of a file.
pub(super) const CAPABILITY: &CStr = c"security.capability";

/// Flags of setxattr(2).
const XATTR_CREATE: u32 = 1;
const XATTR_REPLACE: u32 = 2;

impl Union {
    /// Where the attributes of a node stand.
    fn place(node: &Node) -> Result<Place, Errno> {
        match &node.body {
            Body::Directory { .. } => {
                let directory = node.directory()?;
                Ok(Place::named(directory.parts[0].directory.clone(), c""))
            }
            Body::Other(_) => Ok(node.other()?.place.clone()),
        }
    }

    /// Likewise, where they may be changed.
    fn place_to_change(&self, node: &Arc<Node>, content: Content) -> Result<Place, Errno> {
        match &node.body {
            Body::Directory { .. } => Ok(Place::named(self.upper_of(node)?.directory, c"")),
            Body::Other(_) => {
                self.copy_up(node, content)?;
                Ok(node.other()?.place.clone())
            }
        }
    }

    pub(crate) fn change(
        &self,
        caller: Caller,
        node: &Arc<Node>,
        change: &SetAttr,
    ) -> Result<AttrReply, Errno> {
        if let Some(size) = change.size {
            self.resize(node, size)?;
        }
        // Alone it stands for a write that went past us.
        // For root too it is sent, for capabilities, which the branch's file system takes away.
        let others = change.mode.is_some() || change.uid.is_some() || change.gid.is_some();
        let asked = change.size.is_some() || caller.uid != 0;
        if change.kill_suidgid && asked && !others && !node.is_directory() {
            self.copy_up(node, Content::All)?;
            drop_set_id(&*node.other()?)?;
        }
        let place = self.place_to_change(node, Content::All)?;
        if change.uid.is_some() || change.gid.is_some() {
            place.chown(change.uid, change.gid)?;
        }
        if let Some(mode) = change.mode {
            place.chmod(mode & 0o7777)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            place.set_times(&Timestamps {
                last_access: stamp(change.atime),
                last_modification: stamp(change.mtime),
            })?;
        }
        self.attributes(node, None)
    }

    pub(crate) fn link_target(node: &Arc<Node>) -> Result<Vec<u8>, Errno> {
        let place = node.other().map_err(|_| Errno::INVAL)?.place.clone();
        place.readlink()
    }

    /// Attributes that hold ACLs are there with the option `acl` only, as in aufs.
    fn refuse_acl(&self, name: &CStr) -> Result<(), Errno> {
        let acl = name.to_bytes().starts_with(b"system.posix_acl_");
        if acl && !self.options.acl {
            return Err(Errno::OPNOTSUPP);
        }
        Ok(())
    }

    pub(crate) fn xattr(&self, node: &Arc<Node>, name: &CStr) -> Result<Vec<u8>, Errno> {
        self.refuse_acl(name)?;
        let capability = name == CAPABILITY;
        if capability && node.plain.load(Ordering::Relaxed) {
            return Err(Errno::NODATA);
        }
        let value = Self::place(node)?.xattr(name)?;
        if value.is_none() && capability && self.options.udba == Udba::None {
            node.plain.store(true, Ordering::Relaxed);
        }
        value.ok_or(Errno::NODATA)
    }

    pub(crate) fn xattrs(node: &Arc<Node>) -> Result<Vec<u8>, Errno> {
        Self::place(node)?.list_xattrs()
    }

    pub(crate) fn set_xattr(
        &self,
        node: &Arc<Node>,
        name: &CStr,
        value: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        self.refuse_acl(name)?;
        if flags & (XATTR_CREATE | XATTR_REPLACE) != 0 {
            let there = Self::place(node)?.xattr(name)?.is_some();
            if there && flags & XATTR_CREATE != 0 {
                return Err(Errno::EXIST);
            }
            if !there && flags & XATTR_REPLACE != 0 {
                return Err(Errno::NODATA);
            }
        }
        node.plain.store(false, Ordering::Relaxed);
        let place = self.place_to_change(node, Content::All)?;
        place.set_xattr(name, value)?;
        forget_acl(node);
        Ok(())
    }

    pub(crate) fn remove_xattr(&self, node: &Arc<Node>, name: &CStr) -> Result<(), Errno> {
        self.refuse_acl(name)?;
        let place = self.place_to_change(node, Content::All)?;
        if !place.remove_xattr(name)? {
            return Err(Errno::NODATA);
        }
        forget_acl(node);
        Ok(())
    }

    /// Space of the first branch that is written; of all, where that is asked for.
    pub(crate) fn space(&self) -> Result<StatFs, Errno> {
        let branches = self.branches();
        let written: Vec<_> = branches
            .iter()
            .filter(|branch| branch.is_writable())
            .collect();
        let first = written.first().copied().or(branches.first());
        let shown = if self.options.sum {
            branches.iter().collect()
        } else {
            first.into_iter().collect::<Vec<_>>()
        };
        let mut sum = StatFs::default();
        for branch in shown {
            let one = rustix::fs::fstatvfs(&*branch.root)?;
            // Blocks may differ in size: counted in those of the first.
            if sum.fragment == 0 {
                sum.fragment = one.f_frsize as u32;
                sum.block_size = one.f_bsize as u32;
            }
            let scale = |blocks: u64| blocks * one.f_frsize / u64::from(sum.fragment).max(1);
            sum.blocks += scale(one.f_blocks);
            sum.free += scale(one.f_bfree);
            sum.available += scale(one.f_bavail);
            sum.files += one.f_files;
            sum.files_free += one.f_ffree;
            let _read_only = one.f_flag.contains(StatVfsMountFlags::RDONLY);
        }
        sum.name_max = super::names::LONGEST as u32;
        Ok(sum)
    }

    /// Flushes the file systems of the branches that are written.
    pub(crate) fn sync_all(&self) -> Result<(), Errno> {
        for branch in self.branches() {
            if branch.is_writable() {
                let open: OwnedFd = super::listing::open_to_read(&branch.root)?;
                strata_sys::file::sync_file_system(&open)
                    .map_err(|error| super::place::errno(&error))?;
            }
        }
        Ok(())
    }

    /// Flushes a directory.
    pub(crate) fn sync_directory(node: &Arc<Node>, data_only: bool) -> Result<(), Errno> {
        let directory = node.directory()?;
        let parts = directory.parts.iter();
        for part in parts.filter(|part| part.branch.is_writable()) {
            let open = super::listing::open_to_read(&part.directory)?;
            if data_only {
                rustix::fs::fdatasync(&open)?;
            } else {
                rustix::fs::fsync(&open)?;
            }
        }
        Ok(())
    }
}

fn forget_acl(node: &Node) {
    if let Ok(directory) = node.directory() {
        directory.default_acl.store(0, Ordering::Relaxed);
    }
}

fn stamp(change: Option<TimeChange>) -> Timespec {
    let (seconds, fraction) = match change {
        None => (0, UTIME_OMIT),
        Some(TimeChange::Now) => (0, UTIME_NOW),
        Some(TimeChange::To(seconds, fraction)) => (seconds, i64::from(fraction)),
    };
    Timespec {
        tv_sec: seconds,
        tv_nsec: fraction,
    }
}
