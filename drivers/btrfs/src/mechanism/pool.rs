//! The btrfs under a root: its own, or one in a file of the root, which grows on demand.

use super::open_directory;
use crate::config::{Config, LEAST_SIZE};
use crate::layout::Layout;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use strata_driver::backing::{BackingSpec, LoopFileSystem};
use strata_driver::{Bytes, Error, ErrorKind, MountOption, Result};
use strata_sys::{SysError, btrfs};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A file system with less room than this is filled by others before long, so that the blocks of a
/// file on it are taken at once; elsewhere the file takes them as they are written.
const SMALL: u64 = GIB;

/// What the file system around a file in it must have left for us to go on: about what btrfs
/// writes before it notices.
const LEAST_AROUND: u64 = 32 * MIB;

/// How long the cleaner is waited for; it goes on by itself.
const CLEANING: Duration = Duration::from_mins(1);

/// The file system that holds a root's subvolumes.
#[derive(Debug)]
pub(crate) struct Pool {
    directory: PathBuf,
    in_file: Option<InFile>,
}

/// A file system in a file.
#[derive(Debug)]
struct InFile {
    file: PathBuf,
    most: u64,
    /// None once it is released.
    held: Mutex<Option<LoopFileSystem>>,
}

impl Pool {
    /// Takes the file system of `layout`, which is made if it is missing.
    pub(crate) fn open(layout: &Layout, config: &Config) -> Result<Self> {
        let directory = layout.pool().to_owned();
        if layout.pool() == layout.root() {
            let in_file = None;
            return Ok(Self { directory, in_file });
        }
        let file = layout.backing();
        let held = LoopFileSystem::take(&specify(&file, &directory, config)?)
            .map_err(|error| error.during("open"))?;
        // Reading a snapshot for the first time would write to it otherwise.
        let flags = MountFlags::BIND | MountFlags::NOATIME;
        rustix::mount::mount_remount(&directory, flags, "")
            .map_err(|errno| Error::io("open", errno.into()).with("path", directory.display()))?;
        let in_file = Some(InFile {
            file,
            most: config.max_size.map_or(u64::MAX, |most| most.0),
            held: Mutex::new(Some(held)),
        });
        Ok(Self { directory, in_file })
    }

    /// Lets the file system grow if little of it is left, before `operation` needs it.
    ///
    /// [`ErrorKind::NoSpace`] if what is left around the file is less than what may be written to
    /// it next: a file system whose device fails to write turns read-only.
    pub(crate) fn make_room(&self, operation: &'static str) -> Result<()> {
        let Some(in_file) = &self.in_file else {
            return Ok(());
        };
        let directory = open_directory(&self.directory)?;
        let space = btrfs::device_space(&directory)
            .map_err(|error| Error::from(error).during(operation))?;
        let around = Around::of(&in_file.file).map_err(|error| Error::io(operation, error))?;
        if around.unwritten > 0 && around.free < LEAST_AROUND.min(around.unwritten) {
            return Err(Error::new(ErrorKind::NoSpace, operation)
                .because("the file system that holds the backing file is full")
                .with("backing", in_file.file.display())
                .with("free", around.free)
                .hint("free some space there"));
        }
        if space.total - space.allocated.min(space.total) >= low(space.total) {
            return Ok(());
        }
        let Some(growth) = growth(space.total, in_file.most, &around) else {
            return Ok(());
        };
        let mut held = in_file.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = held.as_mut() else {
            return Ok(());
        };
        tracing::info!(
            from = space.total,
            to = growth.size,
            "growing the backing file"
        );
        held.grow(Bytes(growth.size), growth.reserved)
            .map_err(|error| error.during(operation))?;
        match btrfs::resize_to_device(&directory) {
            // Somebody else grows it.
            Err(error) if error.is(Errno::INPROGRESS) => Ok(()),
            other => other.map_err(|error| Error::from(error).during(operation)),
        }
    }

    /// Waits until the blocks of destroyed subvolumes are free, also for the file system around a
    /// file.
    pub(crate) fn settle(&self, operation: &'static str) -> Result<()> {
        let fail = |error| Error::from(error).during(operation);
        let directory = open_directory(&self.directory)?;
        wait_for_cleaning(&directory).map_err(fail)?;
        if self.in_file.is_some() {
            match btrfs::trim(&directory) {
                Err(error) if error.is_unsupported() => {}
                other => other.map_err(fail)?,
            }
        }
        Ok(())
    }

    /// Lets go of the file; the last holder unmounts it.
    pub(crate) fn release(&self) -> Result<()> {
        let Some(in_file) = &self.in_file else {
            return Ok(());
        };
        let held = in_file
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match held.map(LoopFileSystem::release) {
            Some(Err(error)) if error.kind() == ErrorKind::InUse => {
                tracing::debug!(error = %error.chain(), "the pool stays for the next holder");
                Ok(())
            }
            Some(other) => other,
            None => Ok(()),
        }
    }
}

/// What the file's file system has left, in bytes.
#[derive(Clone, Copy, Debug)]
struct Around {
    free: u64,
    /// What the file has not taken of its own length.
    unwritten: u64,
    /// What is left to others in any case.
    kept: u64,
}

impl Around {
    fn of(file: &Path) -> std::io::Result<Self> {
        let (length, taken) = match rustix::fs::stat(file) {
            Ok(stat) => (
                stat.st_size.unsigned_abs(),
                stat.st_blocks.unsigned_abs() * 512,
            ),
            Err(Errno::NOENT) => (0, 0),
            Err(errno) => return Err(errno.into()),
        };
        let stat = rustix::fs::statvfs(file.parent().unwrap_or_else(|| Path::new(".")))?;
        Ok(Self {
            free: stat.f_bavail * stat.f_frsize,
            unwritten: length.saturating_sub(taken),
            kept: (stat.f_blocks * stat.f_frsize / 20).min(256 * MIB),
        })
    }

    /// What the file may still be given.
    fn room(&self) -> u64 {
        self.free
            .saturating_sub(self.unwritten)
            .saturating_sub(self.kept)
    }
}

/// With less than this not given to block groups, a file system of `total` bytes grows.
fn low(total: u64) -> u64 {
    (total / 8).min(GIB)
}

/// How long a file becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Growth {
    size: u64,
    reserved: bool,
}

/// By half, at least by a GiB, as far as the limit and the room allow; none if that is little.
fn growth(total: u64, most: u64, around: &Around) -> Option<Growth> {
    let room = around.room();
    let wanted = total.saturating_add((total / 2).max(GIB)).min(most);
    let size = wanted.min(total + room) / MIB * MIB;
    (size >= total + 16 * MIB).then_some(Growth {
        size,
        reserved: room < SMALL,
    })
}

/// The file system to take; one that is made is not larger than what there is room for.
fn specify(file: &Path, directory: &Path, config: &Config) -> Result<BackingSpec> {
    let around = Around::of(file).map_err(|error| Error::io("open", error))?;
    let room = around.room() / MIB * MIB;
    let mut size = config.size.0;
    let exists = file.exists();
    if !exists && room < size {
        if room < LEAST_SIZE.0 {
            return Err(Error::new(ErrorKind::NoSpace, "open")
                .because("there is too little room for a btrfs in a file")
                .with("free", around.free)
                .with("wanted", LEAST_SIZE.0 + around.kept)
                .hint("free some space, choose another root, or another driver"));
        }
        size = room;
    }
    let spec = BackingSpec::new(file, "btrfs", directory)
        .with_size(Bytes(size))
        // The file is new: there is nothing to discard, and what is reserved must stay.
        .with_mkfs_arguments(["-K"])
        .with_mount_option(MountOption::flag("user_subvol_rm_allowed"));
    Ok(if !exists && room < SMALL {
        spec.with_space_reserved()
    } else {
        spec
    })
}

/// Waits until no destroyed subvolume waits for the cleaner and the free space has stopped to
/// grow. A subvolume of which somebody has a file open is waited for by nobody.
fn wait_for_cleaning(directory: &OwnedFd) -> Result<(), SysError> {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut before = None;
    for _ in 0..CLEANING.as_millis() / PAUSE.as_millis() {
        // Wakes the cleaner, and what it has freed can be used when the transaction is on disk.
        btrfs::sync(directory)?;
        let waiting = match btrfs::waiting_for_cleaning(directory) {
            Err(error) if error.is_unsupported() || error.is(Errno::PERM) => 0,
            counted => counted?,
        };
        let stat = rustix::fs::fstatvfs(directory)
            .map_err(|errno| SysError::new("fstatvfs", errno, "the pool"))?;
        let now = (waiting, stat.f_bfree);
        if waiting == 0 && before == Some(now) {
            return Ok(());
        }
        before = Some(now);
        std::thread::sleep(PAUSE);
    }
    tracing::debug!("the cleaner is not done yet");
    Ok(())
}
