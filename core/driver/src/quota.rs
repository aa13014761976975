//! Size limits by project quota, for drivers that keep a directory per snapshot on a file system
//! that has them (`ext4` and `xfs` mounted with `prjquota`).

use crate::catalog::SnapshotId;
use crate::error::{Error, ErrorKind, Result};
use crate::probe::Scratch;
use crate::snapshot::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use strata_sys::quota::{ProjectId, project_of, project_usage, set_project, set_project_limit};

/// Projects that are tried before giving up.
const TRIES: u32 = 4096;

/// Whether directories here can be limited: a directory is limited, and more is written into it.
pub fn probe(scratch: &Scratch) -> Result<(), String> {
    let say = |error: Error| error.chain();
    let io = |error: std::io::Error| error.to_string();
    let path = scratch.path().join("limited");
    fs_err::create_dir(&path).map_err(io)?;
    let directory = open(&path).map_err(say)?;
    let project = free_project(directory.as_fd(), 0).map_err(say)?;
    let limited = set_project(&directory, project)
        .and_then(|()| set_project_limit(&directory, project, 64 << 10));
    limited.map_err(|error| explain(error).chain())?;
    let bound = Bound::new().map_err(say)?;
    let written = fs_err::write(path.join("file"), vec![1; 256 << 10])
        .and_then(|()| fs_err::File::open(path.join("file"))?.sync_all());
    drop(bound);
    let lifted = set_project_limit(&directory, project, 0).map_err(|error| error.to_string());
    fs_err::remove_dir_all(&path).map_err(io)?;
    lifted?;
    match written {
        Err(error) if is_full(&error) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(()) => Err("the file system keeps project quotas and does not enforce them".into()),
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Io;
    matches!(error.kind(), Io::StorageFull | Io::QuotaExceeded)
}

/// Puts what will be made in the empty directory `home` of a snapshot into a project of its own.
/// Then [`limit`] it, after what it starts with is there.
pub fn begin(home: &Path, id: SnapshotId) -> Result<()> {
    let directory = open(home)?;
    let wanted = u32::try_from(id.get() % (1 << 20)).unwrap_or(0);
    let project = free_project(directory.as_fd(), wanted)?;
    // The limit of whoever had the number before, which nobody lifts when that goes.
    set_project_limit(&directory, project, 0)
        .and_then(|()| set_project(&directory, project))
        .map_err(explain)
}

/// Lets `limit` bytes be written into `home` beside what is there now.
pub fn limit(home: &Path, limit: Bytes) -> Result<()> {
    let directory = open(home)?;
    let project = project_of(&directory).map_err(explain)?;
    // What is not written back yet is reserved, and not counted as used.
    rustix::fs::syncfs(&directory).map_err(|errno| Error::io("limit size", errno.into()))?;
    let used = project_usage(&directory, project).map_err(explain)?.bytes;
    let most = used.saturating_add(limit.0).max(1);
    set_project_limit(&directory, project, most).map_err(explain)
}

/// While it lives this thread, and those that it starts, keep to limits. ext4 lets who has
/// `CAP_SYS_RESOURCE` write beyond them (`ignore_hardlimit` in the kernel's `fs/quota/dquot.c`);
/// containers do not have it, the process that unpacks a layer has.
#[derive(Debug)]
#[must_use = "limits are kept to as long as the value lives"]
pub struct Bound(Option<CapabilitySets>);

impl Bound {
    /// Gives the capability up for a while.
    pub fn new() -> Result<Self> {
        let io = |errno: Errno| Error::io("keep to size limits", errno.into());
        let before = rustix::thread::capabilities(None).map_err(io)?;
        if !before.effective.contains(CapabilitySet::SYS_RESOURCE) {
            return Ok(Self(None));
        }
        let bound = CapabilitySets {
            effective: before.effective - CapabilitySet::SYS_RESOURCE,
            ..before
        };
        rustix::thread::set_capabilities(None, bound).map_err(io)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(before) = self.0.take()
            && let Err(errno) = rustix::thread::set_capabilities(None, before)
        {
            tracing::warn!(%errno, "this thread stays without CAP_SYS_RESOURCE");
        }
    }
}

/// A project that nothing bears: several roots may share a file system.
fn free_project(directory: BorrowedFd<'_>, wanted: u32) -> Result<ProjectId> {
    // The lower half is left to people and their programs (projects(5) numbers from 1).
    const FIRST: u32 = 1 << 31;
    for offset in 0..TRIES {
        let project = ProjectId(FIRST + (wanted + offset * 257) % (1 << 30));
        let usage = project_usage(directory, project).map_err(explain)?;
        if (usage.bytes, usage.inodes) == (0, 0) {
            return Ok(project);
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "limit size")
        .because(format!("{TRIES} project numbers are all in use"))
        .hint("remove snapshots with a size limit"))
}

fn explain(error: strata_sys::SysError) -> Error {
    let off = error.is(Errno::SRCH)
        || error.is(Errno::NOSYS)
        || error.is(Errno::OPNOTSUPP)
        || error.is(Errno::NOTTY);
    let told = Error::from(error).during("limit size");
    if off {
        return told
            .because("the file system has no project quota")
            .hint("mount it with `prjquota` (ext4: made with `-O project,quota`)");
    }
    told
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Error::io("limit size", errno.into()).with("path", path.display()))
}
