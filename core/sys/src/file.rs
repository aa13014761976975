//! Single files: sharing and copying of extents, holes, statx, confined opening, flags, and what
//! the page cache holds of them.
#![expect(
    unsafe_code,
    reason = "FICLONERANGE and cachestat(2) have no safe wrapper"
)]

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FallocateFlags, IFlags, ResolveFlags, SeekFrom};
pub use rustix::fs::{Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::error::{Context, Result, SysError};
use crate::syscall::{CACHESTAT, check_int, check_long};

/// `STATX_MNT_ID_UNIQUE` (Linux 6.8): `mnt_id` is then never used twice until the next boot.
pub const MOUNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

fn descriptors(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> String {
    format!("fd {} to fd {}", source.as_raw_fd(), target.as_raw_fd())
}

/// Makes `target` share all of `source`'s blocks (`FICLONE`).
///
/// `EOPNOTSUPP` where the file system cannot, `EXDEV` across file systems.
pub fn clone_file(source: impl AsFd, target: impl AsFd) -> Result<()> {
    let (source, target) = (source.as_fd(), target.as_fd());
    rustix::fs::ioctl_ficlone(target, source).on("ioctl(FICLONE)", || descriptors(source, target))
}

/// A stretch of one file and the place of its copy in another, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyRange {
    /// Start in the source.
    pub source_offset: u64,
    /// Start in the target.
    pub target_offset: u64,
    /// Length; 0 means up to the source's end for [`clone_range`].
    pub length: u64,
}

/// Makes a stretch of `target` share blocks of `source` (`FICLONERANGE`).
///
/// `EINVAL` unless aligned to the file system's blocks or ending at the source's end.
pub fn clone_range(source: impl AsFd, target: impl AsFd, range: CopyRange) -> Result<()> {
    let (source, target) = (source.as_fd(), target.as_fd());
    let argument = libc::file_clone_range {
        src_fd: i64::from(source.as_raw_fd()),
        src_offset: range.source_offset,
        src_length: range.length,
        dest_offset: range.target_offset,
    };
    // SAFETY: ioctl_ficlonerange(2): the argument is the kernel's `struct file_clone_range`, which
    // outlives the call.
    let returned =
        unsafe { libc::ioctl(target.as_raw_fd(), libc::FICLONERANGE, &raw const argument) };
    check_int(returned)
        .map(drop)
        .on("ioctl(FICLONERANGE)", || descriptors(source, target))
}

const _: () = assert!(size_of::<libc::file_clone_range>() == 32);

/// How far [`copy_range`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyOutcome {
    /// All of it.
    Complete,
    /// The source ended after this many bytes.
    SourceEnded {
        /// Bytes copied.
        copied: u64,
    },
    /// The kernel does not copy between these two files (`EXDEV`, `EOPNOTSUPP`, `ENOSYS`,
    /// `EINVAL`); the rest is left to read and write.
    Refused {
        /// Bytes copied before.
        copied: u64,
        /// What the kernel answered.
        errno: Errno,
    },
}

/// Copies inside the kernel (`copy_file_range(2)`), as often as it takes. Neither file's offset
/// moves.
pub fn copy_range(source: impl AsFd, target: impl AsFd, range: CopyRange) -> Result<CopyOutcome> {
    // The kernel clips to this by itself, less a page (MAX_RW_COUNT).
    const MOST_AT_ONCE: u64 = 0x7fff_f000;
    let (source, target) = (source.as_fd(), target.as_fd());
    let (mut from, mut to) = (range.source_offset, range.target_offset);
    let mut copied = 0;
    while copied < range.length {
        let length = (range.length - copied).min(MOST_AT_ONCE) as usize;
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), length) {
            Ok(0) => return Ok(CopyOutcome::SourceEnded { copied }),
            Ok(length) => copied += length as u64,
            Err(Errno::INTR) => {}
            Err(errno @ (Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL)) => {
                return Ok(CopyOutcome::Refused { copied, errno });
            }
            Err(errno) => {
                let subject = descriptors(source, target);
                return Err(SysError::new("copy_file_range", errno, subject));
            }
        }
    }
    Ok(CopyOutcome::Complete)
}

/// The stretches of a file that hold data, in order; what lies between them reads as zeros.
///
/// Moves the file's offset (`SEEK_DATA`, `SEEK_HOLE`). A file system without holes answers one
/// stretch; data may be reported where there are zeros only, never the other way round.
pub fn data_extents<Fd: AsFd>(file: Fd, length: u64) -> DataExtents<Fd> {
    DataExtents {
        file,
        length,
        position: 0,
    }
}

/// See [`data_extents`].
#[derive(Debug)]
pub struct DataExtents<Fd> {
    file: Fd,
    length: u64,
    position: u64,
}

impl<Fd: AsFd> DataExtents<Fd> {
    fn seek(&self, step: &'static str, position: SeekFrom) -> Result<Option<u64>> {
        match rustix::fs::seek(&self.file, position) {
            Ok(found) => Ok(Some(found.min(self.length))),
            // lseek(2): nothing of the kind up to the end, or the file was cut meanwhile.
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => {
                let subject = format!("fd {}", self.file.as_fd().as_raw_fd());
                Err(SysError::new(step, errno, subject))
            }
        }
    }

    fn find(&mut self) -> Result<Option<Range<u64>>> {
        if self.position >= self.length {
            return Ok(None);
        }
        let Some(start) = self.seek("lseek(SEEK_DATA)", SeekFrom::Data(self.position))? else {
            return Ok(None);
        };
        if start >= self.length {
            return Ok(None);
        }
        let end = self
            .seek("lseek(SEEK_HOLE)", SeekFrom::Hole(start))?
            .unwrap_or(self.length);
        self.position = end;
        Ok((end > start).then_some(start..end))
    }
}

impl<Fd: AsFd> Iterator for DataExtents<Fd> {
    type Item = Result<Range<u64>>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.find();
        if !matches!(found, Ok(Some(_))) {
            self.position = self.length;
        }
        found.transpose()
    }
}

/// What statx(2) tells of an inode. Fields that were not asked for, or that the file system lacks,
/// are zero; `mask` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The fields that hold something.
    pub mask: StatxFlags,
    /// Inode number.
    pub ino: u64,
    /// Major number of the device that holds the inode.
    pub dev_major: u32,
    /// Minor number of the device that holds the inode.
    pub dev_minor: u32,
    /// Type and permission bits, `S_IF*` and 07777.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major number of the device that a device file stands for.
    pub rdev_major: u32,
    /// Minor number of the device that a device file stands for.
    pub rdev_minor: u32,
    /// Size in bytes.
    pub size: u64,
    /// Space held, in units of 512 bytes.
    pub blocks: u64,
    /// Last change of the content: seconds since the epoch, nanoseconds.
    pub mtime: (i64, u32),
    /// Last change of the inode: seconds since the epoch, nanoseconds.
    pub ctime: (i64, u32),
    /// Birth: seconds since the epoch, nanoseconds. `None` where the file system keeps none.
    pub btime: Option<(i64, u32)>,
    /// The mount, when [`MOUNT_ID_UNIQUE`] or `STATX_MNT_ID` was asked for.
    pub mnt_id: u64,
    /// Immutable, append-only, root of a mount, ...
    pub attributes: StatxAttributes,
}

impl From<rustix::fs::Statx> for Stat {
    fn from(raw: rustix::fs::Statx) -> Self {
        let time = |stamp: rustix::fs::StatxTimestamp| (stamp.tv_sec, stamp.tv_nsec);
        let mask = StatxFlags::from_bits_retain(raw.stx_mask);
        Self {
            mask,
            ino: raw.stx_ino,
            dev_major: raw.stx_dev_major,
            dev_minor: raw.stx_dev_minor,
            mode: u32::from(raw.stx_mode),
            nlink: raw.stx_nlink,
            uid: raw.stx_uid,
            gid: raw.stx_gid,
            rdev_major: raw.stx_rdev_major,
            rdev_minor: raw.stx_rdev_minor,
            size: raw.stx_size,
            blocks: raw.stx_blocks,
            mtime: time(raw.stx_mtime),
            ctime: time(raw.stx_ctime),
            btime: mask
                .contains(StatxFlags::BTIME)
                .then(|| time(raw.stx_btime)),
            mnt_id: raw.stx_mnt_id,
            attributes: raw.stx_attributes,
        }
    }
}

/// statx(2) of `path` from `directory`, without following a symbolic link at its end; of
/// `directory` itself (any open file) when `path` is empty.
pub fn statx(directory: impl AsFd, path: impl Arg, mask: StatxFlags) -> Result<Stat> {
    with_c_str("statx", path, |path| {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
        rustix::fs::statx(directory.as_fd(), path, flags, mask)
            .map(Stat::from)
            .on("statx", || display(directory.as_fd(), path))
    })
}

/// Opens `path` as if `root` were `/`: `..` and absolute links end inside (`RESOLVE_IN_ROOT`).
///
/// Magic links of /proc are refused with `ELOOP`. Always close-on-exec.
pub fn open_in_root(root: impl AsFd, path: impl Arg, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    open_resolved(root.as_fd(), path, (flags, mode), resolve)
}

/// Opens `path` below `directory`; what would leave it, even on the way, is refused with `EXDEV`
/// (`RESOLVE_BENEATH`). Always close-on-exec.
pub fn open_beneath(
    directory: impl AsFd,
    path: impl Arg,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    open_resolved(directory.as_fd(), path, (flags, mode), resolve)
}

/// [`open_beneath`] that refuses every symbolic link with `ELOOP`, also one at the end (unless
/// `O_PATH` and `O_NOFOLLOW` ask for the link itself).
pub fn open_beneath_without_symlinks(
    directory: impl AsFd,
    path: impl Arg,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    open_resolved(directory.as_fd(), path, (flags, mode), resolve)
}

fn open_resolved(
    directory: BorrowedFd<'_>,
    path: impl Arg,
    (flags, mode): (OFlags, Mode),
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    // openat2(2): EAGAIN when a rename or mount anywhere ran beside a `..`, and the caller is to
    // try again.
    const TRIES: usize = 128;
    with_c_str("openat2", path, |path| {
        let open = || rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, mode, resolve);
        let mut opened = open();
        for _ in 1..TRIES {
            if !matches!(opened, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
            opened = open();
        }
        opened.on("openat2", || display(directory, path))
    })
}

/// Writes all dirty data of the file system that holds `file` to its device (syncfs(2)); an error
/// in writeback since `file` was opened is told.
pub fn sync_file_system(file: impl AsFd) -> Result<()> {
    let file = file.as_fd();
    rustix::fs::syncfs(file).on("syncfs", || format!("fd {}", file.as_raw_fd()))
}

/// Whether an inode may change at all, `chattr +i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Immutable {
    /// It may not.
    Set,
    /// It may.
    Clear,
}

/// Sets or clears the immutable flag (`FS_IOC_SETFLAGS`) and leaves the other flags alone.
///
/// `ENOTTY` or `EOPNOTSUPP` where the file system has none, `EPERM` without
/// `CAP_LINUX_IMMUTABLE`.
pub fn set_immutable(file: impl AsFd, immutable: Immutable) -> Result<()> {
    let file = file.as_fd();
    let subject = || format!("fd {}", file.as_raw_fd());
    let before = rustix::fs::ioctl_getflags(file).on("ioctl(FS_IOC_GETFLAGS)", subject)?;
    let after = match immutable {
        Immutable::Set => before | IFlags::IMMUTABLE,
        Immutable::Clear => before - IFlags::IMMUTABLE,
    };
    if before == after {
        return Ok(());
    }
    rustix::fs::ioctl_setflags(file, after).on("ioctl(FS_IOC_SETFLAGS)", subject)
}

/// What the page cache holds of a stretch of a file, in pages.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStat {
    /// Cached.
    pub cached: u64,
    /// Of these, to be written.
    pub dirty: u64,
    /// Of these, being written.
    pub writeback: u64,
    /// Evicted.
    pub evicted: u64,
    /// Of these, so lately that they would count as active when read again.
    pub recently_evicted: u64,
}

/// `struct cachestat_range` of `linux/mman.h`.
#[repr(C)]
struct CacheStatRange {
    off: u64,
    len: u64,
}

const _: () = assert!(size_of::<CacheStat>() == 40);
const _: () = assert!(size_of::<CacheStatRange>() == 16);

/// cachestat(2), since Linux 6.5. A `length` of 0 means up to the file's end.
///
/// `EPERM` for files that the caller neither owns nor could write.
pub fn cachestat(file: impl AsFd, offset: u64, length: u64) -> Result<CacheStat> {
    let file = file.as_fd();
    let range = CacheStatRange {
        off: offset,
        len: length,
    };
    let mut found = CacheStat::default();
    // SAFETY: linux/mman.h: range and result are the kernel's `struct cachestat_range` and
    // `struct cachestat`, and both outlive the call.
    let returned = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_raw_fd(),
            &raw const range,
            &raw mut found,
            0,
        )
    };
    check_long(returned).on("cachestat", || format!("fd {}", file.as_raw_fd()))?;
    Ok(found)
}

/// Gives the space of a stretch of a file back; it reads as zeros, and the size stays.
pub fn punch_hole(file: impl AsFd, offset: u64, length: u64) -> Result<()> {
    let file = file.as_fd();
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, flags, offset, length))
        .on("fallocate(FALLOC_FL_PUNCH_HOLE)", || {
            format!("fd {}", file.as_raw_fd())
        })
}

/// A whole file, for those of /proc and /sys. The errno stays readable in the error, which one of
/// `fs_err` would wrap.
pub(crate) fn read_whole(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut content))
        .on("read", || path.display())?;
    Ok(content)
}

/// Hands `argument` on as a C string, on the stack where it fits there.
pub(crate) fn with_c_str<T>(
    step: &'static str,
    argument: impl Arg,
    call: impl FnOnce(&std::ffi::CStr) -> Result<T>,
) -> Result<T> {
    argument
        .into_with_c_str(|argument| Ok(call(argument)))
        .unwrap_or_else(|errno| Err(SysError::new(step, errno, "a name with a NUL byte")))
}

pub(crate) fn display(directory: BorrowedFd<'_>, path: &std::ffi::CStr) -> String {
    format!("fd {}/{}", directory.as_raw_fd(), path.to_string_lossy())
}
