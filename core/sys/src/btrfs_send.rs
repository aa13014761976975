//! What btrfs knows of the difference of two snapshots: its send stream, and the names of an
//! inode (`linux/btrfs.h`; btrfs(5) and btrfs-send(8) say who may ask).
#![expect(unsafe_code, reason = "the ioctls of btrfs have no safe wrapper")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use crate::error::{Context, Result, SysError};
use crate::syscall::check_int;

const BTRFS_IOC_INO_PATHS: libc::Ioctl = libc::_IOWR::<InoPathArgs>(0x94, 35);
const BTRFS_IOC_SEND: libc::Ioctl = libc::_IOW::<SendArgs>(0x94, 38);
const BTRFS_IOC_GET_SUBVOL_INFO: libc::Ioctl = libc::_IOR::<SubvolInfo>(0x94, 60);

const SEND_NO_FILE_DATA: u64 = 1;

/// `struct btrfs_ioctl_send_args`.
#[repr(C)]
struct SendArgs {
    send_fd: i64,
    clone_sources_count: u64,
    clone_sources: *const u64,
    parent_root: u64,
    flags: u64,
    version: u32,
    reserved: [u8; 28],
}

/// `struct btrfs_ioctl_ino_path_args`.
#[repr(C)]
struct InoPathArgs {
    inode: u64,
    size: u64,
    reserved: [u64; 4],
    found: *mut PathContainer,
}

/// The most that the kernel fills of a container (`btrfs_ioctl_ino_to_path` cuts larger sizes).
const CONTAINER_BYTES: usize = 4096;
const CONTAINER_HEADER: usize = 16;

/// `struct btrfs_data_container`, with room for what follows it: for each path its offset from
/// `values`, then the paths, each with a NUL behind.
#[repr(C)]
struct PathContainer {
    bytes_left: u32,
    bytes_missing: u32,
    count: u32,
    missed: u32,
    values: [u64; (CONTAINER_BYTES - CONTAINER_HEADER) / 8],
}

/// `struct btrfs_ioctl_get_subvol_info_args`, of which only the number is used.
#[repr(C)]
struct SubvolInfo {
    tree: u64,
    rest: [u64; 62],
}

const _: () = assert!(size_of::<SendArgs>() == 72);
const _: () = assert!(size_of::<InoPathArgs>() == 56);
const _: () = assert!(size_of::<PathContainer>() == CONTAINER_BYTES);
const _: () = assert!(size_of::<SubvolInfo>() == 504);

/// The number of the subvolume that `directory` is in (its root id). Needs no privilege.
///
/// `ENOTTY` where the file system is not btrfs or the kernel is older than 4.18.
pub fn subvolume_id(directory: impl AsFd) -> Result<u64> {
    let directory = directory.as_fd();
    let mut info = SubvolInfo {
        tree: 0,
        rest: [0; 62],
    };
    // SAFETY: linux/btrfs.h: the kernel fills a structure of this size, which outlives the call.
    let returned = unsafe {
        libc::ioctl(
            directory.as_raw_fd(),
            BTRFS_IOC_GET_SUBVOL_INFO,
            &raw mut info,
        )
    };
    check_int(returned).on("ioctl(BTRFS_IOC_GET_SUBVOL_INFO)", || number(directory))?;
    Ok(info.tree)
}

/// Writes how `subvolume` differs from the subvolume with the number `parent` to `into`, as a send
/// stream of version 1 without the data of files. Returns when all is written, so somebody must
/// read meanwhile if `into` is a pipe.
///
/// Both must be read-only. `EPERM` without `CAP_SYS_ADMIN` in the initial user namespace, `ENOTTY`
/// where the file system is not btrfs.
pub fn send(subvolume: impl AsFd, parent: u64, into: impl AsFd) -> Result<()> {
    let subvolume = subvolume.as_fd();
    let sources = [parent];
    let args = SendArgs {
        send_fd: i64::from(into.as_fd().as_raw_fd()),
        clone_sources_count: 1,
        clone_sources: sources.as_ptr(),
        parent_root: parent,
        flags: SEND_NO_FILE_DATA,
        version: 0,
        reserved: [0; 28],
    };
    // SAFETY: linux/btrfs.h: the kernel reads this structure and the one number that it points to;
    // both outlive the call.
    let returned = unsafe { libc::ioctl(subvolume.as_raw_fd(), BTRFS_IOC_SEND, &raw const args) };
    check_int(returned)
        .map(drop)
        .on("ioctl(BTRFS_IOC_SEND)", || number(subvolume))
}

/// The paths that `inode` has in the subvolume of `directory`, from its root. The kernel's answer
/// has room for 4 KiB of them; the others are left out.
///
/// Empty if there is no such inode. `EPERM` without `CAP_DAC_READ_SEARCH`.
pub fn paths_of_inode(directory: impl AsFd, inode: u64) -> Result<Vec<Vec<u8>>> {
    let directory = directory.as_fd();
    let mut container = PathContainer {
        bytes_left: 0,
        bytes_missing: 0,
        count: 0,
        missed: 0,
        values: [0; _],
    };
    let mut args = InoPathArgs {
        inode,
        size: CONTAINER_BYTES as u64,
        reserved: [0; 4],
        found: ptr::from_mut(&mut container),
    };
    // SAFETY: linux/btrfs.h: the kernel reads `args` and fills at most `size` bytes of the
    // container, which is as large; both outlive the call.
    let returned =
        unsafe { libc::ioctl(directory.as_raw_fd(), BTRFS_IOC_INO_PATHS, &raw mut args) };
    match check_int(returned) {
        Ok(_) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => {
            let subject = format!("inode {inode} of {}", number(directory));
            return Err(SysError::new("ioctl(BTRFS_IOC_INO_PATHS)", errno, subject));
        }
    }
    let values = container.values;
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect();
    Ok(values
        .iter()
        .take(container.count as usize)
        .filter_map(|offset| {
            let path = bytes.get(usize::try_from(*offset).ok()?..)?;
            let end = path.iter().position(|byte| *byte == 0)?;
            Some(path[..end].to_vec())
        })
        .collect())
}

fn number(fd: BorrowedFd<'_>) -> String {
    format!("fd {}", fd.as_raw_fd())
}
