//! `strata snapshot`: one driver by hand, JSON out.

use crate::config::Settings;
use crate::file;
use crate::flags::{Lower, SnapshotCommand, SnapshotFlags};
use crate::opening;
use anyhow::{Context as _, bail};
use serde_json::json;
use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use strata_driver::catalog::Catalog;
use strata_driver::mount::MountTable;
use strata_driver::{
    ApplyOptions, Bytes, ChangesetSource, CommitOptions, DiffOptions, Error, ErrorKind, Labels,
    PrepareOptions, Registry, SnapshotName, StorageDriver,
};

pub(crate) fn run(
    flags: &SnapshotFlags,
    settings: &Settings,
    registry: &Registry,
) -> anyhow::Result<ExitCode> {
    let runtime = opening::runtime()?;
    let makes_root = matches!(
        flags.command,
        SnapshotCommand::Prepare { .. } | SnapshotCommand::View { .. }
    );
    let root = &opening::driver_root(settings)?;
    if !makes_root && Catalog::peek(root)?.is_none() {
        bail!(
            "no driver's root is at `{}`; `strata snapshot prepare KEY` makes one",
            root.display()
        );
    }
    if let SnapshotCommand::Unmount { target } = &flags.command {
        let target = absolute(target)?;
        MountTable::open(root)?.unmount_recorded(&target)?;
        print(&json!({ "unmounted": target }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let driver = opening::open(settings, registry)?;
    let outcome = runtime.block_on(command(&flags.command, &driver));
    let closed = runtime.block_on(driver.close());
    outcome.map_err(|error| told(error, word(&flags.command)))?;
    closed?;
    Ok(ExitCode::SUCCESS)
}

/// The error of a sub-command tells of that, not of the calls that it is made of.
fn told(error: anyhow::Error, word: &'static str) -> anyhow::Error {
    match error.downcast::<Error>() {
        Ok(error) => error.during(word).into(),
        Err(error) => error,
    }
}

/// The word by which a person gives the sub-command.
fn word(command: &SnapshotCommand) -> &'static str {
    match command {
        SnapshotCommand::Prepare { .. } => "prepare",
        SnapshotCommand::View { .. } => "view",
        SnapshotCommand::Commit { .. } => "commit",
        SnapshotCommand::Mounts { .. } => "mounts",
        SnapshotCommand::Mount { .. } => "mount",
        SnapshotCommand::Unmount { .. } => "unmount",
        SnapshotCommand::Rm { .. } => "rm",
        SnapshotCommand::Ls => "ls",
        SnapshotCommand::Stat { .. } => "stat",
        SnapshotCommand::Usage { .. } => "usage",
        SnapshotCommand::Changes { .. } => "changes",
        SnapshotCommand::Diff { .. } => "diff",
        SnapshotCommand::Apply { .. } => "apply",
        SnapshotCommand::Label { .. } => "label",
        SnapshotCommand::Reclaim => "reclaim",
    }
}

async fn command(command: &SnapshotCommand, driver: &Arc<dyn StorageDriver>) -> anyhow::Result<()> {
    match command {
        SnapshotCommand::Prepare {
            key,
            parent,
            size_limit,
            labels,
        } => {
            let (key, parent) = (new_name(key)?, optional(parent.as_deref())?);
            let mut options = PrepareOptions::default().with_labels(parse_labels(labels)?);
            options.size_limit = size_limit.map(Bytes);
            driver.prepare(&key, parent.as_ref(), &options).await?;
            print(&driver.stat(&key).await?)
        }
        SnapshotCommand::View { key, parent } => {
            let (key, parent) = (new_name(key)?, optional(parent.as_deref())?);
            driver
                .view(&key, parent.as_ref(), &PrepareOptions::default())
                .await?;
            print(&driver.stat(&key).await?)
        }
        SnapshotCommand::Commit {
            key,
            name: to,
            late_parent,
            labels,
        } => {
            let (key, to) = (name(key)?, new_name(to)?);
            let mut options = CommitOptions::default().with_labels(parse_labels(labels)?);
            options.late_parent = optional(late_parent.as_deref())?;
            driver.commit(&key, &to, &options).await?;
            print(&driver.stat(&to).await?)
        }
        SnapshotCommand::Mounts { key } => print(&driver.mounts(&name(key)?).await?),
        SnapshotCommand::Mount { key, target } => {
            let plan = driver.mounts(&name(key)?).await?;
            let target = absolute(target)?;
            if !target.is_dir() {
                bail!("`{}` is not a directory; make it first", target.display());
            }
            MountTable::open(&driver.info().root)?.mount_and_record(&plan, &target)?;
            print(&json!({ "snapshot": plan.snapshot.as_str(), "mounted": target }))
        }
        SnapshotCommand::Unmount { .. } => unreachable!("answered without a driver"),
        SnapshotCommand::Rm { name: who } => {
            let who = name(who)?;
            driver.remove(&who).await?;
            let reclaimed = driver.reclaim().await?;
            print(&json!({ "removed": who.as_str(), "reclaimed": reclaimed.snapshots }))
        }
        SnapshotCommand::Ls => print(&driver.list().await?),
        SnapshotCommand::Stat { name: who } => print(&driver.stat(&name(who)?).await?),
        SnapshotCommand::Usage { name: who } => print(&driver.usage(&name(who)?).await?),
        SnapshotCommand::Changes { name: who, lower } => {
            let who = name(who)?;
            let lower = lower_of(driver, &who, lower).await?;
            print(&driver.changes(lower.as_ref(), &who).await?)
        }
        SnapshotCommand::Diff {
            name: who,
            lower,
            output,
            clamp_mtime,
        } => {
            let who = name(who)?;
            let lower = lower_of(driver, &who, lower).await?;
            let mut options = DiffOptions::default();
            options.clamp_mtime = *clamp_mtime;
            let stream = driver.diff(lower.as_ref(), &who, &options).await?;
            tokio::task::block_in_place(|| write_out(stream.into_read(), output.as_deref()))
        }
        SnapshotCommand::Apply { key, file } => {
            let key = name(key)?;
            let source = match file.as_deref() {
                None => ChangesetSource::from_read(std::io::stdin()),
                Some(path) if path == Path::new("-") => {
                    ChangesetSource::from_read(std::io::stdin())
                }
                Some(path) => ChangesetSource::from_read(fs_err::File::open(path)?),
            };
            let applied = driver.apply(&key, source, &ApplyOptions::default()).await?;
            print(&applied)
        }
        SnapshotCommand::Label { name: who, labels } => {
            let who = name(who)?;
            driver.relabel(&who, &parse_labels(labels)?).await?;
            print(&driver.stat(&who).await?)
        }
        SnapshotCommand::Reclaim => print(&driver.reclaim().await?),
    }
}

/// What a diff is taken against: as asked, or the parent.
async fn lower_of(
    driver: &Arc<dyn StorageDriver>,
    upper: &SnapshotName,
    lower: &Lower,
) -> anyhow::Result<Option<SnapshotName>> {
    match &lower.lower {
        Some(lower) => Ok(Some(name(lower)?)),
        None if lower.whole => Ok(None),
        None => Ok(driver.stat(upper).await?.parent),
    }
}

fn write_out(mut from: impl Read, output: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = output else {
        std::io::copy(&mut from, &mut std::io::stdout().lock())?;
        return Ok(());
    };
    file::written_whole(path, |mut part| {
        std::io::copy(&mut from, &mut part)?;
        Ok(())
    })
}

/// The name of something that exists.
fn name(text: &OsStr) -> anyhow::Result<SnapshotName> {
    Ok(SnapshotName::from_bytes(text.as_bytes())?)
}

/// A new name given by a person. `/` is left to names that container engines make.
fn new_name(text: &OsStr) -> anyhow::Result<SnapshotName> {
    let name = name(text)?;
    if name.as_str().contains('/') {
        return Err(Error::new(ErrorKind::InvalidInput, "name")
            .because("`/` in a name is kept for names that container engines make")
            .with("name", name)
            .hint("use `-`, `_`, `.` or `:` instead")
            .into());
    }
    Ok(name)
}

fn optional(text: Option<&OsStr>) -> anyhow::Result<Option<SnapshotName>> {
    text.map(name).transpose()
}

fn parse_labels(pairs: &[String]) -> anyhow::Result<Labels> {
    let mut labels = Labels::new();
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            bail!("a label is KEY=VALUE, not `{pair}`");
        };
        if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            bail!("the label `{key}` is given twice");
        }
    }
    Ok(labels)
}

fn absolute(path: &Path) -> anyhow::Result<std::path::PathBuf> {
    std::path::absolute(path).with_context(|| format!("`{}`", path.display()))
}

fn print(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string_pretty(value)?)?;
    Ok(())
}
