//! One option struct per operation.

use crate::changeset::Item;
use crate::name::SnapshotName;
use crate::snapshot::{Bytes, Labels};
use std::sync::{Arc, Mutex};

/// What survives when the call has returned.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Data and metadata survive power loss.
    #[default]
    Durable,
    /// They survive a killed process, not power loss.
    Volatile,
}

impl Durability {
    /// The name used in output and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Volatile => "volatile",
        }
    }
}

/// Options of [`prepare`](crate::StorageDriver::prepare) and
/// [`view`](crate::StorageDriver::view).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PrepareOptions {
    /// Bytes that may be written; needs [`Capability::Quota`](crate::Capability::Quota).
    pub size_limit: Option<Bytes>,
    /// Labels of the new snapshot.
    pub labels: Labels,
}

impl PrepareOptions {
    /// Limits what may be written.
    #[must_use]
    pub fn with_size_limit(mut self, limit: Bytes) -> Self {
        self.size_limit = Some(limit);
        self
    }

    /// Sets labels.
    #[must_use]
    pub fn with_labels(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self
    }
}

/// Options of [`commit`](crate::StorageDriver::commit).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CommitOptions {
    /// Parent for a snapshot that was prepared without one; needs
    /// [`Capability::LateParent`](crate::Capability::LateParent).
    pub late_parent: Option<SnapshotName>,
    /// Labels of the committed snapshot; those of the active one are not inherited.
    pub labels: Labels,
}

impl CommitOptions {
    /// Gives the snapshot its parent now.
    #[must_use]
    pub fn with_late_parent(mut self, parent: SnapshotName) -> Self {
        self.late_parent = Some(parent);
        self
    }

    /// Sets labels.
    #[must_use]
    pub fn with_labels(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self
    }
}

/// Options of [`diff`](crate::StorageDriver::diff).
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct DiffOptions {
    /// Later modification times are lowered to this many seconds since 1970
    /// (`SOURCE_DATE_EPOCH`).
    pub clamp_mtime: Option<i64>,
}

impl DiffOptions {
    /// Lowers later modification times to `seconds`.
    #[must_use]
    pub fn with_clamp_mtime(mut self, seconds: i64) -> Self {
        self.clamp_mtime = Some(seconds);
        self
    }
}

/// Sees an applied stream pass, in order, on the thread that applies it.
///
/// All bytes of the stream reach either `raw` or `data`, in order, exactly once, so that a store
/// can put the very stream together again.
pub trait ApplyObserver: Send {
    /// Bytes that are not file content: headers, extended headers, padding, the end mark.
    fn raw(&mut self, bytes: &[u8]);
    /// An entry or whiteout was read; its content, if it is a file, follows.
    fn item(&mut self, item: &Item);
    /// Content of the file announced last, as stored in the stream.
    fn data(&mut self, bytes: &[u8]);
}

/// Options of [`apply`](crate::StorageDriver::apply).
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ApplyOptions {
    /// Sees headers and contents in the same pass.
    pub observer: Option<Arc<Mutex<dyn ApplyObserver>>>,
}

impl ApplyOptions {
    /// Adds an observer.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<Mutex<dyn ApplyObserver>>) -> Self {
        self.observer = Some(observer);
        self
    }
}

impl std::fmt::Debug for ApplyOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplyOptions")
            .field("observer", &self.observer.is_some())
            .finish()
    }
}
