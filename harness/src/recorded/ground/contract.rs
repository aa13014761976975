//! Makes a scenario's branches from layers, as the contract makes them.
//!
//! A changeset carries what it can. It knows no access times and no holes, which are given
//! through a mount; and what means something of its own in a changeset (names that begin with
//! `.wh.`, devices 0:0, overlay's own attributes) goes straight into the branch, as it did when
//! the recordings were made.

use super::{ATIME, Laid, MTIME, NANOSECONDS, NotExpressible, Ready, seconds_now};
use crate::context::{Context, Setting};
use crate::live::Live;
use crate::recorded::branches::Branches;
use crate::recorded::data::{Entry, EntryKind, ReadOnly, Scenario};
use crate::recorded::perform::set_times;
use crate::runner::remove_place;
use crate::tar;
use anyhow::{Context as _, Result, bail};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use std::path::{Path, PathBuf};
use strata_driver::{Error, ErrorKind, MountPlan, SnapshotName};

/// A driver, opened.
pub(super) struct Contract {
    context: Context,
    place: PathBuf,
}

impl Contract {
    pub(super) fn open(setting: &Setting, place: &Path) -> Result<Self> {
        Ok(Self {
            context: Context::new(setting, place.to_owned()).context("open the driver")?,
            place: place.to_owned(),
        })
    }
}

impl Ready for Contract {
    fn lay<'a>(&'a mut self, scenario: &'a Scenario) -> Result<Box<dyn Laid + 'a>> {
        if let Some(reason) = not_expressible(scenario) {
            return Err(NotExpressible(reason).into());
        }
        let context = &mut self.context;
        let snapshot =
            active(context, scenario).map_err(|error| lacking(error, "make the branches"))?;
        Ok(Box::new(Active {
            context,
            snapshot,
            scenario,
        }))
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.context.shut().context("close the driver")?;
        drop(self.context);
        remove_place(&self.place)
    }
}

/// An active snapshot.
struct Active<'a> {
    context: &'a mut Context,
    snapshot: SnapshotName,
    scenario: &'a Scenario,
}

impl Active<'_> {
    fn plan(&self) -> Result<MountPlan> {
        let driver = self.context.driver();
        let mut plan = self.context.wait(driver.mounts(&self.snapshot))?;
        if let (Some(ReadOnly::Yes), Some(step)) =
            (self.scenario.mount.flags, plan.steps.last_mut())
        {
            step.flags.read_only = true;
        }
        Ok(plan)
    }
}

impl Laid for Active<'_> {
    fn branches(&self) -> Result<Branches> {
        Ok(Branches::of(&self.plan()?))
    }

    fn mount(&mut self) -> Result<Live> {
        Live::new(&self.plan()?, self.context.path("live"))
    }
}

/// A changeset that the driver refuses is none that it can be given.
fn lacking(error: anyhow::Error, step: &'static str) -> anyhow::Error {
    match error.downcast_ref::<Error>().map(Error::kind) {
        Some(ErrorKind::InvalidInput) => NotExpressible(format!("{error:#}")).into(),
        _ => error.context(step),
    }
}

/// Why a scenario cannot be put to any driver, if so.
fn not_expressible(scenario: &Scenario) -> Option<String> {
    let mount = &scenario.mount;
    let asks = [
        (
            "permissions of lower branches",
            mount.aufs_lower_perm.is_some(),
        ),
        (
            "permissions of the writable branch",
            mount.aufs_upper_perm.is_some(),
        ),
        ("a mount option", mount.aufs_opts.is_some()),
        ("another place for inode numbers", mount.aufs_xino.is_some()),
    ];
    if let Some((what, _)) = asks.iter().find(|(_, asked)| *asked) {
        return Some(format!("no driver is told {what}"));
    }
    let bytes = mount.upper_tmpfs_bytes?;
    Some(format!(
        "no driver puts its writable branch on a tmpfs of {bytes} bytes"
    ))
}

/// An active snapshot that is the scenario's writable branch on its lower ones.
fn active(context: &mut Context, scenario: &Scenario) -> Result<SnapshotName> {
    let mut parent = None;
    for (number, entries) in scenario.layers.iter().enumerate().rev() {
        let layer = branch(context, parent.as_ref(), entries, (ATIME, MTIME))
            .and_then(|key| context.commit_fresh(&key))
            .with_context(|| format!("layer {}", number + 1))?;
        parent = Some(layer);
    }
    let times = if scenario.upper_init.is_empty() {
        // A branch that was made for the run, and nothing in it.
        let now = seconds_now();
        (now, now)
    } else {
        (ATIME, MTIME)
    };
    branch(context, parent.as_ref(), &scenario.upper_init, times).context("the writable branch")
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
            entry.write_sparse(&at)?;
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
        EntryKind::File => tar::Entry::file(path, entry.content()?),
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
        EntryKind::File => fs_err::write(&at, entry.content()?)?,
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
