//! The changeset of many new files against GNU tar, and what one change makes a driver look at.

use super::Figure;
use super::alternate::{Side, alternate, alternate_on};
use super::stage::Stage;
use crate::bench::command::Tool;
use crate::bench::subject::{DriverSubject, Subject, add_layer};
use anyhow::{Context, Result, ensure};
use std::io::Read;
use std::os::fd::AsFd as _;
use std::path::Path;
use strata_driver::diff::{CompareOptions, Outcome, Upper, compare};
use strata_driver::{Counters, DiffOptions, Durability, SnapshotName};
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

/// Two layers in a store: 40,000 files, and one of them changed.
fn one_change(subject: &DriverSubject) -> Result<()> {
    add_layer(subject, None, "base", &mut |root| fill(root, 40_000))?;
    add_layer(subject, Some("base"), "upper", &mut |root| {
        Ok(fs_err::write(root.join("d007/changed"), "changed")?)
    })
}

/// Entries looked at by a diff of that; one file changed.
fn walked(subject: &DriverSubject) -> Result<Figure> {
    let before = subject.entries_walked();
    drain(subject, "upper")?;
    let walked = subject.entries_walked() - before;
    Ok(Figure::count("entries walked", walked as f64, 10.0 + 4.0))
}

pub(super) fn measure_walked(stage: &Stage<'_>) -> Result<Vec<Figure>> {
    let bed = stage.bed("ext4")?;
    let subject = stage.open(&stage.plan.stacking, &bed, Durability::Volatile)?;
    one_change(&subject)?;
    let figure = walked(&subject)?;
    subject.close()?;
    Ok(vec![figure])
}

/// The diff of a driver of subvolumes against the comparison of the same two trees.
pub(super) fn measure_native(stage: &Stage<'_>) -> Result<Vec<Figure>> {
    let bed = stage.bed("btrfs")?;
    let driver = stage.plan.snapshotting.as_deref();
    let driver = driver.context("this program has no driver of subvolumes")?;
    let subject = stage.open(driver, &bed, Durability::Volatile)?;
    one_change(&subject)?;
    let mut views = Vec::new();
    for (number, name) in ["base", "upper"].into_iter().enumerate() {
        let key = format!("view-{name}");
        subject.view(&key, name)?;
        views.push(subject.mount_at(&key, number as u32)?);
    }
    let roots: Vec<_> = views
        .iter()
        .map(|view| fs_err::File::open(view.path()))
        .collect::<Result<_, _>>()?;
    let whole = || {
        let upper = Upper::Whole(roots[1].as_fd());
        let options = CompareOptions::default();
        let lower = Some(roots[0].as_fd());
        match compare(lower, upper, &options, &Counters::default())? {
            Outcome::Compared(comparison) => {
                let written = comparison.write(&mut std::io::sink(), &DiffOptions::default())?;
                std::hint::black_box(written);
                Ok(())
            }
            Outcome::NeedsWholeTrees => anyhow::bail!("the walk did not compare"),
        }
    };
    let pairs = alternate_on(&bed, stage.plan.rounds, || drain(&subject, "upper"), whole)?;
    let figures = vec![pairs.wall("wall ratio", 0.1)?, walked(&subject)?];
    drop(roots);
    for view in views {
        view.unmount()?;
    }
    subject.close()?;
    Ok(figures)
}
