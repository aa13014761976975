//! The catalogue: the only truth of which snapshots a driver root holds.
//!
//! One SQLite database `<root>/catalog.db` in WAL mode, used by several processes at once. An
//! operation of a driver is an intent row, then the mechanism, then the row that makes it true;
//! what a crash leaves between is found by comparing [`leftovers`](Catalog::leftovers) and
//! [`known_ids`](Catalog::known_ids) with the disk.
//!
//! # Durability
//! A durable instance syncs the log once per operation, at the transaction that makes it true;
//! intents and clean-up are not synced, since losing one only leaves something to reclaim. A
//! volatile instance syncs nothing.

mod database;
mod holder;
mod mounts;
mod query;
mod row;
mod schema;

pub use row::{CommitRow, Draft, Leftovers, MountRow, ProcessId, Row, SnapshotId, State};

use crate::error::{Error, ErrorKind, Result};
use crate::name::{DriverName, SnapshotName};
use crate::options::Durability;
use crate::snapshot::{Labels, SnapshotKind};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How a catalogue is opened.
#[derive(Clone, Copy, Debug)]
pub struct CatalogOptions<'a> {
    /// The driver whose root this is or becomes.
    pub driver: &'a DriverName,
    /// Durability class of every operation of this instance.
    pub durability: Durability,
}

/// An open catalogue; shared by reference between threads.
#[derive(Debug)]
pub struct Catalog {
    root: PathBuf,
}

impl Catalog {
    /// Opens the catalogue of `root`, or makes it in a directory that is empty or missing (its
    /// parent must exist).
    ///
    /// A root of another driver, one of a later version, and a directory that holds anything
    /// else are [`ErrorKind::InvalidInput`], and nothing is made. A damaged file is
    /// [`ErrorKind::Corrupt`].
    pub fn open(root: &Path, options: &CatalogOptions<'_>) -> Result<Self> {
        todo!()
    }
    /// The driver that `root` belongs to; none where there is no catalogue.
    pub fn peek(root: &Path) -> Result<Option<DriverName>> {
        todo!()
    }
    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// A value that the driver recorded about its root.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        todo!()
    }
    /// Records a value about the root, durably.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        todo!()
    }
    /// Reserves `key` and records the intent, unsynced.
    pub fn begin_create(
        &self,
        key: &SnapshotName,
        kind: SnapshotKind,
        parent: Option<&SnapshotName>,
        labels: &Labels,
    ) -> Result<Draft> {
        todo!()
    }
    /// Makes a created snapshot true; the commit point of prepare and view.
    pub fn finish_create(&self, id: SnapshotId) -> Result<()> {
        todo!()
    }
    /// Forgets a creation; call it after what was made on disk is gone.
    pub fn abandon_create(&self, id: SnapshotId) -> Result<()> {
        todo!()
    }
    /// Makes an active snapshot a committed one under a new name (same id); the commit point.
    pub fn commit(&self, commit: &CommitRow<'_>) -> Result<Row> {
        todo!()
    }
    /// Frees the name of a snapshot without children and marks it for deletion; the commit point.
    pub fn begin_remove(&self, name: &SnapshotName) -> Result<Row> {
        todo!()
    }
    /// Forgets a removed snapshot; call it after what was on disk is gone.
    pub fn finish_remove(&self, id: SnapshotId) -> Result<()> {
        todo!()
    }
    /// The snapshot of that name.
    pub fn get(&self, name: &SnapshotName) -> Result<Row> {
        todo!()
    }
    /// The snapshot and its parents, nearest first, itself included.
    pub fn chain(&self, name: &SnapshotName) -> Result<Vec<SnapshotId>> {
        todo!()
    }
    /// All snapshots that exist, by name.
    pub fn list(&self) -> Result<Vec<Row>> {
        todo!()
    }
    /// Replaces labels.
    pub fn set_labels(&self, name: &SnapshotName, labels: &Labels) -> Result<()> {
        todo!()
    }
    /// Half-made and half-removed snapshots.
    pub fn leftovers(&self, which: Leftovers) -> Result<Vec<Row>> {
        todo!()
    }
    /// Every id in any state. Read it after scanning the disk: what was seen there and is not in
    /// it is an orphan.
    pub fn known_ids(&self) -> Result<BTreeSet<SnapshotId>> {
        todo!()
    }
    /// Records a mount that may outlive this process.
    pub fn record_mount(&self, mount: &MountRow) -> Result<()> {
        todo!()
    }
    /// Forgets the mounts recorded on `target`.
    pub fn forget_mount(&self, target: &Path) -> Result<()> {
        todo!()
    }
    /// The recorded mounts of a snapshot, confirmed or not.
    pub fn mounts_of(&self, id: SnapshotId) -> Result<Vec<MountRow>> {
        todo!()
    }
    /// A recorded mount that the kernel confirms; refuted rows are deleted. Ask it while holding
    /// the plan's hold path exclusively ([`mount::hold`](crate::mount::hold)).
    pub fn is_mounted(&self, id: SnapshotId) -> Result<Option<MountRow>> {
        todo!()
    }
}
