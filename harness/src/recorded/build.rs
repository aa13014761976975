//! Makes a scenario's branches from layers, as the contract makes them.
//!
//! A changeset carries what it can. It knows no access times and no holes, which are given
//! through a mount; and what means something of its own in a changeset (names that begin with
//! `.wh.`, devices 0:0, overlay's own attributes) goes straight into the branch, as it did when
//! the recordings were made.

use super::branches::Branches;
use super::data::{Entry, EntryKind, Scenario};
use super::perform::set_times;
use crate::context::Context;
use crate::tar;
use anyhow::{Context as _, Result, bail};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use strata_driver::SnapshotName;

/// Times that everything in a branch has at first.
const MTIME: i64 = 1_000_000_000;
const ATIME: i64 = 1_000_000_001;
const NANOSECONDS: i64 = 1_000_000_000;

/// An active snapshot that is the scenario's writable branch on its lower ones.
pub(super) fn branches(context: &mut Context, scenario: &Scenario) -> Result<SnapshotName> {
    let mut parent = None;
    for (number, entries) in scenario.layers.iter().enumerate().rev() {
        let layer = branch(context, parent.as_ref(), entries, (ATIME, MTIME))
            .and_then(|key| context.commit_fresh(&key))
            .with_context(|| format!("layer {}", number + 1))?;
        parent = Some(layer);
    }
    let times = if scenario.upper_init.is_empty() {
        // A branch that was made for the run, and nothing in it.
        let now = seconds_now()?;
        (now, now)
    } else {
        (ATIME, MTIME)
    };
    branch(context, parent.as_ref(), &scenario.upper_init, times).context("the writable branch")
}

/// Seconds since 1970.
pub(super) fn seconds_now() -> Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(since.as_secs() as i64)
}

/// An active snapshot with these entries, its root with these times of access and modification.
fn branch(
    context: &mut Context,
    parent: Option<&SnapshotName>,
    entries: &[Entry],
    (atime, mtime): (i64, i64),
) -> Result<SnapshotName> {
    let key = context.active(parent)?;
    let mut archive = vec![tar::Entry::dir(".").mtime(mtime, 0)];
    for entry in entries.iter().filter(|entry| !is_raw(entry)) {
        archive.push(in_changeset(entry, owner(entry, entries))?);
    }
    context.apply(&key, &tar::archive(&archive))?;
    if entries
        .iter()
        .any(|entry| is_raw(entry) || is_marked(entry))
    {
        let plan = context.wait(context.driver().mounts(&key))?;
        let branches = Branches::of(&plan);
        let upper = branches.upper()?;
        for entry in entries {
            write_raw(upper, entry).with_context(|| format!("write `{}`", entry.path))?;
        }
    }
    context.edit(&key, |dir| {
        let shown = |entry: &&Entry| {
            !is_raw(entry) && !matches!(entry.kind, EntryKind::Whiteout | EntryKind::Opaque)
        };
        for entry in entries.iter().filter(shown) {
            let at = dir.path().join(&entry.path);
            if let Some(size) = entry.size {
                write_sparse(&at, size, entry.tail.as_bytes())?;
            }
            set_times(&at, ATIME * NANOSECONDS, MTIME * NANOSECONDS)?;
        }
        Ok(set_times(
            dir.path(),
            atime * NANOSECONDS,
            mtime * NANOSECONDS,
        )?)
    })?;
    Ok(key)
}

/// Whether a changeset would take the entry for something else, or refuse it.
fn is_raw(entry: &Entry) -> bool {
    let name = entry.path.rsplit('/').next().unwrap_or_default();
    let is_mark = matches!(entry.kind, EntryKind::Whiteout | EntryKind::Opaque);
    (name.starts_with(".wh.") && !is_mark) || (entry.kind == EntryKind::Chr && entry.rdev == "0:0")
}

const OWN: &str = "trusted.overlay.";

/// Whether it bears attributes that a changeset would refuse.
fn is_marked(entry: &Entry) -> bool {
    entry.xattrs.keys().any(|key| key.starts_with(OWN))
}

fn in_changeset(entry: &Entry, (uid, gid): (u32, u32)) -> Result<tar::Entry> {
    let path = entry.path.as_str();
    let mut made = match entry.kind {
        EntryKind::Dir => tar::Entry::dir(path),
        EntryKind::File => tar::Entry::file(path, content(entry)?),
        EntryKind::Symlink => tar::Entry::symlink(path, &entry.target),
        EntryKind::Link => return Ok(tar::Entry::hard_link(path, &entry.to)),
        EntryKind::Fifo => tar::Entry::new(path, b'6'),
        EntryKind::Chr => {
            let (major, minor) = entry.device()?;
            tar::Entry::new(path, b'3').device(major, minor)
        }
        EntryKind::Whiteout => return Ok(tar::Entry::whiteout(path)),
        EntryKind::Opaque => return Ok(tar::Entry::opaque(path)),
    };
    if entry.kind != EntryKind::Symlink {
        made = made.mode(entry.mode);
    }
    made = made.owner(uid.into(), gid.into()).mtime(MTIME, 0);
    for (key, value) in entry.attributes()? {
        if !key.starts_with(OWN) {
            made = made.xattr(key, value);
        }
    }
    Ok(made)
}

/// The owner that the entry is recorded with, or that it got when it was made by root.
fn owner(entry: &Entry, entries: &[Entry]) -> (u32, u32) {
    let directory = entry.path.rsplit_once('/').map(|(directory, _)| directory);
    let above = entries
        .iter()
        .find(|one| Some(one.path.as_str()) == directory);
    let inherited = above
        .filter(|above| above.mode & 0o2000 != 0)
        .and_then(|above| above.gid);
    (entry.uid.unwrap_or(0), entry.gid.or(inherited).unwrap_or(0))
}

/// Content without holes; a sparse file is empty at first.
fn content(entry: &Entry) -> Result<Vec<u8>> {
    if let Some((text, count)) = &entry.data_repeat {
        return Ok(text.repeat(*count).into_bytes());
    }
    if let Some(program) = &entry.data_from {
        return Ok(fs_err::read(program)?);
    }
    Ok(entry.data.as_bytes().to_vec())
}

fn write_sparse(at: &Path, size: u64, tail: &[u8]) -> Result<()> {
    let file = fs_err::OpenOptions::new().write(true).open(at)?;
    file.set_len(size)?;
    let end = size
        .checked_sub(tail.len() as u64)
        .context("a tail longer than its file")?;
    Ok(file.file().write_all_at(tail, end)?)
}

/// Writes into the branch itself what a changeset does not carry of the entry, if anything.
fn write_raw(branch: &Path, entry: &Entry) -> Result<()> {
    let at = branch.join(&entry.path);
    for (key, value) in entry.attributes()? {
        if key.starts_with(OWN) {
            rustix::fs::lsetxattr(&at, key, &value, XattrFlags::empty())?;
        }
    }
    if !is_raw(entry) {
        return Ok(());
    }
    let mode = Mode::from_raw_mode(entry.mode);
    match entry.kind {
        EntryKind::File => fs_err::write(&at, content(entry)?)?,
        EntryKind::Chr => {
            let (major, minor) = entry.device()?;
            let device = rustix::fs::makedev(major, minor);
            rustix::fs::mknodat(CWD, &at, FileType::CharacterDevice, mode, device)?;
        }
        kind => bail!("no way to write {kind:?} into a branch"),
    }
    rustix::fs::chmod(&at, mode)?;
    Ok(set_times(&at, ATIME * NANOSECONDS, MTIME * NANOSECONDS)?)
}
