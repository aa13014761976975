//! Applying a layer against GNU tar.

use super::Figure;
use super::alternate::{Side, alternate};
use super::stage::Stage;
use crate::bench::command::Tool;
use crate::bench::corpus::{pack, remove};
use crate::bench::subject::Subject;
use crate::seed::Seed;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use strata_driver::Durability;

/// What is applied.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    /// The base of the large tree.
    Rootfs,
    /// 3,000 small files and one of 48 MiB.
    SmallFiles,
}

impl Input {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Rootfs => "rootfs",
            Self::SmallFiles => "small-files",
        }
    }

    fn tar(self, stage: &Stage<'_>) -> Result<PathBuf> {
        match self {
            Self::Rootfs => stage.corpora()?.tars.into_iter().next().context("no tar"),
            Self::SmallFiles => small_files(stage),
        }
    }
}

fn small_files(stage: &Stage<'_>) -> Result<PathBuf> {
    let (tree, tar) = (stage.path().join("small"), stage.path().join("small.tar"));
    let mut random = Seed(stage.plan.seed).generator("small files");
    for directory in 0..60 {
        let path = tree.join(format!("d{directory}"));
        fs_err::create_dir_all(&path)?;
        for file in 0..50 {
            let length = 100 + random.below(8_000);
            fs_err::write(path.join(format!("f{file}")), random.bytes(length))?;
        }
    }
    fs_err::write(tree.join("large"), random.bytes(48 << 20))?;
    pack(&tree, &tar)?;
    remove(&tree)?;
    Ok(tar)
}

fn tar_x(tar: &Path, target: &Path) -> Result<()> {
    fs_err::create_dir(target)?;
    Tool::new("tar")
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "--numeric-owner",
            "-x",
            "-p",
            "-f",
        ])
        .arg(tar)
        .arg("-C")
        .arg(target)
        .run()
        .map(drop)
}

pub(super) fn measure(stage: &Stage<'_>, input: Input) -> Result<Vec<Figure>> {
    let tar = input.tar(stage)?;
    let bed = stage.bed("ext4")?;
    // The volatile class: tar syncs nothing either.
    let subject = stage.open(&stage.plan.stacking, &bed, Durability::Volatile)?;
    let target = bed.path().join("target");
    let mut apply = || {
        subject.prepare("apply", None)?;
        subject.apply("apply", &tar)
    };
    let mut undo_apply = || {
        subject.remove("apply")?;
        subject.reclaim()?;
        bed.drain()
    };
    let mut undo_tar = || {
        remove(&target)?;
        bed.drain()
    };
    let wall = alternate(
        stage.plan.rounds,
        &mut Side {
            work: &mut apply,
            restore: &mut undo_apply,
        },
        &mut Side {
            work: &mut || tar_x(&tar, &target),
            restore: &mut undo_tar,
        },
    )?;
    let processor = alternate(
        stage.plan.rounds,
        &mut Side {
            work: &mut apply,
            restore: &mut undo_apply,
        },
        &mut Side {
            work: &mut || {
                tar_x(&tar, &target)?;
                Tool::new("sha256sum").arg(&tar).run().map(drop)
            },
            restore: &mut undo_tar,
        },
    )?;
    subject.close()?;
    Ok(vec![
        wall.wall("wall ratio to tar -x", 1.15)?,
        processor.processor("CPU ratio to tar -x + sha256", 1.2)?,
    ])
}
