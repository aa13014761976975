//! Every path that this driver makes. Pure.
//!
//! ```text
//! ROOT/catalog.db            snapshots
//! ROOT/empty                 the branch of a view of nothing
//! ROOT/snapshots/N/fs        the branch: writable while active, read only once committed
//! ROOT/snapshots/N/xino/log  inode numbers of copies, while active
//! ```

use std::path::{Path, PathBuf};
use strata_driver::catalog::SnapshotId;

/// Paths below one root.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The directory that holds one directory per snapshot.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// The directory of one snapshot; whoever mounts it holds a lock on this.
    pub(crate) fn snapshot(&self, id: SnapshotId) -> PathBuf {
        self.root.join(format!("snapshots/{id}"))
    }

    /// What the snapshot changes.
    pub(crate) fn upper(&self, id: SnapshotId) -> PathBuf {
        self.root.join(format!("snapshots/{id}/fs"))
    }

    /// The directory of the numbers of what was copied up in an active snapshot. It goes at commit,
    /// so that no plan of the active snapshot mounts any more.
    pub(crate) fn numbers(&self, id: SnapshotId) -> PathBuf {
        self.root.join(format!("snapshots/{id}/xino"))
    }

    /// The file of those.
    pub(crate) fn xino(&self, id: SnapshotId) -> PathBuf {
        self.root.join(format!("snapshots/{id}/xino/log"))
    }

    /// An empty directory, for a mount of nothing.
    pub(crate) fn empty(&self) -> PathBuf {
        self.root.join("empty")
    }

    /// The snapshot whose directory is called `name`, if it is one.
    pub(crate) fn parse(name: &str) -> Option<SnapshotId> {
        name.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_snapshot_lie_in_its_directory() {
        let layout = Layout::new(Path::new("/r"));
        let id: SnapshotId = "7".parse().unwrap();
        assert_eq!(layout.upper(id), Path::new("/r/snapshots/7/fs"));
        assert_eq!(layout.xino(id), Path::new("/r/snapshots/7/xino/log"));
        assert_eq!(Layout::parse("7"), Some(id));
        assert_eq!(Layout::parse("new-7"), None);
    }
}
