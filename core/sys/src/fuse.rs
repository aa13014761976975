//! The ioctls of `/dev/fuse`, `linux/fuse.h`.
#![expect(unsafe_code, reason = "the ioctls of FUSE have no safe wrapper")]

use crate::syscall::check_int;
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd as _};

/// `_IOR(229, 0, uint32_t)`.
const CLONE: libc::Ioctl = 0x8004_e500_u32 as libc::Ioctl;
/// `_IOW(229, 1, struct fuse_backing_map)`.
const BACKING_OPEN: libc::Ioctl = 0x4010_e501;
/// `_IOW(229, 2, uint32_t)`.
const BACKING_CLOSE: libc::Ioctl = 0x4004_e502;

/// `struct fuse_backing_map`.
#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

const _: () = assert!(size_of::<BackingMap>() == 16);

/// Makes `fresh`, a newly opened `/dev/fuse`, one more channel of the connection that `device`
/// is of, with a queue of its own for the requests that are being answered.
pub fn clone_device(fresh: impl AsFd, device: impl AsFd) -> Result<(), Errno> {
    let number = device.as_fd().as_raw_fd().cast_unsigned();
    // SAFETY: linux/fuse.h: the argument is a 32-bit descriptor number that is only read.
    let returned = unsafe { libc::ioctl(fresh.as_fd().as_raw_fd(), CLONE, &raw const number) };
    check_int(returned).map(drop)
}

/// Registers `file` for passthrough, since Linux 6.9. The number stands for it until
/// [`close_backing`]; open files that use it keep it longer.
///
/// `EPERM` where passthrough was not negotiated or without `CAP_SYS_ADMIN`, `ELOOP` where the
/// file's own file system is stacked too deep.
pub fn open_backing(device: impl AsFd, file: impl AsFd) -> Result<i32, Errno> {
    let map = BackingMap {
        fd: file.as_fd().as_raw_fd(),
        flags: 0,
        padding: 0,
    };
    // SAFETY: linux/fuse.h: the argument is the kernel's `struct fuse_backing_map`, only read.
    let returned = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BACKING_OPEN, &raw const map) };
    check_int(returned).map(u32::cast_signed)
}

/// Gives back what [`open_backing`] gave.
pub fn close_backing(device: impl AsFd, id: i32) -> Result<(), Errno> {
    let number = id.cast_unsigned();
    // SAFETY: linux/fuse.h: the argument is the 32-bit number, only read.
    let returned =
        unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BACKING_CLOSE, &raw const number) };
    check_int(returned).map(drop)
}
