//! Where drivers are tried: a plain directory, or a fresh file system in a file.
//!
//! Everything made stands in one directory `strata-test-<pid>-<number>` with an `owner` file
//! (process id and its start time), so that what a killed process left is known for ours and
//! for dead, and the next run takes it away.

use anyhow::{Context as _, Result, bail};
use rustix::mount::{MountFlags, UnmountFlags};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use strata_driver::Bytes;
use strata_driver::backing::{BackingSpec, LoopFileSystem};
use strata_sys::loopdev::{self, LoopDevice};

/// What names of our temporary directories begin with.
pub const MARK: &str = "strata-test-";

/// A kind of file system that a fixture can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum FileSystemKind {
    Ext4,
    Xfs,
    Btrfs,
    Tmpfs,
}

impl FileSystemKind {
    /// The name that the kernel has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Tmpfs => "tmpfs",
        }
    }

    /// The smallest size in bytes at which it can be made and used.
    pub fn least_size(self) -> u64 {
        const MIB: u64 = 1024 * 1024;
        match self {
            Self::Ext4 => 24 * MIB,
            Self::Xfs => 320 * MIB,
            Self::Btrfs => 160 * MIB,
            Self::Tmpfs => 16 * MIB,
        }
    }

    /// The program that makes it and its arguments; none where no image is needed. Blocks are
    /// not discarded: the image is sparse from the start.
    fn maker(self) -> Option<(&'static str, &'static [&'static str])> {
        match self {
            Self::Ext4 => Some(("mkfs.ext4", &["-E", "nodiscard"])),
            Self::Xfs => Some(("mkfs.xfs", &["-K"])),
            Self::Btrfs => Some(("mkfs.btrfs", &["-K"])),
            Self::Tmpfs => None,
        }
    }

    /// What this host lacks to make one, if anything.
    pub fn missing(self) -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("needs root".into());
        }
        let known = fs_err::read_to_string("/proc/filesystems").unwrap_or_default();
        if !known
            .lines()
            .any(|line| line.split_whitespace().last() == Some(self.as_str()))
        {
            return Some(format!("the kernel has no {self}"));
        }
        let (maker, _) = self.maker()?;
        program(maker).is_none().then(|| format!("needs `{maker}`"))
    }
}

impl fmt::Display for FileSystemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FileSystemKind {
    type Err = anyhow::Error;
    fn from_str(name: &str) -> Result<Self> {
        [Self::Ext4, Self::Xfs, Self::Btrfs, Self::Tmpfs]
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .with_context(|| format!("no such file system: `{name}` (ext4, xfs, btrfs or tmpfs)"))
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let fixed = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let directories = std::env::split_paths(&path).chain(fixed);
    directories
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// What stands behind a fixture's directory.
#[derive(Debug)]
enum Made {
    Nothing,
    Memory(MountPoint),
    Image(LoopFileSystem),
}

/// A directory for drivers to work in; gone, with everything below it, when dropped.
#[derive(Debug)]
pub struct Fixture {
    // Dropped before the directory that holds all of it.
    made: Made,
    kind: Option<FileSystemKind>,
    path: PathBuf,
    scratch: Scratch,
}

impl Fixture {
    /// A plain directory in the scratch place.
    pub fn directory() -> Result<Self> {
        Self::directory_in(&scratch_place())
    }

    /// A plain directory in `place`.
    pub fn directory_in(place: &Path) -> Result<Self> {
        let scratch = Scratch::new(place)?;
        let path = scratch.path.join("d");
        fs_err::create_dir(&path)?;
        Ok(Self {
            made: Made::Nothing,
            kind: None,
            path,
            scratch,
        })
    }

    /// A fresh file system of `size` bytes.
    pub fn file_system(kind: FileSystemKind, size: u64) -> Result<Self> {
        Self::file_system_in(&scratch_place(), kind, size)
    }

    /// A fresh file system of `size` bytes, its image in `place`.
    pub fn file_system_in(place: &Path, kind: FileSystemKind, size: u64) -> Result<Self> {
        let scratch = Scratch::new(place)?;
        let path = scratch.path.join("d");
        fs_err::create_dir(&path)?;
        let made = match kind.maker() {
            None => Made::Memory(MountPoint::of_memory(&path, size)?),
            Some((_, arguments)) => {
                let spec = BackingSpec::new(scratch.path.join("image"), kind.as_str(), &path)
                    .with_size(Bytes(size))
                    .with_mkfs_arguments(arguments.iter().copied());
                Made::Image(LoopFileSystem::take(&spec)?)
            }
        };
        let fixture = Self {
            made,
            kind: Some(kind),
            path,
            scratch,
        };
        if kind == FileSystemKind::Ext4 {
            require_journal(fixture.device().context("an image without a device")?)?;
        }
        Ok(fixture)
    }

    /// Where to work.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The marked directory that holds all of this fixture; outside its file system.
    pub fn scratch(&self) -> &Path {
        &self.scratch.path
    }

    /// The file system that was made for this; none for a plain directory.
    pub fn kind(&self) -> Option<FileSystemKind> {
        self.kind
    }

    /// The block device below; none for a plain directory.
    pub fn device(&self) -> Option<&Path> {
        match &self.made {
            Made::Image(image) => Some(image.device()),
            Made::Memory(_) | Made::Nothing => None,
        }
    }

    /// The file system under [`Fixture::path`], as the kernel names it.
    pub fn backing(&self) -> String {
        strata_driver::Host::file_system_of(&self.path).unwrap_or_else(|_| "unknown".into())
    }

    /// Whether results may be drawn from this: an ext4 without a journal has no order of writes
    /// that anybody runs in production.
    pub fn require_result_bearing(&self) -> Result<()> {
        if self.kind.is_none() && self.backing() == "ext4" {
            let stat = rustix::fs::stat(&self.path)?;
            let (major, minor) = (
                rustix::fs::major(stat.st_dev),
                rustix::fs::minor(stat.st_dev),
            );
            let link = fs_err::read_link(format!("/sys/dev/block/{major}:{minor}"))?;
            require_journal(Path::new(
                link.file_name().context("a device without a name")?,
            ))?;
        }
        Ok(())
    }

    /// Takes everything away and says whether that worked.
    pub fn close(self) -> Result<()> {
        match self.made {
            Made::Image(image) => Ok(image.release()?),
            Made::Memory(mount) => mount.unmount(),
            Made::Nothing => Ok(()),
        }
    }
}

fn require_journal(device: &Path) -> Result<()> {
    let name = device
        .file_name()
        .context("a device without a name")?
        .to_string_lossy()
        .into_owned();
    for entry in fs_err::read_dir("/proc/fs/jbd2")? {
        if entry?
            .file_name()
            .to_string_lossy()
            .starts_with(&format!("{name}-"))
        {
            return Ok(());
        }
    }
    bail!(
        "the ext4 on `{}` has no journal; results from it would mislead",
        device.display()
    )
}

/// The best place for images: `$STRATA_SCRATCH`, memory, else the temporary directory.
pub fn scratch_place() -> PathBuf {
    const ROOM: u64 = 2 << 30;
    if let Some(chosen) = std::env::var_os("STRATA_SCRATCH") {
        return chosen.into();
    }
    let memory = Path::new("/dev/shm");
    match rustix::fs::statvfs(memory) {
        Ok(stat) if stat.f_bavail * stat.f_frsize >= ROOM && stat.f_files > 0 => memory.into(),
        _ => std::env::temp_dir(),
    }
}

/// A marked directory that is removed when dropped.
#[derive(Debug)]
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(place: &Path) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = place.join(format!("{MARK}{pid}-{number}"));
        fs_err::create_dir(&path)?;
        let scratch = Self { path };
        let start = start_time(pid).context("this process has no start time")?;
        fs_err::write(scratch.path.join("owner"), format!("{pid} {start}\n"))?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "scratch directory left behind");
        }
    }
}

/// Start of a process in clock ticks since boot, field 22 of `proc_pid_stat(5)`.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Takes away what dead processes left in the places that fixtures use. Returns what it removed.
pub fn clean_leftovers() -> Result<Vec<PathBuf>> {
    let mut places = vec![
        scratch_place(),
        PathBuf::from("/dev/shm"),
        PathBuf::from("/var/tmp"),
        std::env::temp_dir(),
    ];
    places.sort();
    places.dedup();
    let mut cleaned = Vec::new();
    for place in places {
        let Ok(entries) = fs_err::read_dir(&place) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if is_leftover(&path) {
                // In a user namespace another's mounts stay; that is no reason to end.
                match remove_all(&path) {
                    Ok(()) => cleaned.push(path),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), "what a dead run left stays: {error:#}");
                    }
                }
            }
        }
    }
    Ok(cleaned)
}

fn is_leftover(path: &Path) -> bool {
    let marked = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(MARK));
    if !marked {
        return false;
    }
    let owner = fs_err::read_to_string(path.join("owner")).unwrap_or_default();
    let mut fields = owner.split_whitespace().map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(pid)), Some(Ok(start))) => start_time(pid as u32) != Some(start),
        _ => false, // being made right now, or not ours
    }
}

/// Unmounts and detaches everything below a marked directory, and removes it.
fn remove_all(path: &Path) -> Result<()> {
    for target in mounts_below(path)?.into_iter().rev() {
        rustix::mount::unmount(&target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .with_context(|| format!("unmount `{}`", target.display()))?;
    }
    for (device, file) in loopdev::attached()? {
        if file.starts_with(path) {
            match LoopDevice::adopt(&device) {
                Ok(device) => device.detach()?,
                // It goes by itself with its last user, so maybe between the two calls.
                Err(error) if error.is(rustix::io::Errno::NXIO) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    fs_err::remove_dir_all(path)?;
    Ok(())
}

/// Mount points at or below `path`, in the order of the mount table.
pub(crate) fn mounts_below(path: &Path) -> Result<Vec<PathBuf>> {
    let table = fs_err::read_to_string("/proc/self/mountinfo")?;
    let targets = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape);
    Ok(targets.filter(|target| target.starts_with(path)).collect())
}

/// Undoes the octal escapes of `proc_pid_mountinfo(5)`.
fn unescape(field: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escape = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let value =
            escape.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(value.unwrap_or(*first));
        rest = if value.is_some() { &tail[3..] } else { tail };
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[derive(Debug)]
pub(crate) struct MountPoint {
    target: PathBuf,
    live: bool,
}

impl MountPoint {
    pub(crate) fn of_memory(target: &Path, size: u64) -> Result<Self> {
        let data = std::ffi::CString::new(format!("size={size}"))?;
        rustix::mount::mount(
            "tmpfs",
            target,
            "tmpfs",
            MountFlags::empty(),
            data.as_c_str(),
        )
        .with_context(|| format!("mount tmpfs on `{}`", target.display()))?;
        Ok(Self {
            target: target.to_owned(),
            live: true,
        })
    }

    fn unmount(mut self) -> Result<()> {
        self.live = false;
        rustix::mount::unmount(&self.target, UnmountFlags::NOFOLLOW)
            .with_context(|| format!("unmount `{}`", self.target.display()))
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        if self.live
            && let Err(error) = rustix::mount::unmount(&self.target, UnmountFlags::DETACH)
        {
            tracing::warn!(mount = %self.target.display(), %error, "mount left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescape_undoes_octal() {
        assert_eq!(unescape("/a\\040b\\134c"), Path::new("/a b\\c"));
    }

    #[test]
    fn directory_goes_when_dropped() {
        let place = tempfile::tempdir().unwrap();
        let fixture = Fixture::directory_in(place.path()).unwrap();
        let path = fixture.path().to_owned();
        assert!(path.is_dir());
        assert!(!is_leftover(path.parent().unwrap()));
        drop(fixture);
        assert_eq!(fs_err::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_of_a_dead_process_are_known() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("strata-test-1-0");
        fs_err::create_dir(&path).unwrap();
        assert!(
            !is_leftover(&path),
            "without an owner it may be in the making"
        );
        fs_err::write(path.join("owner"), "1 1\n").unwrap();
        assert!(is_leftover(&path), "process 1 did not start at tick 1");
    }

    #[test]
    fn file_systems_are_fresh_and_go_when_dropped() {
        for kind in [
            FileSystemKind::Ext4,
            FileSystemKind::Xfs,
            FileSystemKind::Btrfs,
            FileSystemKind::Tmpfs,
        ] {
            if let Some(missing) = kind.missing() {
                eprintln!("skipped: {kind}: {missing}");
                continue;
            }
            let fixture = Fixture::file_system(kind, kind.least_size()).unwrap();
            assert_eq!(fixture.backing(), kind.as_str());
            fixture.require_result_bearing().unwrap();
            let scratch = fixture.scratch.path.clone();
            fixture.close().unwrap();
            assert!(!scratch.exists());
            assert!(mounts_below(&scratch).unwrap().is_empty());
            assert!(
                !loopdev::attached()
                    .unwrap()
                    .iter()
                    .any(|(_, file)| file.starts_with(&scratch))
            );
        }
    }
}
