//! What a peer works on: a fresh file system in a file, as tests and bench have.

use crate::quiet::run_silently;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;
use xshell::{Shell, cmd};

/// Bytes of the file; it has holes until something is written.
const SIZE: u64 = 8 << 30;

/// Memory for what the largest peer writes.
const MEMORY: u64 = 4 << 30;

/// The kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ext4,
    Btrfs,
}

/// In memory if there is enough, so that the disk of this machine is not what is measured.
pub(super) fn place() -> PathBuf {
    if crate::rootfs::memory_available() >= MEMORY {
        "/dev/shm".into()
    } else {
        std::env::temp_dir()
    }
}

/// A mounted file system.
#[derive(Debug)]
pub(super) struct Ground {
    image: PathBuf,
    target: PathBuf,
    before: u64,
}

impl Ground {
    pub(super) fn make(
        sh: &Shell,
        kind: Kind,
        image: &Path,
        target: &Path,
    ) -> anyhow::Result<Self> {
        fs_err::File::create(image)?.set_len(SIZE)?;
        // Made whole now, or the kernel would go on making it while somebody is measured.
        let whole = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        run_silently(match kind {
            Kind::Ext4 => cmd!(sh, "mkfs.ext4 -q -E {whole} {image}"),
            Kind::Btrfs => cmd!(sh, "mkfs.btrfs -q -K {image}"),
        })?;
        cmd!(sh, "mount -o loop {image} {target}").quiet().run()?;
        let mut ground = Self {
            image: image.to_owned(),
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
        let target = &self.target;
        let device = cmd!(sh, "findmnt --noheadings --output SOURCE {target}")
            .quiet()
            .read()?;
        let name = device.trim_start_matches("/dev/");
        let journals = fs_err::read_dir("/proc/fs/jbd2")?.filter_map(Result::ok);
        let mut names = journals.map(|journal| journal.file_name());
        let begin = format!("{name}-");
        ensure!(
            names.any(|journal| journal.to_string_lossy().starts_with(&begin)),
            "the ext4 on `{device}` has no journal; results from it would mislead"
        );
        Ok(())
    }

    fn used(&self, sh: &Shell) -> anyhow::Result<u64> {
        let target = &self.target;
        cmd!(sh, "sync --file-system {target}").quiet().run()?;
        let said = cmd!(sh, "df --block-size=1K --output=used {target}")
            .quiet()
            .read()?;
        let number = said.lines().nth(1).context("df said nothing")?;
        Ok(number.trim().parse()?)
    }

    /// MiB that were written and stay.
    pub(super) fn taken(&self, sh: &Shell) -> anyhow::Result<u64> {
        Ok(self.used(sh)?.saturating_sub(self.before) / 1024)
    }

    pub(super) fn remove(self, sh: &Shell) -> anyhow::Result<()> {
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
