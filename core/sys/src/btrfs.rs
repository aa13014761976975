//! What `linux/btrfs.h` offers on an open directory of a btrfs, as far as libbtrfsutil does not:
//! facts about subvolumes, quotas, sizes, and waiting for what was destroyed.
#![expect(unsafe_code, reason = "the btrfs ioctls have no safe wrapper")]

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::io::Errno;

use crate::error::{Context, Result, SysError};
use crate::syscall::check_int;

/// `BTRFS_SUPER_MAGIC` of `linux/magic.h`.
const MAGIC: i64 = 0x9123_683E;
/// `BTRFS_FIRST_FREE_OBJECTID`: the inode number of every subvolume's root.
const FIRST_FREE_OBJECT: u64 = 256;
/// `BTRFS_SUBVOL_RDONLY`.
const READ_ONLY: u64 = 1 << 1;

/// Numbers as `linux/ioctl.h` makes them, for the type 0x94.
const fn number(direction: u64, nr: u64, size: usize) -> libc::Ioctl {
    direction << 30 | (size as u64) << 16 | 0x9400 | nr
}
const NONE: u64 = 0;
const WRITE: u64 = 1;
const READ: u64 = 2;

const RESIZE: libc::Ioctl = number(WRITE, 3, 4096);
const SYNC: libc::Ioctl = number(NONE, 8, 0);
const SUBVOL_CREATE: libc::Ioctl = number(WRITE, 14, 4096);
const SNAP_DESTROY: libc::Ioctl = number(WRITE, 15, 4096);
const SNAP_CREATE_V2: libc::Ioctl = number(WRITE, 23, 4096);
pub(crate) const TREE_SEARCH: libc::Ioctl = number(READ | WRITE, 17, 112);
const SUBVOL_SETFLAGS: libc::Ioctl = number(WRITE, 26, 8);
const DEV_INFO: libc::Ioctl = number(READ | WRITE, 30, 4096);
const FS_INFO: libc::Ioctl = number(READ, 31, 1024);
const QUOTA_CTL: libc::Ioctl = number(READ | WRITE, 40, 16);
const QGROUP_LIMIT: libc::Ioctl = number(READ, 43, 48);
const QUOTA_RESCAN: libc::Ioctl = number(WRITE, 44, 64);
const QUOTA_RESCAN_WAIT: libc::Ioctl = number(NONE, 46, 0);
const GET_SUBVOL_INFO: libc::Ioctl = number(READ, 60, 504);
const GET_SUBVOL_ROOTREF: libc::Ioctl = number(READ | WRITE, 61, 4096);
const INO_LOOKUP_USER: libc::Ioctl = number(READ | WRITE, 62, 4096);
const SUBVOL_SYNC_WAIT: libc::Ioctl = number(WRITE, 65, 16);
/// `FITRIM` of `linux/fs.h`.
const FITRIM: libc::Ioctl = (READ | WRITE) << 30 | 24 << 16 | (b'X' as u64) << 8 | 0x79;

/// Calls one of the ioctls above.
pub(crate) fn call<T>(
    file: BorrowedFd<'_>,
    request: libc::Ioctl,
    name: &'static str,
    argument: &mut T,
) -> Result<u32> {
    // SAFETY: ioctl(2): every request above is given the structure that `linux/btrfs.h` says, of
    // the very size that the number tells the kernel (asserted where each is defined), and it
    // outlives the call.
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), request, std::ptr::from_mut(argument)) };
    check_int(returned).on(name, || format!("fd {}", file.as_raw_fd()))
}

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArguments {
    fd: i64,
    name: [u8; 4088],
}

const _: () = assert!(size_of::<VolumeArguments>() == 4096);

impl VolumeArguments {
    fn named(step: &'static str, text: &[u8]) -> Result<Self> {
        let mut arguments = Self {
            fd: 0,
            name: [0; 4088],
        };
        if text.len() >= arguments.name.len() || text.contains(&0) {
            let shown = String::from_utf8_lossy(text).into_owned();
            return Err(SysError::new(step, Errno::NAMETOOLONG, shown));
        }
        arguments.name[..text.len()].copy_from_slice(text);
        Ok(arguments)
    }
}

/// Whether `file` lies on a btrfs.
pub fn is_btrfs(file: impl AsFd) -> Result<bool> {
    let stat = rustix::fs::fstatfs(file.as_fd()).on("fstatfs", || "the open file")?;
    Ok(stat.f_type == MAGIC)
}

/// Whether `directory` is the root of a subvolume: it lies on a btrfs and has inode number 256.
pub fn is_subvolume(directory: impl AsFd) -> Result<bool> {
    let directory = directory.as_fd();
    let stat = rustix::fs::fstat(directory).on("fstat", || "the open directory")?;
    Ok(stat.st_ino == FIRST_FREE_OBJECT && is_btrfs(directory)?)
}

/// `struct btrfs_ioctl_get_subvol_info_args`.
#[repr(C)]
struct InfoArguments {
    id: u64,
    name: [u8; 256],
    parent: u64,
    directory: u64,
    generation: u64,
    flags: u64,
    uuids: [u8; 48],
    transactions: [u64; 4],
    times: [[u64; 2]; 4],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<InfoArguments>() == 504);

/// Facts about a subvolume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubvolumeInfo {
    /// Its number, unique in its file system; also of its own quota group.
    pub id: u64,
    /// The transaction that wrote to it last.
    pub generation: u64,
    /// The transaction that made it.
    pub created: u64,
    /// Whether it refuses writes.
    pub read_only: bool,
}

/// Facts about the subvolume that `file` lies in (`BTRFS_IOC_GET_SUBVOL_INFO`, Linux 4.18).
pub fn subvolume_info(file: impl AsFd) -> Result<SubvolumeInfo> {
    let mut found = InfoArguments {
        id: 0,
        name: [0; 256],
        parent: 0,
        directory: 0,
        generation: 0,
        flags: 0,
        uuids: [0; 48],
        transactions: [0; 4],
        times: [[0; 2]; 4],
        reserved: [0; 8],
    };
    call(
        file.as_fd(),
        GET_SUBVOL_INFO,
        "ioctl(BTRFS_IOC_GET_SUBVOL_INFO)",
        &mut found,
    )?;
    Ok(SubvolumeInfo {
        id: found.id,
        generation: found.generation,
        created: found.transactions[1],
        read_only: found.flags & READ_ONLY != 0,
    })
}

/// A subvolume inside another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// Its number.
    pub id: u64,
    /// Inode number of the directory in the outer subvolume that holds it.
    pub directory: u64,
}

/// `struct btrfs_ioctl_get_subvol_rootref_args`.
#[repr(C)]
struct ReferenceArguments {
    least: u64,
    found: [[u64; 2]; 255],
    count: u8,
    align: [u8; 7],
}

const _: () = assert!(size_of::<ReferenceArguments>() == 4096);

/// The subvolumes directly inside the subvolume whose root is `root`
/// (`BTRFS_IOC_GET_SUBVOL_ROOTREF`, Linux 4.18). Needs no privilege, and costs one call where
/// there are none.
pub fn children(root: impl AsFd) -> Result<Vec<Child>> {
    const STEP: &str = "ioctl(BTRFS_IOC_GET_SUBVOL_ROOTREF)";
    let mut children = Vec::new();
    let mut least = 0;
    loop {
        let mut references = ReferenceArguments {
            least,
            found: [[0; 2]; 255],
            count: 0,
            align: [0; 7],
        };
        let outcome = call(root.as_fd(), GET_SUBVOL_ROOTREF, STEP, &mut references);
        let count = usize::from(references.count);
        children.extend(
            references
                .found
                .iter()
                .take(count)
                .map(|&[id, directory]| Child { id, directory }),
        );
        match outcome {
            Ok(_) => return Ok(children),
            // There are more than one call can tell.
            Err(error) if error.is(Errno::OVERFLOW) && count > 0 => {
                least = references.found[count - 1][0] + 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// `struct btrfs_ioctl_ino_lookup_user_args`.
#[repr(C)]
struct LookupArguments {
    directory: u64,
    id: u64,
    name: [u8; 256],
    path: [u8; 3824],
}

const _: () = assert!(size_of::<LookupArguments>() == 4096);

/// The directory of `child` below the root of the subvolume around it, `root` (empty, or ending
/// in `/`), and its name there (`BTRFS_IOC_INO_LOOKUP_USER`, Linux 4.18).
pub fn place_of(root: impl AsFd, child: Child) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut found = LookupArguments {
        directory: child.directory,
        id: child.id,
        name: [0; 256],
        path: [0; 3824],
    };
    call(
        root.as_fd(),
        INO_LOOKUP_USER,
        "ioctl(BTRFS_IOC_INO_LOOKUP_USER)",
        &mut found,
    )?;
    let text = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == 0);
        field[..end.unwrap_or(field.len())].to_vec()
    };
    Ok((text(&found.path), text(&found.name)))
}

/// Makes an empty subvolume `name` in the open directory `parent` (`BTRFS_IOC_SUBVOL_CREATE`).
pub fn create(parent: impl AsFd, name: &OsStr) -> Result<()> {
    const STEP: &str = "ioctl(BTRFS_IOC_SUBVOL_CREATE)";
    let mut arguments = VolumeArguments::named(STEP, name.as_bytes())?;
    call(parent.as_fd(), SUBVOL_CREATE, STEP, &mut arguments).map(drop)
}

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct SnapshotArguments {
    source: i64,
    transaction: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

const _: () = assert!(size_of::<SnapshotArguments>() == 4096);

/// Makes `name` in the open directory `parent` a snapshot of the subvolume whose root is `source`
/// (`BTRFS_IOC_SNAP_CREATE_V2`); what is dirty is written and the transaction committed first.
pub fn snapshot(source: impl AsFd, parent: impl AsFd, name: &OsStr, read_only: bool) -> Result<()> {
    const STEP: &str = "ioctl(BTRFS_IOC_SNAP_CREATE_V2)";
    let mut arguments = SnapshotArguments {
        source: i64::from(source.as_fd().as_raw_fd()),
        transaction: 0,
        flags: if read_only { READ_ONLY } else { 0 },
        unused: [0; 4],
        name: [0; 4040],
    };
    let text = name.as_bytes();
    if text.len() >= arguments.name.len() {
        return Err(SysError::new(
            STEP,
            Errno::NAMETOOLONG,
            name.to_string_lossy(),
        ));
    }
    arguments.name[..text.len()].copy_from_slice(text);
    call(parent.as_fd(), SNAP_CREATE_V2, STEP, &mut arguments).map(drop)
}

/// Destroys the subvolume `name` in the open directory `parent` (`BTRFS_IOC_SNAP_DESTROY`); its
/// blocks come free later. Whoever has a file of it open keeps it alive until then.
///
/// `ENOTEMPTY` while it holds other subvolumes. `EPERM` without `CAP_SYS_ADMIN` in the initial
/// user namespace, unless the file system is mounted with `user_subvol_rm_allowed` and the caller
/// owns the subvolume.
pub fn destroy(parent: impl AsFd, name: &OsStr) -> Result<()> {
    const STEP: &str = "ioctl(BTRFS_IOC_SNAP_DESTROY)";
    let mut arguments = VolumeArguments::named(STEP, name.as_bytes())?;
    match call(parent.as_fd(), SNAP_DESTROY, STEP, &mut arguments) {
        Ok(_) => Ok(()),
        Err(error) => Err(SysError {
            subject: name.to_string_lossy().into_owned(),
            ..error
        }),
    }
}

/// Makes the subvolume refuse writes, or take them again; for its owner
/// (`BTRFS_IOC_SUBVOL_SETFLAGS`). Descriptors that are open for writing write on.
pub fn set_read_only(root: impl AsFd, read_only: bool) -> Result<()> {
    let mut flags = if read_only { READ_ONLY } else { 0 };
    let step = "ioctl(BTRFS_IOC_SUBVOL_SETFLAGS)";
    call(root.as_fd(), SUBVOL_SETFLAGS, step, &mut flags).map(drop)
}

/// Writes the current transaction and wakes the cleaner of destroyed subvolumes
/// (`BTRFS_IOC_SYNC`).
pub fn sync(file: impl AsFd) -> Result<()> {
    call(file.as_fd(), SYNC, "ioctl(BTRFS_IOC_SYNC)", &mut ()).map(drop)
}

/// `struct btrfs_ioctl_subvol_wait`.
#[repr(C)]
struct WaitArguments {
    id: u64,
    mode: u32,
    count: u32,
}

const _: () = assert!(size_of::<WaitArguments>() == 16);

/// How many destroyed subvolumes, that nobody has a file of open, wait for the cleaner
/// (`BTRFS_IOC_SUBVOL_SYNC_WAIT`, Linux 6.13). The one that it is at may not count any more.
///
/// The kernel can wait for them itself, but then nobody wakes the cleaner, which sleeps for as
/// long as 30 seconds; [`sync`] does.
pub fn waiting_for_cleaning(file: impl AsFd) -> Result<u32> {
    /// `BTRFS_SUBVOL_SYNC_COUNT`.
    const COUNT: u32 = 2;
    let mut arguments = WaitArguments {
        id: 0,
        mode: COUNT,
        count: 0,
    };
    let step = "ioctl(BTRFS_IOC_SUBVOL_SYNC_WAIT)";
    call(file.as_fd(), SUBVOL_SYNC_WAIT, step, &mut arguments)?;
    Ok(arguments.count)
}

/// `struct btrfs_ioctl_fs_info_args`.
#[repr(C)]
struct FileSystemArguments {
    max_id: u64,
    devices: u64,
    id: [u8; 16],
    rest: [u64; 124],
}

const _: () = assert!(size_of::<FileSystemArguments>() == 1024);

/// The id of the file system as `/sys/fs/btrfs` names it (`BTRFS_IOC_FS_INFO`).
pub fn file_system_id(file: impl AsFd) -> Result<String> {
    let mut found = FileSystemArguments {
        max_id: 0,
        devices: 0,
        id: [0; 16],
        rest: [0; 124],
    };
    call(
        file.as_fd(),
        FS_INFO,
        "ioctl(BTRFS_IOC_FS_INFO)",
        &mut found,
    )?;
    let mut text = String::new();
    for (position, byte) in found.id.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('?'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('?'));
    }
    Ok(text)
}

/// `struct btrfs_ioctl_dev_info_args`.
#[repr(C)]
struct DeviceArguments {
    id: u64,
    uuid: [u8; 16],
    used: u64,
    total: u64,
    rest: [u64; 507],
}

const _: () = assert!(size_of::<DeviceArguments>() == 4096);

/// Size of a device, and how much of it is given to block groups, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSpace {
    /// As large as the file system takes it to be.
    pub total: u64,
    /// Given to block groups, full or not.
    pub allocated: u64,
}

/// The space of the first device of the file system (`BTRFS_IOC_DEV_INFO`).
pub fn device_space(file: impl AsFd) -> Result<DeviceSpace> {
    let mut found = DeviceArguments {
        id: 1,
        uuid: [0; 16],
        used: 0,
        total: 0,
        rest: [0; 507],
    };
    call(
        file.as_fd(),
        DEV_INFO,
        "ioctl(BTRFS_IOC_DEV_INFO)",
        &mut found,
    )?;
    Ok(DeviceSpace {
        total: found.total,
        allocated: found.used,
    })
}

/// Lets the file system have all of its device, which has grown (`BTRFS_IOC_RESIZE`). Needs
/// `CAP_SYS_ADMIN`; `EINPROGRESS` while a balance or another resize is under way.
pub fn resize_to_device(file: impl AsFd) -> Result<()> {
    const STEP: &str = "ioctl(BTRFS_IOC_RESIZE)";
    let mut arguments = VolumeArguments::named(STEP, b"max")?;
    match call(file.as_fd(), RESIZE, STEP, &mut arguments) {
        Ok(0) => Ok(()),
        // BTRFS_ERROR_DEV_EXCL_RUN_IN_PROGRESS comes as a number, not as an errno.
        Ok(_) => Err(SysError::new(STEP, Errno::INPROGRESS, "max")),
        Err(error) => Err(error),
    }
}

/// Tells the device which blocks are free, so that a file behind it gives them back (`FITRIM`).
/// Needs `CAP_SYS_ADMIN`.
pub fn trim(file: impl AsFd) -> Result<()> {
    // `struct fstrim_range`: start, length, least extent.
    let mut range = [0, u64::MAX, 0];
    call(file.as_fd(), FITRIM, "ioctl(FITRIM)", &mut range).map(drop)
}

/// How quotas are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaMode {
    /// Each extent counts for the subvolume that wrote it (Linux 6.7).
    Simple,
    /// Shared and exclusive bytes of every subvolume are kept exact.
    Full,
}

/// Turns quotas on for the whole file system (`BTRFS_IOC_QUOTA_CTL`). Where they are on, nothing
/// changes, whatever their mode. Needs `CAP_SYS_ADMIN`; `EINVAL` where the kernel has no simple
/// quotas.
pub fn enable_quotas(file: impl AsFd, mode: QuotaMode) -> Result<()> {
    // BTRFS_QUOTA_CTL_ENABLE, BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA.
    let command: u64 = match mode {
        QuotaMode::Full => 1,
        QuotaMode::Simple => 4,
    };
    let mut arguments = [command, 0];
    let step = "ioctl(BTRFS_IOC_QUOTA_CTL)";
    call(file.as_fd(), QUOTA_CTL, step, &mut arguments).map(drop)
}

/// Limits what the subvolume `id` may hold for itself to `bytes`, or takes the limit away
/// (`BTRFS_IOC_QGROUP_LIMIT`). Needs `CAP_SYS_ADMIN`; `ENOTCONN` while quotas are off.
pub fn limit_exclusive(file: impl AsFd, id: u64, bytes: Option<u64>) -> Result<()> {
    /// `BTRFS_QGROUP_LIMIT_MAX_EXCL`.
    const MAX_EXCLUSIVE: u64 = 1 << 1;
    // Group, flags, max_rfer, max_excl, rsv_rfer, rsv_excl; all ones clear a limit.
    let mut arguments = [id, MAX_EXCLUSIVE, 0, bytes.unwrap_or(u64::MAX), 0, 0];
    let step = "ioctl(BTRFS_IOC_QGROUP_LIMIT)";
    call(file.as_fd(), QGROUP_LIMIT, step, &mut arguments).map(drop)
}

/// Counts the quotas anew, and waits until that is done (`BTRFS_IOC_QUOTA_RESCAN`).
pub fn rescan_quotas(file: impl AsFd) -> Result<()> {
    let file = file.as_fd();
    let mut arguments = [0_u64; 8];
    match call(
        file,
        QUOTA_RESCAN,
        "ioctl(BTRFS_IOC_QUOTA_RESCAN)",
        &mut arguments,
    ) {
        Err(error) if !error.is(Errno::INPROGRESS) => return Err(error),
        _ => {}
    }
    let step = "ioctl(BTRFS_IOC_QUOTA_RESCAN_WAIT)";
    call(file, QUOTA_RESCAN_WAIT, step, &mut ()).map(drop)
}
