//! Every path that this driver makes. Pure.
//!
//! ```text
//! ROOT/catalog.db            snapshots, and the options that the root was made with
//! ROOT/empty/{a,b}           lower directories for mounts that have too few
//! ROOT/snapshots/N/fs        upper directory while active, lower directory once committed
//! ROOT/snapshots/N/work      overlay's work directory, while active
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

    /// Overlay's scratch space beside an active snapshot.
    pub(crate) fn work(&self, id: SnapshotId) -> PathBuf {
        self.root.join(format!("snapshots/{id}/work"))
    }

    /// The mark that a volatile mount leaves; while it is there the kernel refuses to mount.
    /// (overlayfs.rst, "Volatile mount"; the kernel repeats the component `work`.)
    pub(crate) fn volatile_mark(&self, id: SnapshotId) -> PathBuf {
        self.work(id).join("work/incompat/volatile")
    }

    /// Two empty directories, for a mount of nothing and for a view of one layer: overlay wants
    /// two lower directories when there is no upper one.
    pub(crate) fn empty(&self) -> [PathBuf; 2] {
        [self.root.join("empty/a"), self.root.join("empty/b")]
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
        assert_eq!(layout.work(id), Path::new("/r/snapshots/7/work"));
        assert_eq!(Layout::parse("7"), Some(id));
        assert_eq!(Layout::parse("new-7"), None);
    }
}
