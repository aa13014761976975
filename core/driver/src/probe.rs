//! What a directory's file system lets this process do, found out by doing.

use crate::capability::{Capabilities, Capability, Limits};
use crate::factory::Unavailable;
use crate::host::Host;
use crate::snapshot::Bytes;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use std::path::{Path, PathBuf};
use strata_sys::lock::FileLock;

/// What the names of scratch directories begin with.
pub const SCRATCH_PREFIX: &str = ".strata-probe-";

/// A scratch directory for probing, removed on drop.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Tells that somebody still uses it.
    _lock: FileLock,
}

impl Scratch {
    /// Makes a directory in `root` or its nearest existing ancestor, and removes those that killed
    /// processes left there.
    pub fn beside(root: &Path) -> Result<Self, Unavailable> {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let home = root
            .ancestors()
            .find(|path| path.is_dir())
            .filter(|path| *path != Path::new(""))
            .unwrap_or_else(|| Path::new("."));
        remove_abandoned(home);
        loop {
            let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let path = home.join(format!("{SCRATCH_PREFIX}{}-{number}", std::process::id()));
            match rustix::fs::mkdir(&path, Mode::RWXU) {
                Ok(()) => {}
                // Of an earlier process with this number.
                Err(rustix::io::Errno::EXIST) => continue,
                Err(errno) => {
                    return Err(Unavailable::new(
                        format!("`{}` cannot be written: {errno}", home.display()),
                        way_out(errno),
                    ));
                }
            }
            // Whoever looks for abandoned ones before it is locked takes it away.
            if let Ok(Some(lock)) = FileLock::try_exclusive(&path)
                && path.exists()
            {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs_err::remove_dir_all(&self.path) {
            tracing::warn!(%error, "probe directory left behind");
        }
    }
}

fn way_out(errno: rustix::io::Errno) -> &'static str {
    use rustix::io::Errno;
    match errno {
        Errno::NOSPC | Errno::DQUOT => {
            "free some space on its file system first; removing a snapshot needs a little as well"
        }
        Errno::ROFS => "mount its file system for writing, or choose another root",
        _ => "choose a root that this user may write, or run as root",
    }
}

/// Removes the scratch directories in `home` that nobody uses any more.
fn remove_abandoned(home: &Path) {
    let Ok(entries) = fs_err::read_dir(home) else {
        return;
    };
    for entry in entries.filter_map(std::result::Result::ok) {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(SCRATCH_PREFIX.as_bytes())
            && let Ok(Some(_lock)) = FileLock::try_exclusive(&entry.path())
            && let Err(error) = fs_err::remove_dir_all(entry.path())
        {
            tracing::debug!(%error, "an abandoned probe directory stays");
        }
    }
}

/// Notes in `capabilities` what a file made in `scratch` may be given: owners, device numbers,
/// `trusted.*` attributes, shared blocks; and the limits of the file system.
pub fn directory(scratch: &Scratch, capabilities: &mut Capabilities) {
    let file = scratch.path().join("file");
    let device = scratch.path().join("device");
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&file, flags, Mode::RUSR | Mode::WUSR);
    let Ok(opened) = opened else { return };
    let say = |what: &str| {
        let what = what.to_owned();
        move |errno: rustix::io::Errno| format!("{what}: {errno}")
    };

    // An id that no test account has and that every subordinate range of usual size maps.
    let owned = rustix::fs::fchown(
        &opened,
        Some(Uid::from_raw(4321)),
        Some(Gid::from_raw(4321)),
    );
    capabilities.note(Capability::Ownership, owned.map_err(say("chown")));
    let numbers = rustix::fs::makedev(1, 3);
    let made = rustix::fs::mknodat(CWD, &device, FileType::CharacterDevice, Mode::RUSR, numbers);
    capabilities.note(Capability::Devices, made.map_err(say("mknod")));
    let trusted = rustix::fs::fsetxattr(&opened, "trusted.strata.probe", b"1", XattrFlags::empty());
    capabilities.note(
        Capability::TrustedXattrs,
        trusted.map_err(say("setxattr trusted.*")),
    );
    capabilities.note(
        Capability::ReflinkCopy,
        reflink(scratch).map_err(say("FICLONE")),
    );
    capabilities.limits = limits(scratch.path());
}

fn reflink(scratch: &Scratch) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let open = |name: &str| rustix::fs::open(scratch.path().join(name), flags, Mode::RUSR);
    let (source, target) = (open("clone-source")?, open("clone-target")?);
    // A block of data: an empty file may be cloned where nothing else can.
    rustix::io::write(&source, &[1; 4096])?;
    rustix::fs::ioctl_ficlone(&target, &source)
}

/// The limits of the file system under `path`; formats.md 1 has the sources of the numbers.
fn limits(path: &Path) -> Limits {
    let mut limits = Limits {
        max_name: Some(255),
        ..Limits::default()
    };
    match Host::file_system_of(path).as_deref() {
        Ok("ext4") => {
            limits.max_xattrs = Some(Bytes(4 << 10));
            limits.min_time = Some(-(1 << 31));
            limits.max_time = Some((1 << 34) - (1 << 31) - 1);
        }
        Ok("xfs") => {
            limits.max_xattrs = Some(Bytes(64 << 10));
            limits.min_time = Some(-(1 << 31));
            limits.max_time = Some(16_299_260_424);
        }
        Ok("btrfs") => limits.max_xattrs = Some(Bytes(16 << 10)),
        _ => {}
    }
    limits
}

/// A root must be a path that can stand in mount options and messages.
pub fn root_path(root: &Path) -> Result<(), Unavailable> {
    if root.to_str().is_none() {
        return Err(Unavailable::new(
            format!("the root `{}` is not UTF-8", root.display()),
            "choose a root whose path is UTF-8",
        ));
    }
    Ok(())
}
