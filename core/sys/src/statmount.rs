//! Asking the kernel about mounts by an identity that is never used twice: statmount(2),
//! listmount(2), unique mount ids and mount namespace ids.
#![expect(
    unsafe_code,
    reason = "statmount, listmount and NS_GET_MNTNS_ID have no wrapper"
)]

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Result, SysError};
use crate::file::{self, MOUNT_ID_UNIQUE, Stat};
use crate::syscall::{LISTMOUNT, STATMOUNT, check_int, check_long};

/// A mount's identity, unique until the next boot (unlike the number in `mountinfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UniqueMountId(pub u64);

impl fmt::Display for UniqueMountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A mount namespace's identity.
///
/// Written and read as `unique:7` or `inode:4026531841`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MountNamespaceId {
    /// The kernel's own 64-bit id, never used twice (Linux 6.11).
    Unique(u64),
    /// The inode number in nsfs, which a later namespace may get again (older kernels).
    Inode(u64),
}

impl fmt::Display for MountNamespaceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unique(id) => write!(formatter, "unique:{id}"),
            Self::Inode(inode) => write!(formatter, "inode:{inode}"),
        }
    }
}

impl FromStr for MountNamespaceId {
    type Err = SysError;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once(':').and_then(|(kind, number)| match kind {
            "unique" => number.parse().ok().map(Self::Unique),
            "inode" => number.parse().ok().map(Self::Inode),
            _ => None,
        });
        parsed.ok_or_else(|| {
            let reason = "expected `unique:NUMBER` or `inode:NUMBER`".to_owned();
            SysError::refused("mount namespace id", text, reason)
        })
    }
}

/// What the kernel tells about a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountStatus {
    /// Where it is mounted, seen from the caller's root, or from the root of the namespace asked
    /// for. `None` when it is out of reach from there.
    pub mount_point: Option<PathBuf>,
    /// Type of the file system.
    pub fs_type: String,
}

/// The unique id of the mount that holds `path`, whose last part is not followed.
///
/// Needs Linux 6.8, see [`SysError::is_unsupported`].
pub fn mount_id(path: &Path) -> Result<UniqueMountId> {
    unique_id(&file::statx(CWD, path, MOUNT_ID_UNIQUE)?, path.display())
}

/// The unique id of the mount that an open file belongs to, also a detached one.
pub fn mount_id_of(fd: impl AsFd) -> Result<UniqueMountId> {
    let fd = fd.as_fd();
    unique_id(
        &file::statx(fd, c"", MOUNT_ID_UNIQUE)?,
        format!("fd {}", fd.as_raw_fd()),
    )
}

fn unique_id(answer: &Stat, subject: impl fmt::Display) -> Result<UniqueMountId> {
    if answer.mask.contains(MOUNT_ID_UNIQUE) {
        Ok(UniqueMountId(answer.mnt_id))
    } else {
        Err(SysError::unsupported(
            "statx(STATX_MNT_ID_UNIQUE)",
            subject,
            "6.8",
        ))
    }
}

/// The mount namespace of the calling thread.
pub fn mount_namespace_id() -> Result<MountNamespaceId> {
    /// `_IOR(0xb7, 0x5, __u64)` of `linux/nsfs.h`.
    const NS_GET_MNTNS_ID: libc::Ioctl = libc::_IOR::<u64>(0xb7, 0x5);
    // `self` would be the thread group's leader, whose namespace may be another.
    let path = "/proc/thread-self/ns/mnt";
    let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .on("open", || path)?;
    let mut id = 0_u64;
    // SAFETY: ioctl_nsfs(2): the argument is a pointer to one u64, which outlives the call.
    let returned = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_MNTNS_ID, &raw mut id) };
    match check_int(returned) {
        Ok(_) => Ok(MountNamespaceId::Unique(id)),
        Err(Errno::NOTTY) => {
            let stat = rustix::fs::fstat(&namespace).on("fstat", || path)?;
            Ok(MountNamespaceId::Inode(stat.st_ino))
        }
        Err(errno) => Err(SysError::new("ioctl(NS_GET_MNTNS_ID)", errno, path)),
    }
}

/// `struct mnt_id_req` of `linux/mount.h`, as of Linux 6.11.
#[repr(C)]
struct MountIdRequest {
    size: u32,
    spare: u32,
    mnt_id: u64,
    param: u64,
    mnt_ns_id: u64,
}

const _: () = assert!(size_of::<MountIdRequest>() == 32);

impl MountIdRequest {
    /// `MNT_ID_REQ_SIZE_VER0`: without the namespace, as Linux 6.8 knows it.
    const SIZE_WITHOUT_NAMESPACE: u32 = 24;

    fn new(mnt_id: u64, param: u64, namespace: Option<MountNamespaceId>) -> Result<Self> {
        let (size, mnt_ns_id) = match namespace {
            None => (Self::SIZE_WITHOUT_NAMESPACE, 0),
            Some(MountNamespaceId::Unique(id)) => (size_of::<Self>() as u32, id),
            Some(inode @ MountNamespaceId::Inode(_)) => {
                return Err(SysError::unsupported(
                    "statmount in a namespace",
                    inode,
                    "6.11",
                ));
            }
        };
        Ok(Self {
            size,
            spare: 0,
            mnt_id,
            param,
            mnt_ns_id,
        })
    }
}

/// The fixed head of `struct statmount` of `linux/mount.h`; the strings follow it, and the
/// offsets in it count from its end.
#[repr(C)]
struct StatmountHead {
    size: u32,
    mnt_opts: u32,
    mask: u64,
    sb_dev_major: u32,
    sb_dev_minor: u32,
    sb_magic: u64,
    sb_flags: u32,
    fs_type: u32,
    mnt_id: u64,
    mnt_parent_id: u64,
    mnt_id_old: u32,
    mnt_parent_id_old: u32,
    mnt_attr: u64,
    mnt_propagation: u64,
    mnt_peer_group: u64,
    mnt_master: u64,
    propagate_from: u64,
    mnt_root: u32,
    mnt_point: u32,
    later: [u64; 50],
}

const _: () = assert!(size_of::<StatmountHead>() == 512);

const STATMOUNT_MNT_POINT: u64 = 0x10;
const STATMOUNT_FS_TYPE: u64 = 0x20;

/// Asks about one mount, in the namespace given or the caller's own. `None` when it does not
/// exist there (any more).
///
/// Needs Linux 6.8, and 6.11 with a namespace; another user namespace's mount namespace needs
/// `CAP_SYS_ADMIN` there (`EPERM`). A namespace that is gone counts as one without mounts.
pub fn statmount(
    id: UniqueMountId,
    namespace: Option<MountNamespaceId>,
) -> Result<Option<MountStatus>> {
    let request = MountIdRequest::new(id.0, STATMOUNT_MNT_POINT | STATMOUNT_FS_TYPE, namespace)?;
    // u64 cells keep the buffer aligned for the head.
    let mut buffer = vec![0_u64; (size_of::<StatmountHead>() + 1024) / 8];
    loop {
        // SAFETY: statmount(2): the request is the kernel's `struct mnt_id_req` with its size,
        // and the buffer is writable for as many bytes as is said.
        let returned = unsafe {
            libc::syscall(
                STATMOUNT,
                &raw const request,
                buffer.as_mut_ptr(),
                buffer.len() * size_of::<u64>(),
                0,
            )
        };
        match check_long(returned) {
            Ok(_) => return Ok(Some(mount_status(&buffer))),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::OVERFLOW) => buffer.resize(buffer.len() * 2, 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("statmount", errno, format!("mount {id}"))),
        }
    }
}

fn mount_status(buffer: &[u64]) -> MountStatus {
    assert!(size_of_val(buffer) >= size_of::<StatmountHead>());
    // SAFETY: linux/mount.h: the buffer is at least as long as the head (asserted), aligned for
    // it, initialised, and every bit pattern is a valid head.
    let head = unsafe { &*buffer.as_ptr().cast::<StatmountHead>() };
    // SAFETY: the same memory seen as bytes, which have neither alignment nor invalid values.
    let bytes =
        unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), size_of_val(buffer)) };
    let text = |bit: u64, offset: u32| {
        let start = size_of::<StatmountHead>() + offset as usize;
        let text = CStr::from_bytes_until_nul(bytes.get(start..)?)
            .ok()?
            .to_bytes();
        (head.mask & bit != 0).then_some(text)
    };
    MountStatus {
        mount_point: text(STATMOUNT_MNT_POINT, head.mnt_point)
            .filter(|path| !path.is_empty())
            .map(|path| PathBuf::from(OsStr::from_bytes(path))),
        fs_type: text(STATMOUNT_FS_TYPE, head.fs_type)
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .unwrap_or_default(),
    }
}

/// All mounts of the namespace given or the caller's own, in the order of their ids.
///
/// Needs Linux 6.8, and 6.11 with a namespace.
pub fn listmount(namespace: Option<MountNamespaceId>) -> Result<Vec<UniqueMountId>> {
    /// `LSMT_ROOT`: start at the root of the namespace.
    const ROOT: u64 = u64::MAX;
    const BATCH: usize = 512;
    let mut mounts = Vec::new();
    let mut batch = [0_u64; BATCH];
    loop {
        let last = mounts.last().map_or(0, |id: &UniqueMountId| id.0);
        let request = MountIdRequest::new(ROOT, last, namespace)?;
        // SAFETY: listmount(2): the request is the kernel's `struct mnt_id_req` with its size,
        // and the array has room for as many ids as is said.
        let returned =
            unsafe { libc::syscall(LISTMOUNT, &raw const request, batch.as_mut_ptr(), BATCH, 0) };
        let count = check_long(returned).on("listmount", || "the mount namespace's root")?;
        mounts.extend(batch[..count].iter().copied().map(UniqueMountId));
        if count < BATCH {
            return Ok(mounts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_id_text_round_trips() {
        for id in [
            MountNamespaceId::Unique(7),
            MountNamespaceId::Inode(4_026_531_841),
        ] {
            assert_eq!(id.to_string().parse::<MountNamespaceId>().unwrap(), id);
        }
        for wrong in ["", "7", "unique:", "unique:-1", "other:7"] {
            assert!(wrong.parse::<MountNamespaceId>().is_err(), "{wrong}");
        }
    }
}
