//! The directories of a union, on a fresh file system.

use super::contestant::Contestant;
use super::view::View;
use super::{content, content::UPPER_BIG};
use crate::ground::{Ground, Kind};
use std::path::{Path, PathBuf};
use xshell::Shell;

/// Bytes of the file systems.
const EXT4_SIZE: u64 = 4 << 30;
const XFS_SIZE: u64 = 1 << 30;

/// What the upper directory holds when it is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upper {
    Empty,
    BigFile,
}

/// A fresh file system with the directories.
#[derive(Debug)]
pub(super) struct Bed<'a> {
    pub(super) sh: &'a Shell,
    ground: Ground,
    directory: PathBuf,
}

impl<'a> Bed<'a> {
    /// On ext4, with all that is worked on.
    pub(super) fn whole(sh: &'a Shell, directory: &Path) -> anyhow::Result<Self> {
        let bed = Self::make(sh, Kind::Ext4, EXT4_SIZE, directory)?;
        content::tree(&bed.lower())?;
        content::file(&bed.lower().join(content::BIG), content::BIG_BYTES)?;
        content::file(&bed.shelf(), content::BIG_BYTES)?;
        content::archive(sh, &bed.archive())?;
        bed.finish()
    }

    /// On a file system that has reflinks, with what is copied up.
    pub(super) fn of_reflinks(sh: &'a Shell, directory: &Path) -> anyhow::Result<Self> {
        Self::make(sh, Kind::Xfs, XFS_SIZE, directory)?.finish()
    }

    fn make(sh: &'a Shell, kind: Kind, size: u64, directory: &Path) -> anyhow::Result<Self> {
        fs_err::create_dir(directory)?;
        let bed = Self {
            sh,
            ground: Ground::make(sh, kind, size, directory)?,
            directory: directory.to_owned(),
        };
        fs_err::create_dir(bed.lower())?;
        fs_err::create_dir(bed.target())?;
        Ok(bed)
    }

    fn finish(self) -> anyhow::Result<Self> {
        content::file(&self.lower().join(content::COPIED), content::COPIED_BYTES)?;
        self.ground.sync(self.sh)?;
        Ok(self)
    }

    pub(super) fn lower(&self) -> PathBuf {
        self.directory.join("lower")
    }

    pub(super) fn target(&self) -> PathBuf {
        self.directory.join("target")
    }

    pub(super) fn archive(&self) -> PathBuf {
        self.directory.join("archive.tar")
    }

    /// Where the large file of the upper directory stands while that is not mounted.
    pub(super) fn shelf(&self) -> PathBuf {
        self.directory.join(UPPER_BIG)
    }

    pub(super) fn upper(&self) -> PathBuf {
        self.writable().join("upper")
    }

    pub(super) fn work(&self) -> PathBuf {
        self.writable().join("work")
    }

    /// All that a mount writes to, and that goes with it.
    fn writable(&self) -> PathBuf {
        self.directory.join("writable")
    }

    /// Bytes written to the device so far.
    pub(super) fn written(&self) -> anyhow::Result<u64> {
        self.ground.written(self.sh)
    }

    /// Does something on a fresh mount of `contestant`.
    pub(super) fn with<T>(
        &self,
        contestant: &Contestant,
        upper: Upper,
        work: impl FnOnce(&View) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        for directory in [self.writable(), self.upper(), self.work()] {
            fs_err::create_dir(directory)?;
        }
        let above = self.upper().join(UPPER_BIG);
        if upper == Upper::BigFile {
            fs_err::rename(self.shelf(), &above)?;
        }
        let worked = contestant.mount(self).and_then(|view| {
            let worked = work(&view);
            let ended = view.end();
            let worked = worked?;
            ended.map(|()| worked)
        });
        if upper == Upper::BigFile {
            fs_err::rename(&above, self.shelf())?;
        }
        fs_err::remove_dir_all(self.writable())?;
        // Nobody pays for what another wrote.
        self.ground.sync(self.sh)?;
        worked
    }

    pub(super) fn remove(self) -> anyhow::Result<()> {
        self.ground.remove(self.sh)
    }
}
