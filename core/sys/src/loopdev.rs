//! Loop devices: files that serve as block devices, loop(4).
#![expect(unsafe_code, reason = "the loop ioctls have no safe wrapper")]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::dir::DirectoryReader;
use crate::error::{Context, Result, SysError};
use crate::file::read_whole;
use crate::syscall::check_int;

const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
const LOOP_GET_STATUS64: libc::Ioctl = 0x4C05;
const LOOP_SET_CAPACITY: libc::Ioctl = 0x4C07;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo>() == 232);
const _: () = assert!(size_of::<LoopConfig>() == 304);

impl LoopInfo {
    const EMPTY: Self = Self {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
}

/// How the file becomes a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoopOptions {
    /// Past the page cache of the file's file system. Only a wish: [`LoopDevice::direct_io`] tells
    /// whether the kernel could.
    pub direct_io: bool,
    /// Refuses writes; the file is opened for reading only.
    pub read_only: bool,
    /// The kernel detaches the device when its last user (a mount, an open file) is gone, also
    /// when this process is killed.
    pub autoclear: bool,
    /// Logical block size in bytes; the kernel's choice (512, or that of direct I/O) without.
    pub block_size: Option<u32>,
}

/// An attached loop device. Detaches when dropped; call [`LoopDevice::detach`] to learn whether
/// that worked.
///
/// The device is kept open, so that one with `autoclear` lives as long as this value.
#[derive(Debug)]
#[must_use = "dropping a loop device detaches it"]
pub struct LoopDevice {
    device: OwnedFd,
    path: PathBuf,
    attached: bool,
}

impl LoopDevice {
    /// Attaches `file` to a free loop device.
    pub fn attach(file: &Path, options: LoopOptions) -> Result<Self> {
        /// Others may take the free device first; each try means that somebody got on.
        const TRIES: usize = 256;
        let access = if options.read_only {
            OFlags::RDONLY
        } else {
            OFlags::RDWR
        };
        let backing = rustix::fs::open(file, access | OFlags::CLOEXEC, Mode::empty())
            .on("open", || file.display())?;
        let control_path = "/dev/loop-control";
        let control = rustix::fs::open(control_path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .on("open", || control_path)?;
        let config = configuration(file, &backing, options);
        for _ in 0..TRIES {
            // SAFETY: loop(4): LOOP_CTL_GET_FREE takes no argument.
            let returned = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
            let number = check_int(returned).on("ioctl(LOOP_CTL_GET_FREE)", || control_path)?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open_device(&path, access)?;
            // SAFETY: loop(4): the argument is the kernel's `struct loop_config`, which outlives
            // the call, as does the backing file's descriptor in it.
            let returned =
                unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
            match check_int(returned) {
                Ok(_) => {
                    tracing::debug!(device = %path.display(), file = %file.display(), "attached");
                    return Ok(Self {
                        device,
                        path,
                        attached: true,
                    });
                }
                Err(Errno::BUSY) => {}
                Err(errno) => {
                    let subject = format!("{} for {}", path.display(), file.display());
                    return Err(SysError::new("ioctl(LOOP_CONFIGURE)", errno, subject));
                }
            }
        }
        Err(SysError::new(
            "ioctl(LOOP_CONFIGURE)",
            Errno::BUSY,
            file.display(),
        ))
    }

    /// Takes over a loop device that is attached already, e.g. by a process that died.
    ///
    /// `ENXIO` when nothing is attached to it, `ENOTTY` when it is no loop device.
    pub fn adopt(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let device = rustix::fs::open(path, flags, Mode::empty()).on("open", || path.display())?;
        let adopted = Self {
            device,
            path: path.to_owned(),
            attached: true,
        };
        match adopted.info() {
            Ok(_) => Ok(adopted),
            Err(error) => {
                adopted.leak();
                Err(error)
            }
        }
    }

    /// The device file, `/dev/loopN`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the kernel reads and writes the file past the page cache.
    pub fn direct_io(&self) -> Result<bool> {
        Ok(self.info()?.flags & LO_FLAGS_DIRECT_IO != 0)
    }

    /// Lets the device be as large as its file is now.
    pub fn take_new_size(&self) -> Result<()> {
        // SAFETY: loop(4): LOOP_SET_CAPACITY takes no argument.
        let returned = unsafe { libc::ioctl(self.device.as_raw_fd(), LOOP_SET_CAPACITY) };
        check_int(returned)
            .map(drop)
            .on("ioctl(LOOP_SET_CAPACITY)", || self.path.display())
    }

    /// Detaches the device.
    ///
    /// While somebody else uses it (a mount), the kernel only notes the wish, and detaches when
    /// they are gone.
    pub fn detach(mut self) -> Result<()> {
        self.clear()
    }

    /// Leaves the device attached; one with `autoclear` must have another user by now.
    pub fn leak(mut self) -> PathBuf {
        self.attached = false;
        std::mem::take(&mut self.path)
    }

    fn clear(&mut self) -> Result<()> {
        self.attached = false;
        // SAFETY: loop(4): LOOP_CLR_FD takes no argument.
        let returned = unsafe { libc::ioctl(self.device.as_raw_fd(), LOOP_CLR_FD) };
        check_int(returned)
            .map(drop)
            .on("ioctl(LOOP_CLR_FD)", || self.path.display())
    }

    fn info(&self) -> Result<LoopInfo> {
        let mut info = LoopInfo::EMPTY;
        // SAFETY: loop(4): the argument is the kernel's `struct loop_info64`, which outlives the
        // call.
        let returned =
            unsafe { libc::ioctl(self.device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) };
        check_int(returned).on("ioctl(LOOP_GET_STATUS64)", || self.path.display())?;
        Ok(info)
    }
}

impl AsFd for LoopDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if self.attached
            && let Err(error) = self.clear()
        {
            tracing::warn!(
                device = %self.path.display(), %error, cause = %error.source,
                "loop device left behind"
            );
        }
    }
}

fn configuration(file: &Path, backing: &OwnedFd, options: LoopOptions) -> LoopConfig {
    let mut info = LoopInfo::EMPTY;
    for (wanted, flag) in [
        (options.read_only, LO_FLAGS_READ_ONLY),
        (options.autoclear, LO_FLAGS_AUTOCLEAR),
        (options.direct_io, LO_FLAGS_DIRECT_IO),
    ] {
        if wanted {
            info.flags |= flag;
        }
    }
    // For people reading `losetup` only, and cut like there; the kernel keeps the whole path.
    let name = file.as_os_str().as_bytes();
    let shown = name.len().min(info.file_name.len() - 1);
    info.file_name[..shown].copy_from_slice(&name[..shown]);
    LoopConfig {
        fd: backing.as_raw_fd().cast_unsigned(),
        block_size: options.block_size.unwrap_or(0),
        info,
        reserved: [0; 8],
    }
}

/// Opens a device file that may be made only now, by devtmpfs or udev.
fn open_device(path: &Path, access: OFlags) -> Result<OwnedFd> {
    const TRIES: usize = 100;
    const PAUSE: Duration = Duration::from_millis(5);
    let open = || rustix::fs::open(path, access | OFlags::CLOEXEC, Mode::empty());
    for _ in 1..TRIES {
        match open() {
            Err(Errno::NOENT | Errno::NXIO | Errno::ACCESS) => std::thread::sleep(PAUSE),
            other => return other.on("open", || path.display()),
        }
    }
    open().on("open", || path.display())
}

/// All attached loop devices, each with its backing file as the kernel names it (with
/// ` (deleted)` behind, where it is).
pub fn attached() -> Result<Vec<(PathBuf, PathBuf)>> {
    let directory = Path::new("/sys/block");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened =
        rustix::fs::open(directory, flags, Mode::empty()).on("open", || directory.display())?;
    let mut found = Vec::new();
    DirectoryReader::new().read(&opened, |entry| {
        if !entry.name_bytes().starts_with(b"loop") {
            return Ok(());
        }
        let name = OsStr::from_bytes(entry.name_bytes());
        match read_whole(&directory.join(name).join("loop/backing_file")) {
            Ok(mut text) => {
                if text.last() == Some(&b'\n') {
                    text.pop();
                }
                found.push((
                    Path::new("/dev").join(name),
                    PathBuf::from(OsString::from_vec(text)),
                ));
                Ok(())
            }
            // The attribute exists while something is attached, which may end at any moment.
            Err(error)
                if matches!(
                    error.errno(),
                    Some(Errno::NOENT | Errno::NXIO | Errno::NODEV)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    })?;
    found.sort();
    Ok(found)
}
