//! Mounting: file system contexts (`fsopen`), detached mounts, mount(2) and umount2(2).
//!
//! What the kernel wrote into the message log of a context ends in the error, and where that is
//! empty, what it wrote into its own log about a file system of that type.
#![expect(unsafe_code, reason = "mount_setattr(2) has no safe wrapper")]

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
};
pub use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::{Context, Result, SysError};
use crate::kernel_log::KernelLog;
use crate::syscall::check_long;

/// Longest value of a string option in bytes; `fsconfig(2)` copies 256 with the final NUL.
pub const LONGEST_OPTION_VALUE: usize = 255;

/// Longest line in a context's message log that is read whole, in bytes.
const LONGEST_MESSAGE: usize = 8192;

bitflags::bitflags! {
    /// Attributes of one mount, `MOUNT_ATTR_*` in `linux/mount.h`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct MountAttributes: u32 {
        /// Writes through this mount are refused.
        const READ_ONLY = 0x01;
        /// Set-user-ID bits and file capabilities are not honoured.
        const NOSUID = 0x02;
        /// Device files cannot be opened.
        const NODEV = 0x04;
        /// Programs cannot be executed.
        const NOEXEC = 0x08;
        /// Reading does not update access times.
        const NOATIME = 0x10;
    }
}

/// The field of attributes that choose how access times are kept, `MOUNT_ATTR__ATIME`.
const ACCESS_TIME_FIELD: u64 = 0x70;

/// A file system being configured, from `fsopen(2)` to `fsmount(2)`.
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
    fstype: String,
    log: Option<KernelLog>,
}

impl FsContext {
    /// Starts to configure a file system of this type.
    ///
    /// `ENODEV` when the kernel has no such type, `EPERM` without `CAP_SYS_ADMIN`.
    pub fn open(fstype: &str) -> Result<Self> {
        Self::open_with(fstype, None)
    }

    /// The same, with an eye on the kernel's own log: overlay gives some of its reasons only there.
    ///
    /// Finding the log's end costs as much as a mount once the log is long, so this is for doing
    /// again what failed without a reason.
    pub fn open_explaining(fstype: &str) -> Result<Self> {
        Self::open_with(fstype, KernelLog::end())
    }

    fn open_with(fstype: &str, log: Option<KernelLog>) -> Result<Self> {
        let fd =
            rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).on("fsopen", || fstype)?;
        Ok(Self {
            fd,
            fstype: fstype.to_owned(),
            log,
        })
    }

    /// Sets an option that has no value.
    pub fn set_flag(&self, key: &str) -> Result<()> {
        self.explain(
            "fsconfig(FSCONFIG_SET_FLAG)",
            rustix::mount::fsconfig_set_flag(&self.fd, key),
            || key.to_owned(),
        )
    }

    /// Sets an option to a string of at most [`LONGEST_OPTION_VALUE`] bytes.
    ///
    /// A longer one is refused here, since the kernel says `EINVAL` and no more.
    pub fn set_string(&self, key: &str, value: impl AsRef<OsStr>) -> Result<()> {
        const STEP: &str = "fsconfig(FSCONFIG_SET_STRING)";
        let value = value.as_ref();
        let subject = || format!("{key}={}", value.display());
        if value.len() > LONGEST_OPTION_VALUE {
            let reason = format!(
                "the value has {} bytes, and fsconfig takes at most {LONGEST_OPTION_VALUE}; \
                 a shorter path or a descriptor is needed",
                value.len()
            );
            return Err(SysError::refused(STEP, subject(), reason));
        }
        self.explain(
            STEP,
            rustix::mount::fsconfig_set_string(&self.fd, key, value),
            subject,
        )
    }

    /// Sets an option to an open file; overlay takes its layers so since Linux 6.13.
    pub fn set_fd(&self, key: &str, value: impl AsFd) -> Result<()> {
        let value = value.as_fd();
        self.explain(
            "fsconfig(FSCONFIG_SET_FD)",
            rustix::mount::fsconfig_set_fd(&self.fd, key, value),
            || format!("{key}=fd {}", value.as_raw_fd()),
        )
    }

    /// Sets an option to a path, looked up by the kernel from `directory`.
    pub fn set_path(&self, key: &str, directory: impl AsFd, path: &Path) -> Result<()> {
        self.explain(
            "fsconfig(FSCONFIG_SET_PATH)",
            rustix::mount::fsconfig_set_path(&self.fd, key, path, directory.as_fd()),
            || format!("{key}={}", path.display()),
        )
    }

    /// Makes the superblock, or finds the one that these options share.
    pub fn create(&self) -> Result<()> {
        self.explain(
            "fsconfig(FSCONFIG_CMD_CREATE)",
            rustix::mount::fsconfig_create(&self.fd),
            || self.fstype.clone(),
        )
    }

    /// Makes a mount of the created superblock, visible nowhere yet.
    pub fn mount(&self, attributes: MountAttributes) -> Result<DetachedMount> {
        let fd = self.explain(
            "fsmount",
            rustix::mount::fsmount(
                &self.fd,
                FsMountFlags::FSMOUNT_CLOEXEC,
                MountAttrFlags::from_bits_retain(attributes.bits()),
            ),
            || self.fstype.clone(),
        )?;
        Ok(DetachedMount {
            fd,
            origin: self.fstype.clone(),
        })
    }

    /// Takes the messages that the kernel left in this context, each with its level
    /// (`e`, `w` or `i`) and a space in front, oldest first. They are gone afterwards.
    pub fn take_messages(&self) -> Vec<String> {
        let mut messages = Vec::new();
        let mut line = vec![0_u8; LONGEST_MESSAGE];
        loop {
            match rustix::io::read(&self.fd, &mut line[..]) {
                Ok(0) => break,
                Ok(length) => {
                    messages.push(
                        String::from_utf8_lossy(&line[..length])
                            .trim_end()
                            .to_owned(),
                    );
                }
                Err(Errno::INTR) => {}
                // The kernel drops a line that the buffer cannot hold, so that reading goes on.
                Err(Errno::MSGSIZE) => {
                    messages.push("e a message too long to be read".to_owned());
                }
                Err(_) => break,
            }
        }
        messages
    }

    fn explain<T>(
        &self,
        step: &'static str,
        result: rustix::io::Result<T>,
        subject: impl FnOnce() -> String,
    ) -> Result<T> {
        result.map_err(|errno| {
            let kernel =
                joined(&self.take_messages()).or_else(|| told(self.log.as_ref(), &self.fstype));
            SysError::new(step, errno, subject()).with_kernel(kernel)
        })
    }
}

/// What the kernel's log has about a file system type since `log` was taken, as one text.
fn told(log: Option<&KernelLog>, fstype: &str) -> Option<String> {
    let lines = log?.said_by(fstype);
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// The error lines of a log, or all of it where none is marked as error, as one text.
fn joined(messages: &[String]) -> Option<String> {
    let of_level = |level: &'static str| {
        messages
            .iter()
            .filter_map(move |line| line.strip_prefix(level))
            .map(str::trim)
    };
    let errors: Vec<&str> = of_level("e ").collect();
    let chosen = if errors.is_empty() {
        messages
            .iter()
            .map(|line| line.get(2..).unwrap_or(line))
            .collect()
    } else {
        errors
    };
    (!chosen.is_empty()).then(|| chosen.join("; "))
}

/// A mount that is in no namespace's tree yet. Dropping it dissolves it.
///
/// Its descriptor serves as a directory for `openat` and its like at once.
#[derive(Debug)]
#[must_use = "dropping a detached mount dissolves it"]
pub struct DetachedMount {
    fd: OwnedFd,
    origin: String,
}

impl DetachedMount {
    /// A mount of the directory or file `source` as it is, without what is mounted below it.
    pub fn bind(source: &Path, attributes: MountAttributes) -> Result<Self> {
        let fd = rustix::mount::open_tree(
            CWD,
            source,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .on("open_tree(OPEN_TREE_CLONE)", || source.display())?;
        let mount = Self {
            fd,
            origin: source.display().to_string(),
        };
        if !attributes.is_empty() {
            mount.set_attributes(attributes)?;
        }
        Ok(mount)
    }

    /// One that another process made and sent; `origin` names it in errors.
    pub fn received(fd: OwnedFd, origin: &str) -> Self {
        Self {
            fd,
            origin: origin.to_owned(),
        }
    }

    /// Adds attributes; those not named stay as they are.
    pub fn set_attributes(&self, attributes: MountAttributes) -> Result<()> {
        // mount_setattr(2): another choice of access times cannot be set before the field is
        // cleared.
        let cleared = if attributes.contains(MountAttributes::NOATIME) {
            ACCESS_TIME_FIELD
        } else {
            0
        };
        let change = libc::mount_attr {
            attr_set: u64::from(attributes.bits()),
            attr_clr: cleared,
            propagation: 0,
            userns_fd: 0,
        };
        // SAFETY: mount_setattr(2): the path is a NUL-terminated string and the structure is the
        // kernel's `struct mount_attr` with its size; both outlive the call.
        let returned = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                self.fd.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH,
                &raw const change,
                size_of::<libc::mount_attr>(),
            )
        };
        check_long(returned)
            .map(drop)
            .on("mount_setattr", || &self.origin)
    }

    /// Puts the mount onto `target`, whose last part is not followed if it is a symbolic link.
    pub fn attach(self, target: &Path) -> Result<()> {
        rustix::mount::move_mount(
            &self.fd,
            "",
            CWD,
            target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .on("move_mount", || {
            format!("{} to {}", self.origin, target.display())
        })
    }
}

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const _: () = assert!(size_of::<libc::mount_attr>() == 32);

/// What mount(2) is given.
#[derive(Debug, Clone, Copy)]
pub struct MountClassic<'a> {
    /// A device, a directory, or any word the file system takes for its source.
    pub source: &'a OsStr,
    /// Where to mount. Symbolic links are followed.
    pub target: &'a Path,
    /// The file system's type; empty where the flags need none (bind, move).
    pub fstype: &'a str,
    /// `MS_*`.
    pub flags: MountFlags,
    /// Comma-separated options, less than a page.
    pub data: &'a OsStr,
}

/// mount(2).
///
/// Options of a page or more are refused, since the kernel would clip them without a word.
pub fn mount_classic(mount: &MountClassic<'_>) -> Result<()> {
    let subject = || {
        format!(
            "{} {} to {}",
            mount.fstype,
            mount.source.display(),
            mount.target.display()
        )
    };
    let page = rustix::param::page_size();
    if mount.data.len() >= page {
        let reason = format!(
            "the options have {} bytes, and mount takes less than one page of {page}",
            mount.data.len()
        );
        return Err(SysError::refused("mount", subject(), reason));
    }
    let data = CString::new(mount.data.as_bytes())
        .map_err(|error| SysError::refused("mount", subject(), error.to_string()))?;
    let mount_it = || {
        let (source, target) = (mount.source, mount.target);
        rustix::mount::mount(source, target, mount.fstype, mount.flags, data.as_c_str())
    };
    if mount_it().is_ok() {
        return Ok(());
    }
    // Again, with an eye on the kernel's log, whose end is dear to find.
    let log = KernelLog::end();
    mount_it().map_err(|errno| {
        SysError::new("mount", errno, subject()).with_kernel(told(log.as_ref(), mount.fstype))
    })
}

/// Unmounts what is mounted on `target`, whose last part is never followed.
///
/// `EBUSY` while it is used, unless `flags` has [`UnmountFlags::DETACH`]; `EINVAL` when `target`
/// is no mount point.
pub fn unmount(target: &Path, flags: UnmountFlags) -> Result<()> {
    rustix::mount::unmount(target, flags | UnmountFlags::NOFOLLOW)
        .on("umount2", || target.display())
}

/// Stops mounts and unmounts below `path` from crossing to or from other mount namespaces.
pub fn set_private_propagation(path: &Path) -> Result<()> {
    rustix::mount::mount_change(
        path,
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .on("mount(MS_PRIVATE)", || path.display())
}

/// `/proc/self/fd/N`: a short name for an open file, for calls that take paths only.
pub fn descriptor_path(fd: BorrowedFd<'_>) -> PathBuf {
    Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_prefers_errors() {
        let log = ["w overlay: hm".to_owned(), "e overlay: no".to_owned()];
        assert_eq!(joined(&log).as_deref(), Some("overlay: no"));
        assert_eq!(joined(&log[..1]).as_deref(), Some("overlay: hm"));
        assert_eq!(joined(&[]), None);
    }

    #[test]
    fn classic_options_of_a_page_are_refused() {
        let data = "x".repeat(rustix::param::page_size());
        let error = mount_classic(&MountClassic {
            source: "none".as_ref(),
            target: Path::new("/nonexistent"),
            fstype: "tmpfs",
            flags: MountFlags::empty(),
            data: data.as_ref(),
        })
        .unwrap_err();
        assert!(
            error.source.to_string().contains("less than one page"),
            "{}",
            error.source
        );
    }
}
