//! What would be mounted, as data.

use crate::name::SnapshotName;
use std::path::PathBuf;

/// One option of a mount.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MountOption {
    /// Its key, as fsconfig(2) takes it.
    pub key: String,
    /// Its value; none for a flag.
    pub value: Option<String>,
}

impl MountOption {
    /// A flag.
    pub fn flag(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: None,
        }
    }

    /// A key with its value.
    pub fn pair(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: Some(value.into()),
        }
    }
}

/// Attributes of the mount itself, not of the file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MountFlags {
    /// Writes are refused.
    pub read_only: bool,
}

/// One mount of a plan.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MountStep {
    /// File system type as the kernel names it, or `bind` for a bind mount of `source`.
    pub fs_type: String,
    /// The source, where the type has one.
    pub source: PathBuf,
    /// Options in order; a key may come more than once (`lowerdir+`, top layer first).
    pub options: Vec<MountOption>,
    /// Attributes of the mount.
    pub flags: MountFlags,
}

/// How to see a snapshot as a directory: printed, compared, sent over a wire. Mounts nothing by
/// itself; see [`mount`](crate::mount).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MountPlan {
    /// The snapshot that this shows.
    #[serde(skip)]
    pub snapshot: SnapshotName,
    /// Mounts on one target, in order; the last one is seen.
    pub steps: Vec<MountStep>,
    /// A file or directory that whoever mounts holds a shared flock(2) on while mounted, so
    /// that commit and remove in any process know.
    pub hold: Option<PathBuf>,
}

impl MountStep {
    /// Whether the step changes the mount that the one before it made, and makes none: its first
    /// option is the flag `remount`, as in mount(8).
    pub fn is_remount(&self) -> bool {
        let first = self.options.first();
        first.is_some_and(|option| option.key == "remount" && option.value.is_none())
    }

    /// A bind mount of `source`.
    pub fn bind(source: impl Into<PathBuf>, flags: MountFlags) -> Self {
        Self {
            fs_type: "bind".into(),
            source: source.into(),
            options: Vec::new(),
            flags,
        }
    }
}
