//! A file system in a file, taken by a driver or a test as one value: sparse file, mkfs, loop
//! device and mount together.
//!
//! Beside the file stand `<file>.lock`, held while one process sets up or takes down, and
//! `<file>.json`, which says what was set up. Every holder shares a lock on the file itself, and
//! who finds on release that nobody else does, takes it all down. After a crash the next holder
//! finds the mount as it is and adopts it; after a reboot it sets up anew.

use crate::error::{Error, ErrorKind, Result};
use crate::mount;
use crate::plan::{MountFlags, MountOption, MountStep};
use crate::process::Tool;
use crate::snapshot::Bytes;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use strata_sys::lock::FileLock;
use strata_sys::loopdev::{self, LoopDevice, LoopOptions};
use strata_sys::namespace;
use strata_sys::statmount::{self, UniqueMountId};

/// How long mkfs may take: it writes little, but it may write to a slow disk.
const MKFS_TIME: Duration = Duration::from_mins(5);

/// How long the last holder waits for a mount that is in use. What looks at all mounts of a host,
/// or a process that ends, has it for a moment only.
const PASSING_USE: Duration = Duration::from_millis(250);

/// Whether the loop device goes through the page cache of the file's own file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoopIo {
    /// Past it, where the file's file system can: nothing is cached twice, and what the device
    /// counts as written is written.
    #[default]
    Direct,
    /// Through it.
    Cached,
}

/// What file system is wanted, and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackingSpec {
    /// The file; made if it is missing (its directory must exist).
    pub file: PathBuf,
    /// Its size when it is made. It takes space only as it is written, unless that is reserved.
    pub size: Bytes,
    /// Whether it takes all its space when it is made.
    pub reserved: bool,
    /// Type of the file system: `ext4`, `xfs` or `btrfs`.
    pub fs_type: String,
    /// Further arguments of mkfs, before the file.
    pub mkfs_arguments: Vec<String>,
    /// Where it is mounted; made if it is missing (its parent must exist).
    pub mount_point: PathBuf,
    /// How the loop device works.
    pub loop_io: LoopIo,
    /// Options of the mount.
    pub mount_options: Vec<MountOption>,
}

impl BackingSpec {
    /// A file system of `fs_type` in `file`, 10 GiB at most, seen at `mount_point`.
    pub fn new(
        file: impl Into<PathBuf>,
        fs_type: impl Into<String>,
        mount_point: impl Into<PathBuf>,
    ) -> Self {
        Self {
            file: file.into(),
            size: Bytes(10 << 30),
            reserved: false,
            fs_type: fs_type.into(),
            mkfs_arguments: Vec::new(),
            mount_point: mount_point.into(),
            loop_io: LoopIo::default(),
            mount_options: Vec::new(),
        }
    }

    /// Sets the size.
    #[must_use]
    pub fn with_size(mut self, size: Bytes) -> Self {
        self.size = size;
        self
    }

    /// Takes all its space when it is made; mkfs must not discard it then.
    #[must_use]
    pub fn with_space_reserved(mut self) -> Self {
        self.reserved = true;
        self
    }

    /// Adds arguments of mkfs.
    #[must_use]
    pub fn with_mkfs_arguments<A: Into<String>>(
        mut self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        self.mkfs_arguments
            .extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets how the loop device works.
    #[must_use]
    pub fn with_loop_io(mut self, loop_io: LoopIo) -> Self {
        self.loop_io = loop_io;
        self
    }

    /// Adds an option of the mount.
    #[must_use]
    pub fn with_mount_option(mut self, option: MountOption) -> Self {
        self.mount_options.push(option);
        self
    }
}

/// What was set up, as `<file>.json` tells it.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Record {
    boot_id: String,
    device: PathBuf,
    mount_point: PathBuf,
}

/// A mounted file system in a file, shared between processes. Dropping it releases it; the last
/// holder unmounts. Call [`LoopFileSystem::release`] to learn whether that worked.
#[derive(Debug)]
#[must_use = "dropping a backing releases it"]
pub struct LoopFileSystem {
    file: PathBuf,
    device: PathBuf,
    mount_point: PathBuf,
    /// None once it is released.
    share: Option<FileLock>,
}

impl LoopFileSystem {
    /// Takes what `spec` describes, making what is missing of it.
    ///
    /// A missing mkfs is [`ErrorKind::Unavailable`] with the package's name. A file that exists
    /// is used as it is.
    pub fn take(spec: &BackingSpec) -> Result<Self> {
        let during = |error: Error| error.with("backing", spec.file.display());
        let file = settled(&spec.file).map_err(during)?;
        let lock = setup_lock(&file).map_err(during)?;
        let taken = Self::take_locked(spec, &file).map_err(during);
        drop(lock);
        taken
    }

    fn take_locked(spec: &BackingSpec, file: &Path) -> Result<Self> {
        const OPERATION: &str = "take backing";
        let made = make_file(spec, file)?;
        match fs_err::create_dir(&spec.mount_point) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(OPERATION, error));
            }
            Ok(()) | Err(_) => {}
        }
        let mount_point =
            fs_err::canonicalize(&spec.mount_point).map_err(|error| Error::io(OPERATION, error))?;
        // Exclusive ones are taken only under the set-up lock, for a moment.
        let share = FileLock::shared(file)?;
        let taken = |device| Self {
            file: file.to_owned(),
            device,
            mount_point: mount_point.clone(),
            share: Some(share),
        };
        // A second loop device on the file would be a second cache of the same blocks.
        let attached = loopdev::attached()?
            .into_iter()
            .find_map(|(device, backing)| (backing == file).then_some(device));
        if let Some(device) = &attached
            && is_mounted_on(device, &mount_point)?
        {
            tracing::debug!(file = %file.display(), device = %device.display(), "backing adopted");
            return Ok(taken(device.clone()));
        }
        let device = match attached {
            Some(device) => LoopDevice::adopt(&device)?,
            None => LoopDevice::attach(
                file,
                LoopOptions {
                    direct_io: spec.loop_io == LoopIo::Direct,
                    autoclear: true,
                    ..LoopOptions::default()
                },
            )?,
        };
        let step = MountStep {
            fs_type: spec.fs_type.clone(),
            source: device.path().to_owned(),
            options: spec.mount_options.clone(),
            flags: MountFlags::default(),
        };
        mount::attach_step(&step, &mount_point)?;
        // From here on the mount keeps the device, which goes with it.
        let mut backing = taken(device.leak());
        let tidied = if made && spec.fs_type == "ext4" {
            backing.remove_lost_and_found()
        } else {
            Ok(())
        };
        match tidied.and_then(|()| backing.record()) {
            Ok(()) => Ok(backing),
            // Not left to drop, which would wait for the set-up lock that is held here.
            Err(error) => Err(match backing.let_go_locked() {
                Ok(()) => error,
                Err(rollback) => error.with_rollback(rollback),
            }),
        }
    }

    /// Where it is mounted.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// The loop device.
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// The kernel's identity of the mount; none before Linux 6.8.
    pub fn mount_id(&self) -> Result<Option<UniqueMountId>> {
        match statmount::mount_id(&self.mount_point) {
            Ok(id) => Ok(Some(id)),
            Err(error) if error.is_unsupported() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the file and its device `size` bytes long, unless they are longer; with `reserved` the
    /// file takes all its space. The file system has to be told by its own means.
    pub fn grow(&self, size: Bytes, reserved: bool) -> Result<()> {
        const OPERATION: &str = "grow backing";
        let io = |error| Error::io(OPERATION, error).with("backing", self.file.display());
        let lock = setup_lock(&self.file)?;
        let file = fs_err::OpenOptions::new()
            .write(true)
            .open(&self.file)
            .map_err(io)?;
        if file.metadata().map_err(io)?.len() < size.0 {
            if reserved {
                reserve(file.file(), size).map_err(io)?;
            } else {
                file.set_len(size.0).map_err(io)?;
            }
        }
        // Also where somebody else who made it longer came no further.
        let device = LoopDevice::adopt(&self.device)?;
        let told = device.take_new_size();
        device.leak();
        told?;
        drop(lock);
        Ok(())
    }

    /// Bytes written to the device since it was attached, from `/sys/block/loopN/stat`.
    pub fn device_bytes_written(&self) -> Result<Bytes> {
        const OPERATION: &str = "read device statistics";
        let name = self.device.file_name().unwrap_or_default();
        let path = Path::new("/sys/block").join(name).join("stat");
        let text = fs_err::read_to_string(&path).map_err(|error| Error::io(OPERATION, error))?;
        sectors_written(&text)
            // Documentation/block/stat.rst: sectors of 512 bytes, whatever the device's own.
            .map(|sectors| Bytes(sectors * 512))
            .ok_or_else(|| {
                Error::new(ErrorKind::Other, OPERATION)
                    .because("the kernel's statistics have another form than known")
                    .with("path", path.display())
            })
    }

    /// Lets go of it; the last holder unmounts, and the device goes with the mount.
    ///
    /// While somebody uses the mount otherwise it is [`ErrorKind::InUse`], and stays for the next
    /// holder to adopt.
    pub fn release(mut self) -> Result<()> {
        self.let_go()
    }

    fn let_go(&mut self) -> Result<()> {
        if self.share.is_none() {
            return Ok(());
        }
        let lock = setup_lock(&self.file)?;
        let gone = self.let_go_locked();
        drop(lock);
        gone
    }

    /// [`let_go`](Self::let_go) by who holds the set-up lock.
    fn let_go_locked(&mut self) -> Result<()> {
        drop(self.share.take());
        let last = FileLock::try_exclusive(&self.file)?;
        if last.is_some() && is_mounted_on(&self.device, &self.mount_point)? {
            unmount_patiently(&self.mount_point)?;
            let record = beside(&self.file, "json");
            match fs_err::remove_file(record) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("release backing", error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// An empty file system should look empty; e2fsck makes the directory again if it needs it.
    fn remove_lost_and_found(&self) -> Result<()> {
        match fs_err::remove_dir(self.mount_point.join("lost+found")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("take backing", error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes the record, if there is room: only a clean-up after a crash needs it, and what is to
    /// be removed from a full disk must be taken first.
    fn record(&self) -> Result<()> {
        match self.write_record() {
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                tracing::warn!(
                    backing = %self.file.display(), error = %error.chain(), "no record of the backing"
                );
                Ok(())
            }
            other => other,
        }
    }

    fn write_record(&self) -> Result<()> {
        let record = Record {
            boot_id: namespace::boot_id()?,
            device: self.device.clone(),
            mount_point: self.mount_point.clone(),
        };
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|error| Error::new(ErrorKind::Other, "record backing").caused_by(error))?;
        let new = beside(&self.file, "json.new");
        fs_err::write(&new, text)
            .and_then(|()| fs_err::rename(&new, beside(&self.file, "json")))
            .map_err(|error| Error::io("record backing", error))
    }
}

impl Drop for LoopFileSystem {
    fn drop(&mut self) {
        if let Err(error) = self.let_go() {
            tracing::warn!(
                backing = %self.file.display(), error = %error.chain(), "backing left behind"
            );
        }
    }
}

fn unmount_patiently(mount_point: &Path) -> Result<()> {
    let until = Instant::now() + PASSING_USE;
    loop {
        match mount::unmount_one(mount_point) {
            Err(error) if error.kind() == ErrorKind::InUse && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// Unmounts what a record says was left mounted by a process that died, unless it is in use.
/// Gives whether there was anything.
///
/// For a clean-up that will not take the backing again.
pub fn take_down(file: &Path) -> Result<bool> {
    let Ok(text) = fs_err::read(beside(file, "json")) else {
        return Ok(false);
    };
    let record: Record = serde_json::from_slice(&text).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "take down backing")
            .with("backing", file.display())
            .caused_by(error)
    })?;
    if record.boot_id != namespace::boot_id()? {
        return Ok(false);
    }
    let mut left = LoopFileSystem {
        file: settled(file)?,
        device: record.device,
        mount_point: record.mount_point,
        share: Some(FileLock::shared(file)?),
    };
    left.let_go()?;
    Ok(true)
}

/// The file as the kernel names it, though it may not exist yet: all holders must agree on the
/// names beside it.
fn settled(file: &Path) -> Result<PathBuf> {
    let io = |error| Error::io("take backing", error);
    if file.try_exists().map_err(io)? {
        return fs_err::canonicalize(file).map_err(io);
    }
    let absolute = std::path::absolute(file).map_err(io)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(fs_err::canonicalize(parent).map_err(io)?.join(name)),
        _ => Err(Error::new(ErrorKind::InvalidInput, "take backing")
            .because("the backing must be a file")),
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn setup_lock(file: &Path) -> Result<FileLock> {
    let path = beside(file, "lock");
    fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|error| Error::io("lock backing", error))?;
    Ok(FileLock::exclusive(&path)?)
}

/// Makes the file and its file system unless it is there; gives whether it was made. It gets its
/// name last, so that one that a crash left half made is never used.
fn make_file(spec: &BackingSpec, file: &Path) -> Result<bool> {
    const OPERATION: &str = "make backing";
    let io = |error| Error::io(OPERATION, error);
    if file.try_exists().map_err(io)? {
        return Ok(false);
    }
    let (package, quiet_and_force): (&str, &[&str]) = match spec.fs_type.as_str() {
        "ext4" => ("e2fsprogs", &["-q", "-F"]),
        "xfs" => ("xfsprogs", &["-q", "-f"]),
        "btrfs" => ("btrfs-progs", &["-q", "-f"]),
        other => {
            return Err(Error::new(ErrorKind::InvalidInput, OPERATION)
                .because("no such backing file system is known")
                .with("type", other)
                .hint("use ext4, xfs or btrfs"));
        }
    };
    let tool = Tool::find(
        &format!("mkfs.{}", spec.fs_type),
        &format!("install the package `{package}`"),
    )?
    .with_time_limit(MKFS_TIME);
    let new = beside(file, "new");
    let image = fs_err::File::create(&new).map_err(io)?;
    let sized = if spec.reserved {
        reserve(image.file(), spec.size)
    } else {
        image.set_len(spec.size.0)
    };
    if let Err(error) = sized {
        let error = io(error);
        return Err(match fs_err::remove_file(&new) {
            Ok(()) => error,
            Err(rollback) => error.with_rollback(io(rollback)),
        });
    }
    let arguments = quiet_and_force
        .iter()
        .map(|argument| (*argument).into())
        .chain(spec.mkfs_arguments.iter().map(std::ffi::OsString::from))
        .chain([new.clone().into_os_string()]);
    if let Err(error) = tool.run(arguments) {
        return Err(match fs_err::remove_file(&new) {
            Ok(()) => error,
            Err(rollback) => error.with_rollback(io(rollback)),
        });
    }
    fs_err::rename(&new, file).map_err(io)?;
    Ok(true)
}

/// Makes the file so long and gives it all its blocks.
fn reserve(file: &std::fs::File, size: Bytes) -> std::io::Result<()> {
    let flags = rustix::fs::FallocateFlags::empty();
    Ok(rustix::fs::fallocate(file, flags, 0, size.0)?)
}

/// Whether the file system on `device` is what is seen at `mount_point`, from the mount table:
/// btrfs gives its files other device numbers than the device's.
fn is_mounted_on(device: &Path, mount_point: &Path) -> Result<bool> {
    let table = mount::table()?;
    let seen = mount::escaped_for_table(mount_point);
    let source = mount::escaped_for_table(device);
    // The last mount on a directory is the one that is seen.
    let top = table.lines().rev().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        (left.split(' ').nth(4)? == seen).then(|| right.split(' ').nth(1))?
    });
    Ok(top == Some(source.as_str()))
}

/// Field 7 of `/sys/block/*/stat`.
fn sectors_written(text: &str) -> Option<u64> {
    text.split_whitespace().nth(6)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_written_is_the_seventh_field() {
        let text =
            "      91        0     1234        5       17        0     4096       12        0  7 8";
        assert_eq!(sectors_written(text), Some(4096));
        assert_eq!(sectors_written("1 2 3"), None);
    }

    #[test]
    fn unknown_type_is_refused_before_anything_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("image");
        let spec = BackingSpec::new(&file, "nofs", directory.path().join("mount"));
        let error = LoopFileSystem::take(&spec).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!file.exists() && !directory.path().join("mount").exists());
    }
}
