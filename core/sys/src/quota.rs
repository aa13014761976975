//! Project quotas: a number on a directory, which what is made below it inherits, and a limit on
//! what bears that number. ext4 and xfs have them where they are mounted with `prjquota`.
#![expect(
    unsafe_code,
    reason = "FS_IOC_FSSETXATTR and quotactl_fd(2) have no safe wrapper"
)]

use crate::error::{Context, Result};
use crate::syscall::{QUOTACTL_FD, check_int, check_long};
use std::os::fd::{AsFd, AsRawFd as _};

/// The number of a project, 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProjectId(pub u32);

/// What a project has and may have; bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectUsage {
    /// Bytes of blocks that bear the project's number.
    pub bytes: u64,
    /// Inodes that do.
    pub inodes: u64,
    /// Most bytes; 0 for no limit.
    pub limit: u64,
}

/// `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FsXattr {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR`: `_IOR('X', 31, struct fsxattr)`, `_IOW('X', 32, ...)`.
const GET: libc::Ioctl = 0x801c_581f;
const SET: libc::Ioctl = 0x401c_5820;
/// `FS_XFLAG_PROJINHERIT`.
const INHERIT: u32 = 0x200;

/// `struct if_dqblk` of `linux/quota.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Quota {
    /// In blocks of 1024 bytes.
    hard_limit: u64,
    soft_limit: u64,
    /// In bytes.
    space: u64,
    inode_hard_limit: u64,
    inode_soft_limit: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

/// `QIF_BLIMITS`: the limits on blocks are meant.
const BLOCK_LIMITS: u32 = 1;
/// `QCMD(Q_GETQUOTA, PRJQUOTA)` and `QCMD(Q_SETQUOTA, PRJQUOTA)`.
const GET_QUOTA: libc::c_uint = 0x8000_0702;
const SET_QUOTA: libc::c_uint = 0x8000_0802;

/// The project of a file or directory (`FS_IOC_FSGETXATTR`).
pub fn project_of(file: impl AsFd) -> Result<ProjectId> {
    attributes(file).map(|attributes| ProjectId(attributes.project))
}

/// Gives a directory a project, which all that is made in it from now on inherits
/// (`FS_IOC_FSSETXATTR`). Takes the initial user namespace.
pub fn set_project(directory: impl AsFd, project: ProjectId) -> Result<()> {
    let directory = directory.as_fd();
    let mut attributes = attributes(directory)?;
    attributes.project = project.0;
    attributes.flags |= INHERIT;
    // SAFETY: ioctl_xfs_fsgetxattr(2): the argument is the kernel's `struct fsxattr`, which
    // outlives the call.
    let returned = unsafe { libc::ioctl(directory.as_raw_fd(), SET, &raw const attributes) };
    check_int(returned)
        .map(drop)
        .on("ioctl(FS_IOC_FSSETXATTR)", || {
            format!("fd {}", directory.as_raw_fd())
        })
}

fn attributes(file: impl AsFd) -> Result<FsXattr> {
    let file = file.as_fd();
    let mut attributes = FsXattr::default();
    // SAFETY: ioctl_xfs_fsgetxattr(2): the argument is the kernel's `struct fsxattr`, which
    // outlives the call.
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), GET, &raw mut attributes) };
    check_int(returned).on("ioctl(FS_IOC_FSGETXATTR)", || {
        format!("fd {}", file.as_raw_fd())
    })?;
    Ok(attributes)
}

/// What a project has on the file system of `file`. `ESRCH` where project quotas are off; a
/// project that was never used has nothing (`quotactl(2)`).
pub fn project_usage(file: impl AsFd, project: ProjectId) -> Result<ProjectUsage> {
    let mut block = Quota::default();
    match quotactl(file, GET_QUOTA, project, &mut block) {
        Ok(()) => Ok(ProjectUsage {
            bytes: block.space,
            inodes: block.inodes,
            limit: block.hard_limit.saturating_mul(1024),
        }),
        // xfs: nothing is recorded of it.
        Err(error) if error.is(rustix::io::Errno::NOENT) => Ok(ProjectUsage::default()),
        Err(error) => Err(error),
    }
}

/// Limits the bytes of a project, rounded up to 1024; 0 lifts the limit. Takes `CAP_SYS_ADMIN`.
pub fn set_project_limit(file: impl AsFd, project: ProjectId, bytes: u64) -> Result<()> {
    let mut block = Quota {
        hard_limit: bytes.div_ceil(1024),
        soft_limit: bytes.div_ceil(1024),
        valid: BLOCK_LIMITS,
        ..Quota::default()
    };
    quotactl(file, SET_QUOTA, project, &mut block)
}

/// `quotactl_fd(2)`, since Linux 5.14. xfs answers the general commands as well.
fn quotactl(
    file: impl AsFd,
    command: libc::c_uint,
    project: ProjectId,
    block: &mut Quota,
) -> Result<()> {
    let file = file.as_fd();
    // SAFETY: the last argument is the kernel's `struct if_dqblk`, which outlives the call.
    let returned = unsafe {
        libc::syscall(
            QUOTACTL_FD,
            file.as_raw_fd(),
            command,
            project.0,
            std::ptr::from_mut(block),
        )
    };
    check_long(returned)
        .map(drop)
        .on("quotactl_fd", || format!("project {}", project.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_size() {
        assert_eq!(size_of::<FsXattr>(), 28);
        assert_eq!(size_of::<Quota>(), 72);
    }

    #[test]
    fn without_project_quotas_the_error_names_the_call() {
        let directory = tempfile::tempdir().unwrap();
        let directory = std::fs::File::open(directory.path()).unwrap();
        // Whatever this machine has, one of the two is absent.
        if let Err(error) = project_usage(&directory, ProjectId(1)) {
            assert!(error.to_string().contains("quotactl_fd"), "{error}");
        }
    }
}
