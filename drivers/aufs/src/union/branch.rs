//! A branch: a directory of its own mount, which the kernel keeps read-only unless it is written.

use super::names;
use super::options::{BranchOption, CopyUpOnOpen, UnionOptions};
use super::place::{errno, find_at, statx_at, times_of};
use super::xino::Numbers;
use rustix::fs::{AtFlags, Mode, OFlags, Statx};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strata_sys::mount::{DetachedMount, MountAttributes};

/// Bits of an inode number that a file system may use when the union has several.
const NUMBER_BITS: u32 = 56;

/// What only a branch that is written has.
#[derive(Debug)]
pub(crate) struct Writable {
    /// Where copies are made.
    pub(crate) orphans: OwnedFd,
    /// None where there are none, and none are made.
    pseudo_links: Option<OwnedFd>,
    unlinked_whiteouts: bool,
    temporary: AtomicU64,
}

/// One directory of the union.
#[derive(Debug)]
pub(crate) struct Branch {
    /// Which file system of the union it lies on.
    file_system: u8,
    pub(crate) path: PathBuf,
    option: BranchOption,
    /// Whether whiteouts in it count.
    pub(crate) whiteouts: bool,
    pub(crate) copy_up_on_open: CopyUpOnOpen,
    pub(crate) root: Arc<OwnedFd>,
    pub(crate) writable: Option<Writable>,
    /// Numbers of copies, of a branch that is or was written.
    pub(crate) numbers: Option<Numbers>,
    _mount: DetachedMount,
}

impl Branch {
    /// Opens a branch of a union. `devices` are those of the branches so far, in order.
    pub(crate) fn open(
        union: &UnionOptions,
        option: &BranchOption,
        xino: Option<&Path>,
        devices: &mut Vec<(u32, u32)>,
    ) -> Result<Self, Errno> {
        let path = fs_err::canonicalize(&option.path)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let mount = DetachedMount::bind(&path, MountAttributes::empty());
        let mount = mount.map_err(|error| errno(&error))?;
        Self::on(mount, union, option, xino, devices)
    }

    /// Likewise, a branch of which somebody made a mount of its own.
    pub(crate) fn on(
        mount: DetachedMount,
        union: &UnionOptions,
        option: &BranchOption,
        xino: Option<&Path>,
        devices: &mut Vec<(u32, u32)>,
    ) -> Result<Self, Errno> {
        let written = union.writes(option);
        if !written {
            let attributes = MountAttributes::READ_ONLY | MountAttributes::NOATIME;
            mount
                .set_attributes(attributes)
                .map_err(|error| errno(&error))?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(&mount, ".", flags, Mode::empty())?;
        let stat = statx_at(root.as_fd(), c"")?;
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        let file_system = devices.iter().position(|one| *one == device);
        let file_system = file_system.unwrap_or_else(|| {
            devices.push(device);
            devices.len() - 1
        });
        let file_system = u8::try_from(file_system).map_err(|_| Errno::TOOBIG)?;
        let writable = if written {
            Some(Writable::open(
                &root,
                option.unlinked_whiteouts,
                union.plink,
            )?)
        } else {
            None
        };
        let numbers = if written || xino.is_some() {
            Some(Numbers::open(xino)?)
        } else {
            None
        };
        Ok(Self {
            file_system,
            path: option.path.clone(),
            option: option.clone(),
            whiteouts: written || option.whiteouts,
            copy_up_on_open: option.copy_up_on_open,
            root: Arc::new(root),
            writable,
            numbers,
            _mount: mount,
        })
    }

    /// What it was mounted with.
    pub(crate) fn option(&self) -> BranchOption {
        self.option.clone()
    }

    /// What it takes to write, or `EROFS`.
    pub(crate) fn writable(&self) -> Result<&Writable, Errno> {
        self.writable.as_ref().ok_or(Errno::ROFS)
    }

    /// Where numbers of copies are kept; of a branch that is written.
    pub(crate) fn numbers(&self) -> Result<&Numbers, Errno> {
        self.numbers.as_ref().ok_or(Errno::ROFS)
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable.is_some()
    }

    /// The number under which callers see an inode of this branch that is no copy.
    pub(crate) fn raw_number(&self, inode: u64) -> u64 {
        if self.file_system == 0 {
            return inode;
        }
        let place = u64::from(self.file_system) << NUMBER_BITS;
        if inode >> NUMBER_BITS == 0 {
            return place | inode;
        }
        let mixed = inode.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - NUMBER_BITS);
        place | mixed
    }

    /// The number under which callers see the inode.
    pub(crate) fn number(&self, stat: &Statx) -> u64 {
        let known = self.numbers.as_ref().and_then(|numbers| numbers.of(stat));
        known.map_or_else(|| self.raw_number(stat.stx_ino), |record| record.number)
    }

    /// What tells an inode from all others: its device, and its number there.
    pub(crate) fn identity(stat: &Statx) -> (u64, u64) {
        let (major, minor) = (stat.stx_dev_major, stat.stx_dev_minor);
        (u64::from(major) << 32 | u64::from(minor), stat.stx_ino)
    }
}

impl Writable {
    /// Makes what is not there yet, and puts the times of the branch's root back.
    fn open(root: &OwnedFd, unlinked: bool, plink: bool) -> Result<Self, Errno> {
        let before = statx_at(root.as_fd(), c"")?;
        let mut made = false;
        let mut directory = |name: &CStr| {
            match rustix::fs::mkdirat(root, name, Mode::RWXU) {
                Ok(()) => made = true,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(root, name, flags, Mode::empty())
        };
        let orphans = directory(names::ORPHANS)?;
        // Those of an earlier mount are of use without the option too.
        let pseudo_links = if plink || find_at(root.as_fd(), names::PSEUDO_LINKS)?.is_some() {
            Some(directory(names::PSEUDO_LINKS)?)
        } else {
            None
        };
        let writable = Self {
            orphans,
            pseudo_links,
            unlinked_whiteouts: unlinked,
            temporary: AtomicU64::new(0),
        };
        if !unlinked && find_at(root.as_fd(), names::BASE)?.is_none() {
            Self::make_base(root)?;
            made = true;
        }
        if made {
            let flags = AtFlags::EMPTY_PATH;
            rustix::fs::utimensat(root, c"", &times_of(&before), flags)?;
        }
        writable.clear_orphans()?;
        Ok(writable)
    }

    /// Where copies are linked that have several names below.
    pub(crate) fn pseudo_links(&self) -> Result<&OwnedFd, Errno> {
        self.pseudo_links.as_ref().ok_or(Errno::NOENT)
    }

    /// A name in the directory of orphans that nobody else has.
    pub(crate) fn temporary(&self) -> CString {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "{:x}.{number:x}",
            rustix::process::getpid().as_raw_nonzero()
        );
        CString::new(name).expect("digits have no NUL")
    }

    fn make_base(root: &OwnedFd) -> Result<(), Errno> {
        match make_mark(root.as_fd(), names::BASE) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a whiteout or an opaque mark; fine if it is there.
    pub(crate) fn mark(
        &self,
        root: &OwnedFd,
        directory: &OwnedFd,
        name: &CStr,
    ) -> Result<(), Errno> {
        if !self.unlinked_whiteouts {
            match rustix::fs::linkat(root, names::BASE, directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::EXIST) => return Ok(()),
                // The base has all the links it can have: the next ones get another.
                Err(Errno::MLINK) => {
                    rustix::fs::unlinkat(root, names::BASE, AtFlags::empty())?;
                    Self::make_base(root)?;
                    return self.mark(root, directory, name);
                }
                Err(Errno::NOENT) => {
                    // Somebody took the base away; unless the directory is gone itself.
                    Self::make_base(root)?;
                }
                Err(_) => {}
            }
        }
        match make_mark(directory.as_fd(), name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes what a crash left behind.
    fn clear_orphans(&self) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let orphans = rustix::fs::openat(&self.orphans, ".", flags, Mode::empty())?;
        let mut found = Vec::new();
        let mut reader = strata_sys::dir::DirectoryReader::new();
        reader
            .read(&orphans, |entry| -> Result<(), SysErrorOnly> {
                found.push(entry.name.to_owned());
                Ok(())
            })
            .map_err(|error| errno(&error.0))?;
        for name in found {
            self.discard(&name)?;
        }
        Ok(())
    }

    /// Removes a file, or a directory with all that is in it, from the directory of orphans.
    pub(crate) fn discard(&self, name: &CStr) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&self.orphans, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {}
            other => return other,
        }
        match rustix::fs::unlinkat(&self.orphans, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) => {}
            other => return other,
        }
        let budget = strata_driver::tree::Budget::Unlimited;
        strata_driver::tree::remove(self.orphans.as_fd(), name.to_bytes(), budget)
            .map(drop)
            .map_err(|_| Errno::IO)
    }
}

#[derive(Debug)]
pub(crate) struct SysErrorOnly(pub(crate) strata_sys::SysError);

impl From<strata_sys::SysError> for SysErrorOnly {
    fn from(error: strata_sys::SysError) -> Self {
        Self(error)
    }
}

fn make_mark(directory: std::os::fd::BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::RGRP | Mode::ROTH;
    rustix::fs::openat(directory, name, flags, mode).map(drop)
}
