//! Every path that this driver makes. Pure.
//!
//! ```text
//! ROOT/catalog.db            snapshots
//! ROOT/snapshots/N/fs        the whole tree of an active or committed snapshot
//! ROOT/snapshots/N/active    link to `fs` while active, by which it is mounted
//! ROOT/snapshots/N/record    how the copy left each inode: what makes its diff fast
//! ROOT/snapshots/N           nothing else, and nothing at all in a view's
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
        self.snapshots().join(id.to_string())
    }

    /// The tree.
    pub(crate) fn tree(&self, id: SnapshotId) -> PathBuf {
        self.snapshot(id).join("fs")
    }

    /// The link by which an active snapshot's tree is mounted; it goes when that is committed, and
    /// with it every plan made before.
    pub(crate) fn active(&self, id: SnapshotId) -> PathBuf {
        self.snapshot(id).join("active")
    }

    /// The copy's own record.
    pub(crate) fn record(&self, id: SnapshotId) -> PathBuf {
        self.snapshot(id).join("record")
    }

    /// What a view of nothing shows.
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
        assert_eq!(layout.tree(id), Path::new("/r/snapshots/7/fs"));
        assert_eq!(layout.record(id), Path::new("/r/snapshots/7/record"));
        assert_eq!(Layout::parse("07"), None);
    }
}
