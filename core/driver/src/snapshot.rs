//! What is said of snapshots: kinds, facts, usage, changes, digests.

use crate::name::{DriverName, SnapshotName};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

/// Which of the three kinds a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    /// Writable; can be committed.
    Active,
    /// Read-only; can be mounted and removed, never committed.
    View,
    /// Immutable; the only kind that can be a parent.
    Committed,
}

impl fmt::Display for SnapshotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::View => "view",
            Self::Committed => "committed",
        })
    }
}

/// Free text that callers attach to a snapshot.
pub type Labels = BTreeMap<String, String>;

/// Facts about one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SnapshotInfo {
    /// Its key or name.
    #[serde(serialize_with = "display")]
    pub name: SnapshotName,
    /// Its kind.
    pub kind: SnapshotKind,
    /// The committed snapshot that it stands on.
    #[serde(serialize_with = "display_option")]
    pub parent: Option<SnapshotName>,
    /// Labels, as last set.
    pub labels: Labels,
    /// When it was prepared or, if committed, committed. Unix milliseconds.
    pub created_ms: i64,
    /// When labels last changed. Unix milliseconds.
    pub updated_ms: i64,
}

impl SnapshotInfo {
    /// `created_ms` as a system time.
    pub fn created(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(self.created_ms.max(0) as u64)
    }
}

fn display<S: serde::Serializer>(value: &SnapshotName, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

#[expect(
    clippy::ref_option,
    reason = "serde calls it with a reference to the field"
)]
fn display_option<S: serde::Serializer>(
    value: &Option<SnapshotName>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(name) => to.collect_str(name),
        None => to.serialize_none(),
    }
}

/// Who a driver instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverInfo {
    /// The driver's name.
    pub name: DriverName,
    /// Where it keeps its snapshots.
    pub root: PathBuf,
    /// The durability class that this instance was opened with.
    pub durability: crate::options::Durability,
    /// Type of the file system under the root, as the kernel names it (`ext4`).
    pub backing: String,
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Bytes(pub u64);

/// A number of inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Inodes(pub u64);

/// Space held by one snapshot alone, its parents left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Allocated bytes that its removal gives back once nothing stands on it. Where the driver
    /// cannot tell `shared`, shared blocks of a reflink copy are included.
    pub bytes: Bytes,
    /// Inodes.
    pub inodes: Inodes,
    /// Bytes of its tree that its parents hold as well; none where the driver cannot tell.
    pub shared: Option<Bytes>,
}

/// What [`reclaim`](crate::StorageDriver::reclaim) gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reclaimed {
    /// Removed or half-made snapshots whose remains were deleted.
    pub snapshots: u64,
}

/// The sha256 of an uncompressed changeset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiffId([u8; 32]);

impl DiffId {
    /// Wraps a finished sha256.
    pub fn from_sha256(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The bare sha256.
    pub fn sha256(&self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for DiffId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// What an apply or a diff amounted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Applied {
    /// Digest of every byte of the stream.
    pub diff_id: DiffId,
    /// Length of the stream.
    pub size: Bytes,
    /// Entries and whiteouts in it.
    pub entries: u64,
}

/// How a path differs between two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Only the upper tree has it.
    Added,
    /// Both have it and something that counts differs; or it is an ancestor of a change.
    Modified,
    /// Only the lower tree has it; what was below it is not listed.
    Deleted,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Change {
    /// Path from the root of the tree, without a leading `/`; empty for the root. Bytes as the
    /// file system has them.
    #[serde(serialize_with = "lossy")]
    pub path: Vec<u8>,
    /// How it differs.
    pub kind: ChangeKind,
}

fn lossy<S: serde::Serializer>(path: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&String::from_utf8_lossy(path))
}
