//! The catalogue: the only truth of which snapshots a driver root holds.
//!
//! One SQLite database `<root>/catalog.db` in WAL mode, used by several processes at once. An
//! operation of a driver is an intent, then the mechanism, then the row that makes it true; what a
//! crash leaves between is found by comparing [`leftovers`](Catalog::leftovers) and
//! [`known_ids`](Catalog::known_ids) with the disk. The intent of a removal is a row; that of a
//! creation is a number, reserved ahead by its instance.
//!
//! # Durability
//! A durable instance syncs the log once per operation, at the transaction that makes it true;
//! intents and clean-up are not synced, since losing one only leaves something to reclaim. A
//! volatile instance syncs nothing but a checkpoint in thousands of operations.

mod create;
mod mounts;
mod query;
mod row;
mod schema;

pub use create::KnownIds;
pub use row::{
    CommitRow, Draft, Leftovers, MountRow, NewSnapshot, ProcessId, Row, SnapshotId, State,
};

use crate::database::{Database, Fault, Sync};
use crate::error::{Error, ErrorKind, Result};
use crate::holder::{self, Holder};
use crate::name::{DriverName, SnapshotName};
use crate::options::Durability;
use crate::snapshot::{Labels, SnapshotKind};
use rusqlite::Connection;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Longest path of a root, in bytes.
pub const LONGEST_ROOT: usize = 480;

/// How a catalogue is opened.
#[derive(Clone, Copy, Debug)]
pub struct CatalogOptions<'a> {
    /// The driver whose root this is or becomes.
    pub driver: &'a DriverName,
    /// Durability class of every operation of this instance.
    pub durability: Durability,
}

fn check_length(root: &Path) -> Result<()> {
    let length = root.as_os_str().len();
    if length <= LONGEST_ROOT {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, "open root")
        .because(format!("the path of the root is {length} bytes long"))
        .hint(format!("choose a root of at most {LONGEST_ROOT} bytes")))
}

/// An open catalogue; shared by reference between threads.
///
/// Every call is one short blocking transaction. Errors name the operation and the snapshot;
/// [`ErrorKind::Busy`] means that another process kept the database locked for ten seconds.
#[derive(Debug)]
pub struct Catalog {
    root: PathBuf,
    database: Database,
    holder: OnceLock<Holder>,
    memory: Mutex<Memory>,
    /// Held by the thread that reserves numbers.
    reserving: Mutex<()>,
}

/// What this instance remembers between transactions.
#[derive(Debug, Default)]
struct Memory {
    /// Parents of committed snapshots, nearest first, each itself included. They never change,
    /// and numbers are never given twice, so that what stands here stays true.
    chains: HashMap<SnapshotId, Vec<SnapshotId>>,
    /// Removed snapshots of which nothing is on disk any more: their rows go with the next
    /// creation. A row that a crash leaves is found by recovery, which finds nothing to delete.
    finished: Vec<SnapshotId>,
    numbers: create::Numbers,
}

/// What [`Catalog::glance`] sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance {
    /// The name still stands for the same snapshot, of the same kind.
    pub(crate) is_same: bool,
    /// Mounts of it are recorded, confirmed or not.
    pub(crate) has_mounts: bool,
}

/// Chains remembered at most.
const CHAINS: usize = 1024;
/// Removed snapshots whose rows wait at most.
const FINISHED: usize = 64;

impl Catalog {
    /// Opens the catalogue of `root`, or makes it in a directory that is empty or missing (its
    /// parent must exist).
    ///
    /// A root of another driver, one of a later version, and a directory that holds anything
    /// else are [`ErrorKind::InvalidInput`], and nothing is made. A damaged file is
    /// [`ErrorKind::Corrupt`].
    ///
    /// `root` may be 480 bytes long: `SQLite` takes paths of at most 512 (`MAX_PATHNAME` in its
    /// `os_unix.c`).
    pub fn open(root: &Path, options: &CatalogOptions<'_>) -> Result<Self> {
        check_length(root)?;
        let catalog = Self {
            root: root.to_owned(),
            database: schema::open(root, options)?,
            holder: OnceLock::new(),
            memory: Mutex::default(),
            reserving: Mutex::default(),
        };
        holder::sweep(root)?;
        catalog.sweep_mounts()?;
        catalog.sweep_reservations()?;
        Ok(catalog)
    }

    /// The driver that `root` belongs to; none where there is no catalogue, or no directory.
    pub fn peek(root: &Path) -> Result<Option<DriverName>> {
        check_length(root)?;
        schema::peek(root)
    }

    /// The directory that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A value that the driver recorded about its root.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        let key = format!("{}{key}", schema::OPTION_PREFIX);
        self.database.query("read option", |connection| {
            Ok(query::meta(connection, &key)?)
        })
    }

    /// Records a value about the root.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        let key = format!("{}{key}", schema::OPTION_PREFIX);
        self.database
            .write("record option", Sync::Now, |connection| {
                Ok(query::set_meta(connection, &key, value)?)
            })
    }

    /// Makes an active snapshot a committed one under a new name, with the same number: the
    /// commit point of commit.
    ///
    /// An unknown key is [`ErrorKind::NotFound`], one that is not active
    /// [`ErrorKind::InvalidState`], a name in use [`ErrorKind::AlreadyExists`]; a late parent is
    /// refused like one of [`create`](Self::create), and is
    /// [`ErrorKind::InvalidState`] for a snapshot that has a parent. Gives the row as it is now.
    pub fn commit(&self, commit: &CommitRow<'_>) -> Result<Row> {
        self.database.write("commit", Sync::Now, |connection| {
            let mut row = query::get(connection, commit.key)?;
            if row.kind != SnapshotKind::Active {
                return Err(refused(
                    ErrorKind::InvalidState,
                    format!("its kind is `{}`, not `active`", row.kind),
                    ("key", commit.key),
                ));
            }
            if let Some(name) = commit.late_parent {
                if row.parent.is_some() {
                    return Err(refused(
                        ErrorKind::InvalidState,
                        "it has a parent already".to_owned(),
                        ("key", commit.key),
                    ));
                }
                row.parent = Some(query::parent(connection, name)?);
                row.parent_name = Some(name.clone());
            }
            if query::is_taken(connection, commit.name)? {
                return Err(taken("name", commit.name));
            }
            let now = query::now_ms();
            connection
                .prepare_cached(
                    "UPDATE snapshot SET name = ?2, kind = 3, parent = ?3, labels = ?4, \
                     created_ms = ?5, updated_ms = ?5 WHERE id = ?1",
                )?
                .execute((
                    row.id.0,
                    commit.name.as_str(),
                    row.parent.map(|parent| parent.0),
                    query::labels_text(commit.labels),
                    now,
                ))?;
            Ok(Row {
                name: Some(commit.name.clone()),
                kind: SnapshotKind::Committed,
                labels: commit.labels.clone(),
                created_ms: now,
                updated_ms: now,
                ..row
            })
        })
    }

    /// Frees the name of a snapshot and marks it for deletion: the commit point of remove.
    ///
    /// An unknown name is [`ErrorKind::NotFound`], a snapshot that others stand on
    /// [`ErrorKind::InUse`]. Gives the row as it was. Follow with
    /// [`finish_remove`](Self::finish_remove), now or in a reclaim.
    pub fn begin_remove(&self, name: &SnapshotName) -> Result<Row> {
        let holder = self.holder()?;
        self.database.write("remove", Sync::Now, |connection| {
            let row = query::get(connection, name)?;
            if query::mark_removing(connection, row.id, holder)? {
                return Ok(row);
            }
            let child = query::a_child(connection, row.id)?.unwrap_or_default();
            Err(Fault::Refused(
                Error::new(ErrorKind::InUse, "remove")
                    .because("another snapshot stands on it")
                    .with("name", name)
                    .with("child", child)
                    .hint("remove what stands on it first"),
            ))
        })
    }

    /// [`begin_remove`](Self::begin_remove) in one statement, if nothing is in the way: `row` is
    /// still true, nothing stands on it, and no mount of it is recorded. Otherwise false, and
    /// nothing is changed.
    pub(crate) fn try_begin_remove(&self, row: &Row) -> Result<bool> {
        let holder = self.holder()?;
        self.database.write("remove", Sync::Now, |connection| {
            Ok(query::mark_removing_unmounted(connection, row, holder)?)
        })
    }

    /// Forgets a removed snapshot; call it after what was on disk is gone. Idempotent.
    pub fn finish_remove(&self, id: SnapshotId) -> Result<()> {
        let waiting = {
            let mut memory = self.memory();
            memory.finished.push(id);
            memory.finished.len()
        };
        if waiting < FINISHED {
            Ok(())
        } else {
            self.forget_finished()
        }
    }

    /// Deletes the rows of what is removed and gone.
    fn forget_finished(&self) -> Result<()> {
        let finished = self.memory().finished.clone();
        if finished.is_empty() {
            return Ok(());
        }
        self.database
            .write("forget snapshots", Sync::Later, |connection| {
                Ok(query::forget(connection, &finished)?)
            })?;
        self.memory().finished.retain(|id| !finished.contains(id));
        Ok(())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // What it holds is true after any panic.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain of a committed snapshot, itself included.
    fn chain_of(
        &self,
        connection: &Connection,
        committed: SnapshotId,
    ) -> Result<Vec<SnapshotId>, Fault> {
        if let Some(chain) = self.memory().chains.get(&committed) {
            return Ok(chain.clone());
        }
        let chain = query::chain(connection, committed)?;
        let mut memory = self.memory();
        if memory.chains.len() >= CHAINS {
            memory.chains.clear();
        }
        memory.chains.insert(committed, chain.clone());
        Ok(chain)
    }

    /// The committed snapshots that `row` stands on, nearest first.
    pub fn parents(&self, row: &Row) -> Result<Vec<SnapshotId>> {
        match row.parent {
            None => Ok(Vec::new()),
            Some(parent) => self
                .database
                .query("read chain", |connection| self.chain_of(connection, parent)),
        }
    }

    /// The snapshots whose changes make up what `row` shows, top first; a view has none of its own.
    pub fn layers(&self, row: &Row) -> Result<Vec<SnapshotId>> {
        let mut layers = self.parents(row)?;
        if row.kind != SnapshotKind::View {
            layers.insert(0, row.id);
        }
        Ok(layers)
    }

    /// The snapshot of that name, or [`ErrorKind::NotFound`].
    pub fn get(&self, name: &SnapshotName) -> Result<Row> {
        self.database
            .query("stat", |connection| query::get(connection, name))
    }

    /// Whether the snapshot of that number exists, under whatever name.
    pub fn exists(&self, id: SnapshotId) -> Result<bool> {
        self.database
            .query("stat", |connection| Ok(query::is_ready(connection, id)?))
    }

    /// Whether `row` is still true, and whether mounts of it may be recorded, in one question; the
    /// snapshot of that name being gone is [`ErrorKind::NotFound`]. Of a row without a name, being
    /// removed, nothing can become untrue.
    pub(crate) fn glance(&self, row: &Row) -> Result<Glance> {
        let Some(name) = &row.name else {
            return Ok(Glance {
                is_same: true,
                has_mounts: true,
            });
        };
        self.database.query("stat", |connection| {
            let now = query::glance(connection, name)?.ok_or_else(|| query::absent(name))?;
            Ok(Glance {
                is_same: (now.0, now.1) == (row.id, query::kind_number(row.kind)),
                has_mounts: now.2,
            })
        })
    }

    /// The snapshot of that name and its parents, nearest first, itself included.
    pub fn chain(&self, name: &SnapshotName) -> Result<Vec<SnapshotId>> {
        self.database.read("read chain", |connection| {
            let row = query::get(connection, name)?;
            query::chain(connection, row.id)
        })
    }

    /// All snapshots that exist, in order of their names.
    pub fn list(&self) -> Result<Vec<Row>> {
        self.database
            .query("list", |connection| Ok(query::list(connection)?))
    }

    /// Replaces the labels of a snapshot, or [`ErrorKind::NotFound`].
    pub fn set_labels(&self, name: &SnapshotName, labels: &Labels) -> Result<()> {
        self.database.write("relabel", Sync::Now, |connection| {
            let changed = connection
                .prepare_cached(
                    "UPDATE snapshot SET labels = ?2, updated_ms = max(?3, created_ms) \
                     WHERE name = ?1 AND state = 1",
                )?
                .execute((name.as_str(), query::labels_text(labels), query::now_ms()))?;
            if changed == 1 {
                return Ok(());
            }
            Err(query::absent(name))
        })
    }

    /// Half-removed snapshots, by number. After what they left on disk is gone, each is forgotten
    /// with [`finish_remove`](Self::finish_remove).
    pub fn leftovers(&self, which: Leftovers) -> Result<Vec<Row>> {
        self.forget_finished()?;
        let rows = self.database.query("list leftovers", |connection| {
            Ok(query::unfinished(connection)?)
        })?;
        let mut left = Vec::new();
        for row in rows {
            if which == Leftovers::AbandonedOrRemoved || self.is_abandoned(&row)? {
                left.push(row);
            }
        }
        Ok(left)
    }

    /// This instance's name; it is registered by the first operation that leaves an intent.
    fn holder(&self) -> Result<&str> {
        if let Some(holder) = self.holder.get() {
            return Ok(holder.name());
        }
        let new = Holder::register(&self.root)?;
        // Another thread may have been first; then the new one ends here.
        Ok(self.holder.get_or_init(|| new).name())
    }

    fn is_abandoned(&self, row: &Row) -> Result<bool> {
        match row.holder.as_deref() {
            Some(name) if self.is_own(name) => Ok(false),
            Some(name) => holder::is_gone(&self.root, name),
            None => Ok(true),
        }
    }

    fn is_own(&self, holder: &str) -> bool {
        self.holder.get().is_some_and(|own| own.name() == holder)
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        let Some(holder) = self.holder.get() else {
            return;
        };
        let finished = std::mem::take(&mut self.memory().finished);
        let tidied = self.database.write("close", Sync::Later, |connection| {
            query::give_all_back(connection, holder.name())?;
            Ok(query::forget(connection, &finished)?)
        });
        if let Err(error) = tidied {
            tracing::debug!(error = %error.chain(), "this instance's rows left to recovery");
        }
    }
}

fn taken(what: &'static str, name: &SnapshotName) -> Fault {
    Fault::Refused(
        Error::new(ErrorKind::AlreadyExists, "catalogue")
            .because("a snapshot is called so")
            .with(what, name)
            .hint("choose another name, or remove that snapshot first"),
    )
}

fn refused(kind: ErrorKind, why: String, (what, name): (&'static str, &SnapshotName)) -> Fault {
    Fault::Refused(Error::new(kind, "catalogue").because(why).with(what, name))
}
