//! What is compared works on a fresh file system in a file, as tests and bench have.

use crate::quiet::run_silently;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;
use xshell::{Shell, cmd};

/// The kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Btrfs,
    Xfs,
}

/// Where the file goes: into memory if there are `bytes` of it, so that the disk of this machine is
/// not what is measured.
pub(crate) fn place(bytes: u64) -> PathBuf {
    if crate::rootfs::memory_available() >= bytes {
        "/dev/shm".into()
    } else {
        std::env::temp_dir()
    }
}

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Ground {
    image: PathBuf,
    target: PathBuf,
    before: u64,
}

impl Ground {
    /// Mounts one of so many bytes at `target`; its file stands beside, and has holes until
    /// something is written.
    pub(crate) fn make(sh: &Shell, kind: Kind, bytes: u64, target: &Path) -> anyhow::Result<Self> {
        let image = target.with_extension("image");
        fs_err::File::create(&image)?.set_len(bytes)?;
        // Made whole now, or the kernel would go on making it while somebody is measured.
        let whole = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        run_silently(match kind {
            Kind::Ext4 => cmd!(sh, "mkfs.ext4 -q -E {whole} {image}"),
            Kind::Btrfs => cmd!(sh, "mkfs.btrfs -q -K {image}"),
            Kind::Xfs => cmd!(sh, "mkfs.xfs -q -K -m reflink=1 {image}"),
        })?;
        cmd!(sh, "mount -o loop {image} {target}").quiet().run()?;
        let mut ground = Self {
            image,
            target: target.to_owned(),
            before: 0,
        };
        if kind == Kind::Ext4 {
            ground.require_journal(sh)?;
        }
        ground.before = ground.used(sh)?;
        Ok(ground)
    }

    /// Without one an ext4 is faster than any that people have.
    fn require_journal(&self, sh: &Shell) -> anyhow::Result<()> {
        let name = self.device(sh)?;
        let journals = fs_err::read_dir("/proc/fs/jbd2")?.filter_map(Result::ok);
        let mut names = journals.map(|journal| journal.file_name());
        let begin = format!("{name}-");
        ensure!(
            names.any(|journal| journal.to_string_lossy().starts_with(&begin)),
            "the ext4 on `{name}` has no journal; results from it would mislead"
        );
        Ok(())
    }

    /// The loop device: `loop7`.
    fn device(&self, sh: &Shell) -> anyhow::Result<String> {
        let target = &self.target;
        let device = cmd!(sh, "findmnt --noheadings --output SOURCE {target}")
            .quiet()
            .read()?;
        Ok(device.trim_start_matches("/dev/").to_owned())
    }

    /// Writes back all that is in memory only.
    pub(crate) fn sync(&self, sh: &Shell) -> anyhow::Result<()> {
        let target = &self.target;
        Ok(cmd!(sh, "sync --file-system {target}").quiet().run()?)
    }

    /// Bytes that were written to the device so far, those in memory only included.
    pub(crate) fn written(&self, sh: &Shell) -> anyhow::Result<u64> {
        self.sync(sh)?;
        let stat = format!("/sys/class/block/{}/stat", self.device(sh)?);
        let said = fs_err::read_to_string(stat)?;
        let sectors = said.split_whitespace().nth(6).context("too few fields")?;
        Ok(sectors.parse::<u64>()? * 512)
    }

    fn used(&self, sh: &Shell) -> anyhow::Result<u64> {
        self.sync(sh)?;
        let target = &self.target;
        let said = cmd!(sh, "df --block-size=1K --output=used {target}")
            .quiet()
            .read()?;
        let number = said.lines().nth(1).context("df said nothing")?;
        Ok(number.trim().parse()?)
    }

    /// MiB that were written and stay.
    pub(crate) fn taken(&self, sh: &Shell) -> anyhow::Result<u64> {
        Ok(self.used(sh)?.saturating_sub(self.before) / 1024)
    }

    pub(crate) fn remove(self, sh: &Shell) -> anyhow::Result<()> {
        let (image, target) = (self.image, self.target);
        // What was just killed may take a moment to let go.
        let mut tries = 50;
        while let Err(error) = run_silently(cmd!(sh, "umount {target}")) {
            tries -= 1;
            if tries == 0 {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        fs_err::remove_file(image)?;
        Ok(())
    }
}
