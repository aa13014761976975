//! The changeset of many new files against GNU tar, and what one change makes a driver look at.

use super::Figure;
use super::alternate::{Side, alternate};
use super::stage::Stage;
use crate::bench::command::Tool;
use crate::bench::subject::{DriverSubject, Subject, add_layer};
use anyhow::{Context, Result, ensure};
use std::io::Read;
use std::path::Path;
use strata_driver::{DiffOptions, Durability, SnapshotName};
use tokio::io::AsyncReadExt as _;

/// Fills `root` with `files` files of 1 KiB, a hundred to a directory.
fn fill(root: &Path, files: u32) -> Result<()> {
    for number in 0..files {
        let directory = root.join(format!("d{:03}", number / 100));
        if number % 100 == 0 {
            fs_err::create_dir(&directory)?;
        }
        fs_err::write(
            directory.join(format!("f{number:05}")),
            [number as u8; 1024],
        )?;
    }
    Ok(())
}

/// Reads a diff to its end; nothing else, as a pipe does.
fn drain(subject: &DriverSubject, upper: &str) -> Result<()> {
    let (base, upper) = (SnapshotName::new("base")?, SnapshotName::new(upper)?);
    let options = DiffOptions::default();
    let mut stream = subject.wait(subject.driver().diff(Some(&base), &upper, &options))?;
    subject.block_on(async {
        let mut block = vec![0; 256 * 1024];
        while stream.read(&mut block).await? > 0 {}
        Ok(())
    })
}

fn tar_c(directory: &Path) -> Result<()> {
    let mut tool = Tool::new("tar")
        .args(["--format=posix", "--xattrs", "--acls", "-c", "-C"])
        .arg(directory)
        .arg(".");
    let mut child = tool.command().spawn().context("tar cannot be started")?;
    let mut pipe = child.stdout.take().context("tar has no output")?;
    let mut block = vec![0; 256 * 1024];
    while pipe.read(&mut block)? > 0 {}
    ensure!(child.wait()?.success(), "tar -c failed");
    Ok(())
}

pub(super) fn measure(stage: &Stage<'_>, files: u32) -> Result<Vec<Figure>> {
    let bed = stage.bed("ext4")?;
    let subject = stage.open(&stage.plan.stacking, &bed, Durability::Volatile)?;
    add_layer(&subject, None, "base", &mut |root| {
        fs_err::create_dir(root.join("base"))?;
        fill(&root.join("base"), 5_000)
    })?;
    add_layer(&subject, Some("base"), "upper", &mut |root| {
        fill(root, files)
    })?;
    let plain = bed.path().join("plain");
    fs_err::create_dir(&plain)?;
    fill(&plain, files)?;
    bed.drain()?;
    let nothing = &mut || Ok(());
    let pairs = alternate(
        stage.plan.rounds,
        &mut Side {
            work: &mut || drain(&subject, "upper"),
            restore: &mut || Ok(()),
        },
        &mut Side {
            work: &mut || tar_c(&plain),
            restore: nothing,
        },
    )?;
    subject.close()?;
    Ok(vec![pairs.wall("wall ratio", 1.3)?])
}

pub(super) fn measure_walked(stage: &Stage<'_>) -> Result<Vec<Figure>> {
    let bed = stage.bed("ext4")?;
    let subject = stage.open(&stage.plan.stacking, &bed, Durability::Volatile)?;
    add_layer(&subject, None, "base", &mut |root| fill(root, 40_000))?;
    add_layer(&subject, Some("base"), "upper", &mut |root| {
        Ok(fs_err::write(root.join("d007/changed"), "changed")?)
    })?;
    let before = subject.entries_walked();
    drain(&subject, "upper")?;
    let walked = subject.entries_walked() - before;
    subject.close()?;
    // One file changed.
    Ok(vec![Figure::count(
        "entries walked",
        walked as f64,
        10.0 + 4.0,
    )])
}
