//! What the catalogue holds, as values.

use crate::error::{Error, ErrorKind, Result};
use crate::name::SnapshotName;
use crate::snapshot::{Labels, SnapshotInfo, SnapshotKind};
use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;
use strata_sys::statmount::{MountNamespaceId, UniqueMountId};

/// The number of a snapshot within its root: counted up from 1, never given twice.
///
/// Drivers name what they make on disk after it, so that no caller's string becomes a path and
/// a reused name cannot meet what its predecessor left. (After a power loss a number whose
/// reservation was not yet on disk may come again; whatever bears it then is an orphan that
/// [`known_ids`](super::Catalog::known_ids) does not hold.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct SnapshotId(pub(super) i64);

impl SnapshotId {
    /// The number.
    pub fn get(self) -> u64 {
        self.0.unsigned_abs()
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for SnapshotId {
    type Err = Error;

    /// Reads what `Display` writes and nothing else: no sign, no leading zero.
    fn from_str(text: &str) -> Result<Self> {
        match text.parse::<i64>() {
            Ok(number) if number > 0 && !text.starts_with(['0', '+']) => Ok(Self(number)),
            _ => Err(Error::new(ErrorKind::InvalidInput, "snapshot id")
                .with("id", text.escape_debug().take(80).collect::<String>())
                .because("a snapshot id is a decimal number from 1")),
        }
    }
}

/// Where a snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It exists.
    Ready,
    /// Its name is free; what is on disk may be half deleted. Seen by nobody else.
    Removing,
}

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: SnapshotId,
    /// Its key or name; none once it is being removed.
    pub name: Option<SnapshotName>,
    /// Its kind.
    pub kind: SnapshotKind,
    /// Where it stands.
    pub state: State,
    /// The committed snapshot that it stands on.
    pub parent: Option<SnapshotId>,
    /// The parent's name.
    pub parent_name: Option<SnapshotName>,
    /// Labels.
    pub labels: Labels,
    /// When it was prepared or committed. Unix milliseconds.
    pub created_ms: i64,
    /// When its labels last changed. Unix milliseconds.
    pub updated_ms: i64,
    /// The instance that removes it.
    pub holder: Option<String>,
}

impl Row {
    /// The facts as the contract tells them; `None` for a row that is being removed.
    pub fn into_info(self) -> Option<SnapshotInfo> {
        Some(SnapshotInfo {
            name: self.name?,
            kind: self.kind,
            parent: self.parent_name,
            labels: self.labels,
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
        })
    }
}

/// What [`create`](super::Catalog::create) is to make.
#[derive(Clone, Copy, Debug)]
pub struct NewSnapshot<'a> {
    /// What it will be called.
    pub key: &'a SnapshotName,
    /// Active or a view.
    pub kind: SnapshotKind,
    /// The committed snapshot that it stands on.
    pub parent: Option<&'a SnapshotName>,
    /// Labels.
    pub labels: &'a Labels,
}

/// A snapshot that is being made.
#[derive(Debug)]
pub struct Draft {
    /// The number of the new snapshot.
    pub id: SnapshotId,
    /// Its committed parents, nearest first; empty without a parent.
    pub chain: Vec<SnapshotId>,
    claimed: Cell<bool>,
}

impl Draft {
    pub(super) fn new(id: SnapshotId, chain: Vec<SnapshotId>) -> Self {
        Self {
            id,
            chain,
            claimed: Cell::new(false),
        }
    }

    /// What is on disk under the number was made by this creation, where nothing was before. Until
    /// then nothing there is deleted, whatever fails.
    pub fn claim(&self) {
        self.claimed.set(true);
    }

    pub(super) fn is_claimed(&self) -> bool {
        self.claimed.get()
    }
}

/// What [`commit`](super::Catalog::commit) is to record.
#[derive(Clone, Copy, Debug)]
pub struct CommitRow<'a> {
    /// The active snapshot.
    pub key: &'a SnapshotName,
    /// What it is called from now on.
    pub name: &'a SnapshotName,
    /// Labels of the committed snapshot.
    pub labels: &'a Labels,
    /// A parent for a snapshot that was prepared without one.
    pub late_parent: Option<&'a SnapshotName>,
}

/// Which leftovers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// Those whose instance is gone: what a crash left.
    Abandoned,
    /// Those, and everything whose removal is recorded, by whomever.
    AbandonedOrRemoved,
}

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId {
    /// Process id in this process's namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot, field 22 of `proc_pid_stat(5)`.
    pub started: u64,
}

/// A mount that may outlive its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRow {
    /// What it shows.
    pub snapshot: SnapshotId,
    /// Where.
    pub target: PathBuf,
    /// The kernel's identity of the mount; none where the kernel has no unique ids (before 6.8).
    pub mount_id: Option<UniqueMountId>,
    /// The mount namespace that it was made in.
    pub namespace: MountNamespaceId,
    /// The boot that it was made in.
    pub boot_id: String,
    /// Who made it.
    pub holder: ProcessId,
}
