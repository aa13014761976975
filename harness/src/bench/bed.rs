//! A fresh file system for one cell, on a loop file of its own, and what reaches its device.

use crate::bench::command::Tool;
use crate::bench::unfit::Unfit;
use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strata_sys::loopdev::{LoopDevice, LoopOptions};
use strata_sys::mount::{FsContext, MountAttributes};

/// Bytes of a loop file. Sparse: only what is written takes room. Large enough for the copies of
/// a real root file system that a copying driver holds at once.
const SIZE: u64 = 3 << 30;

/// What a bed can be, with the options of its `mkfs`. Deferred initialisation would write to the
/// device during samples.
const KINDS: &[(&str, &[&str])] = &[
    (
        "ext4",
        &[
            "-q",
            "-F",
            "-O",
            "has_journal",
            "-E",
            "lazy_itable_init=0,lazy_journal_init=0",
        ],
    ),
    ("xfs", &["-q", "-f", "-m", "reflink=1"]),
    ("btrfs", &["-q", "-f"]),
];

/// Options of `mkfs` for a bed of type `kind`; a type that no bed can be is refused.
pub(super) fn mkfs_options(kind: &str) -> Result<&'static [&'static str]> {
    let found = KINDS.iter().find(|(known, _)| *known == kind);
    let (_, options) = found.with_context(|| {
        let known: Vec<_> = KINDS.iter().map(|(known, _)| *known).collect();
        format!("no such file system: `{kind}` ({})", known.join(", "))
    })?;
    Ok(options)
}

/// What the block layer tells of a device (Documentation/block/stat.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceCounts {
    /// Bytes written: sectors of field 7, each of 512 bytes.
    pub(crate) bytes: u64,
    /// Flushes of the device's cache, field 16; none where the kernel does not tell.
    pub(crate) flushes: Option<u64>,
}

impl DeviceCounts {
    /// What was added since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(before.bytes),
            flushes: self
                .flushes
                .zip(before.flushes)
                .map(|(now, then)| now.saturating_sub(then)),
        }
    }

    /// Adds what another stretch wrote.
    pub(crate) fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        if let Some(flushes) = other.flushes {
            *self.flushes.get_or_insert(0) += flushes;
        }
    }
}

/// A mounted file system that goes away, file and all, when it is dropped.
#[derive(Debug)]
pub(crate) struct Bed {
    kind: String,
    mkfs: String,
    point: PathBuf,
    file: PathBuf,
    root: Option<File>,
    device: Option<LoopDevice>,
    statistics: Option<PathBuf>,
    direct_io: bool,
}

impl Bed {
    /// Makes a file system of type `kind` in `directory`, under the name `name`.
    ///
    /// # Errors
    /// [`Unfit`] for an ext4 without a journal, for which no durable figure means anything.
    pub(crate) fn make(kind: &str, directory: &Path, name: &str) -> Result<Self> {
        let options = mkfs_options(kind)?;
        let file = directory.join(format!("{name}.img"));
        fs_err::File::create(&file)?.set_len(SIZE)?;
        let mut bed = Self {
            kind: kind.to_owned(),
            mkfs: String::new(),
            point: directory.join(name),
            file,
            root: None,
            device: None,
            statistics: None,
            direct_io: false,
        };
        let tool = Tool::new(&format!("mkfs.{kind}"))
            .args(options)
            .arg(&bed.file);
        bed.mkfs = tool.line().replace(&bed.file.display().to_string(), "FILE");
        tool.run()?;
        if kind == "ext4" {
            require_journal(&bed.file)?;
        }
        let options = LoopOptions {
            direct_io: true,
            autoclear: true,
            ..LoopOptions::default()
        };
        let device = LoopDevice::attach(&bed.file, options)?;
        bed.direct_io = device.direct_io()?;
        let number = device.path().file_name().unwrap_or_default();
        bed.statistics = Some(Path::new("/sys/class/block").join(number).join("stat"));
        let context = FsContext::open(kind)?;
        context.set_string("source", device.path())?;
        context.create()?;
        let mount = context.mount(MountAttributes::empty())?;
        fs_err::create_dir(&bed.point)?;
        mount.attach(&bed.point)?;
        bed.device = Some(device);
        bed.root = Some(fs_err::File::open(&bed.point)?.into_parts().0);
        Ok(bed)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }

    /// Its type.
    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    /// How it was made.
    pub(crate) fn mkfs(&self) -> &str {
        &self.mkfs
    }

    /// Whether the loop device goes past the page cache of the file's own file system.
    pub(crate) fn direct_io(&self) -> bool {
        self.direct_io
    }

    /// Writes everything dirty to the device.
    pub(crate) fn drain(&self) -> Result<()> {
        let root = self.root.as_ref().expect("a made bed is mounted");
        Ok(strata_sys::file::sync_file_system(root)?)
    }

    /// What reached the device so far.
    pub(crate) fn device_counts(&self) -> Result<DeviceCounts> {
        let path = self.statistics.as_ref().expect("a made bed has a device");
        let text = fs_err::read_to_string(path)?;
        let field = |number: usize| -> Result<u64> {
            let word = text.split_whitespace().nth(number - 1);
            let word = word.with_context(|| format!("{} has no field {number}", path.display()))?;
            Ok(word.parse()?)
        };
        Ok(DeviceCounts {
            bytes: field(7)? * 512,
            flushes: field(16).ok(), // since Linux 5.5
        })
    }

    /// Bytes in use, statfs(2). Exact after [`Bed::drain`]: before it, what is allocated late
    /// is not in it and what is freed late still is.
    pub(crate) fn used_bytes(&self) -> Result<u64> {
        let root = self.root.as_ref().expect("a made bed is mounted");
        let found = rustix::fs::fstatvfs(root)
            .with_context(|| format!("statfs of {}", self.point.display()))?;
        Ok((found.f_blocks - found.f_bfree) * found.f_frsize)
    }

    /// Gives freed blocks back to the loop file, so that a run does not fill its scratch space.
    pub(crate) fn trim(&self) -> Result<()> {
        Tool::new("fstrim").arg(&self.point).run().map(drop)
    }

    fn take_down(&mut self) -> Result<()> {
        if self.root.take().is_some() {
            unmount(&self.point)?;
        }
        if let Some(device) = self.device.take() {
            device.detach()?;
        }
        if self.point.exists() {
            fs_err::remove_dir(&self.point)?;
        }
        if self.file.exists() {
            fs_err::remove_file(&self.file)?;
        }
        Ok(())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            tracing::warn!(file = %self.file.display(), "a file system of the bench is left behind: {error:#}");
        }
    }
}

/// Unmounts, with patience for a child of this process that is between fork and exec, where it
/// still has what is open here. What stays busy is detached, so that no name is left.
fn unmount(point: &Path) -> Result<()> {
    for _ in 0..50 {
        match strata_sys::mount::unmount(point, UnmountFlags::empty()) {
            Err(error) if error.is(Errno::BUSY) => std::thread::sleep(Duration::from_millis(2)),
            outcome => return Ok(outcome?),
        }
    }
    tracing::warn!(point = %point.display(), "a file system of the bench stays in use");
    Ok(strata_sys::mount::unmount(point, UnmountFlags::DETACH)?)
}

/// Refuses an ext4 without a journal: there fsync(2) is cheap and promises nothing after a crash.
pub(crate) fn require_journal(device: &Path) -> Result<()> {
    // Documentation/filesystems/ext4/super.rst: the superblock at 1024, its magic at 0x38, the
    // compatible features at 0x5C, of which 0x4 is the journal.
    let mut block = [0_u8; 0x60];
    fs_err::File::open(device)?
        .file()
        .read_exact_at(&mut block, 1024)?;
    let ext = block[0x38..0x3A] == [0x53, 0xEF];
    let journal = block[0x5C] & 0x4 != 0;
    if ext && !journal {
        return Err(Unfit::new(format!(
            "the ext4 on {} has no journal, so its durable figures mean nothing; make it with \
             `mkfs.ext4 -O has_journal`",
            device.display()
        ))
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A superblock with the magic of ext4 and these compatible features.
    fn superblock(features: u8) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0; 4096];
        bytes[1024 + 0x38..1024 + 0x3A].copy_from_slice(&[0x53, 0xEF]);
        bytes[1024 + 0x5C] = features;
        fs_err::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn ext4_without_a_journal_is_unfit() {
        let error = require_journal(superblock(0x38).path()).unwrap_err();
        assert!(error.is::<Unfit>(), "{error:#}");
        require_journal(superblock(0x3C).path()).unwrap();
    }

    #[test]
    fn a_bed_counts_what_reaches_its_device_and_leaves_nothing() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let place = tempfile::tempdir_in(crate::fixture::scratch_place()).unwrap();
        let bed = Bed::make("ext4", place.path(), "bed").unwrap();
        bed.drain().unwrap();
        let before = bed.device_counts().unwrap();
        fs_err::write(bed.path().join("file"), vec![1; 1 << 20]).unwrap();
        bed.drain().unwrap();
        let written = bed.device_counts().unwrap().since(before).bytes;
        assert!((1 << 20..2 << 20).contains(&written), "{written}");
        let used = bed.used_bytes().unwrap();
        fs_err::remove_file(bed.path().join("file")).unwrap();
        bed.drain().unwrap();
        let freed = used - bed.used_bytes().unwrap();
        assert!((1 << 20..2 << 20).contains(&freed), "{freed}");
        drop(bed);
        assert_eq!(fs_err::read_dir(place.path()).unwrap().count(), 0);
    }
}
