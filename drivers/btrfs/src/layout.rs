//! Every path that this driver makes. Pure.
//!
//! ```text
//! ROOT/catalog.db            snapshots
//! ROOT/backing.img           a btrfs in a file, where the root is not on btrfs,
//! ROOT/pool                  and where it is mounted; what follows is then below it
//! ROOT/snapshots/N/fs        a subvolume: the tree of an active snapshot
//! ROOT/snapshots/N/layer     a read-only subvolume: the tree of a committed one
//! ROOT/snapshots/N           nothing else, and nothing at all in a view's
//! ROOT/moments/PID-K/fs      a read-only subvolume: an active snapshot while it is diffed
//! ROOT/empty                 what a view of nothing shows
//! ```

use std::path::{Path, PathBuf};
use strata_driver::catalog::SnapshotId;

/// Paths below one root.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    pool: PathBuf,
}

impl Layout {
    /// The subvolumes that may be in a snapshot's directory.
    pub(crate) const SUBVOLUMES: [&'static str; 3] = ["fs", "layer", "new"];

    /// The layout of a root that lies on btrfs.
    pub(crate) fn direct(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            pool: root.to_owned(),
        }
    }

    /// The layout of a root with a btrfs of its own in a file.
    pub(crate) fn in_file(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            pool: root.join("pool"),
        }
    }

    /// The root itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory on btrfs that holds all but the catalogue.
    pub(crate) fn pool(&self) -> &Path {
        &self.pool
    }

    /// The file that holds a btrfs.
    pub(crate) fn backing(&self) -> PathBuf {
        self.root.join("backing.img")
    }

    /// The directory that holds one directory per snapshot.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.pool.join("snapshots")
    }

    /// The directory of one snapshot; whoever mounts it holds a lock on this.
    pub(crate) fn snapshot(&self, id: SnapshotId) -> PathBuf {
        self.pool.join(format!("snapshots/{id}"))
    }

    /// The tree of an active snapshot.
    pub(crate) fn active(&self, id: SnapshotId) -> PathBuf {
        self.pool.join(format!("snapshots/{id}/fs"))
    }

    /// The tree of a committed snapshot.
    pub(crate) fn layer(&self, id: SnapshotId) -> PathBuf {
        self.pool.join(format!("snapshots/{id}/layer"))
    }

    /// The tree of an active snapshot that was lost, while it is made again.
    pub(crate) fn made_again(&self, id: SnapshotId) -> PathBuf {
        self.pool.join(format!("snapshots/{id}/new"))
    }

    /// Where snapshots for a moment are made.
    pub(crate) fn moments(&self) -> PathBuf {
        self.pool.join("moments")
    }

    /// What a view of nothing shows.
    pub(crate) fn empty(&self) -> PathBuf {
        self.pool.join("empty")
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
        let id: SnapshotId = "7".parse().unwrap();
        let direct = Layout::direct(Path::new("/r"));
        assert_eq!(direct.active(id), Path::new("/r/snapshots/7/fs"));
        assert_eq!(direct.layer(id), Path::new("/r/snapshots/7/layer"));
        let in_file = Layout::in_file(Path::new("/r"));
        assert_eq!(in_file.snapshot(id), Path::new("/r/pool/snapshots/7"));
        assert_eq!(in_file.backing(), Path::new("/r/backing.img"));
        assert_eq!(Layout::parse("07"), None);
    }
}
