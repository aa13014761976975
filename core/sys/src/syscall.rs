//! System calls that neither libc nor rustix know yet: their numbers, and the way from a return
//! value to an errno.

use rustix::io::Errno;

/// The numbers below are those of `asm-generic/unistd.h`, which all architectures share since
/// number 424; alpha and mips add an offset of their own.
#[cfg(any(
    target_arch = "mips",
    target_arch = "mips64",
    target_arch = "mips32r6",
    target_arch = "mips64r6"
))]
compile_error!("the system call numbers of this architecture carry an offset");

pub(crate) const QUOTACTL_FD: libc::c_long = 443;
pub(crate) const CACHESTAT: libc::c_long = 451;
pub(crate) const STATMOUNT: libc::c_long = 457;
pub(crate) const LISTMOUNT: libc::c_long = 458;
pub(crate) const SETXATTRAT: libc::c_long = 463;
pub(crate) const GETXATTRAT: libc::c_long = 464;
pub(crate) const LISTXATTRAT: libc::c_long = 465;
pub(crate) const REMOVEXATTRAT: libc::c_long = 466;

/// The errno that the C library left behind for the calling thread.
pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// What `syscall(2)` returned: a count, or -1 and an errno.
pub(crate) fn check_long(returned: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(returned).map_err(|_| last_errno())
}

/// What `ioctl(2)` and its like returned: a number, or -1 and an errno.
pub(crate) fn check_int(returned: libc::c_int) -> Result<u32, Errno> {
    u32::try_from(returned).map_err(|_| last_errno())
}
