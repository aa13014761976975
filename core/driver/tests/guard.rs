//! Keeping others out of a snapshot, when the snapshot changes between the look and the lock.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use strata_driver::catalog::{
    Catalog, CatalogOptions, CommitRow, Draft, NewSnapshot, Row, SnapshotId,
};
use strata_driver::mount::MountTable;
use strata_driver::{
    DriverName, Durability, ErrorKind, Labels, MountFlags, MountPlan, MountStep, SnapshotKind,
    SnapshotName, guard,
};

struct Bench {
    directory: tempfile::TempDir,
    catalog: Catalog,
}

fn name(text: &str) -> SnapshotName {
    SnapshotName::new(text).unwrap()
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = CatalogOptions {
            driver: &DriverName::new("test").unwrap(),
            durability: Durability::Volatile,
        };
        let catalog = Catalog::open(&directory.path().join("root"), &options).unwrap();
        Self { directory, catalog }
    }

    fn home(&self, id: SnapshotId) -> PathBuf {
        self.directory.path().join(id.to_string())
    }

    fn active(&self, key: &str) -> Row {
        let labels = Labels::new();
        let new = NewSnapshot {
            key: &name(key),
            kind: SnapshotKind::Active,
            parent: None,
            labels: &labels,
        };
        let make = |draft: &Draft| {
            fs_err::create_dir(self.home(draft.id)).unwrap();
            Ok(())
        };
        self.catalog.create(&new, make, |_| Ok(())).unwrap();
        self.catalog.get(&name(key)).unwrap()
    }

    fn commit(&self, key: &str, to: &str) {
        let commit = CommitRow {
            key: &name(key),
            name: &name(to),
            labels: &Labels::new(),
            late_parent: None,
        };
        self.catalog.commit(&commit).unwrap();
    }

    fn refusal(&self, row: &Row) -> ErrorKind {
        let taken = guard::exclusive(&self.catalog, row, &self.home(row.id), "apply");
        taken.unwrap_err().kind()
    }
}

#[test]
fn a_snapshot_committed_since_the_look_is_not_written_to() {
    let bench = Bench::new();
    let row = bench.active("key");
    bench.commit("key", "layer");
    assert_eq!(bench.refusal(&row), ErrorKind::NotFound);
    // The key is used again, for another snapshot.
    bench.active("key");
    assert_eq!(bench.refusal(&row), ErrorKind::InvalidState);
    // The layer bears the name that the key had.
    let row = bench.active("same");
    bench.commit("same", "other");
    let layer = bench.catalog.get(&name("other")).unwrap();
    let row = Row {
        name: layer.name,
        ..row
    };
    assert_eq!(bench.refusal(&row), ErrorKind::InvalidState);
}

#[test]
fn a_snapshot_whose_directory_was_lost_can_be_removed() {
    let bench = Bench::new();
    let row = bench.active("key");
    fs_err::remove_dir(bench.home(row.id)).unwrap();
    assert_eq!(bench.refusal(&row), ErrorKind::NotFound);
    let lock = guard::begin_remove(&bench.catalog, &row, &bench.home(row.id)).unwrap();
    drop(lock);
    assert!(!bench.catalog.exists(row.id).unwrap());
}

#[test]
fn what_is_removed_while_it_is_read_is_not_taken_for_whole() {
    let bench = Bench::new();
    bench.active("key");
    let reading = guard::Reading::begin(&bench.catalog, [&name("key")]).unwrap();
    bench.commit("key", "layer");
    reading.confirm(&bench.catalog, "diff").unwrap();
    bench.catalog.begin_remove(&name("layer")).unwrap();
    let refused = reading.confirm(&bench.catalog, "diff").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
}

#[test]
fn a_removal_that_comes_second_leaves_no_directory() {
    let bench = Bench::new();
    let row = bench.active("key");
    fs_err::remove_dir(bench.home(row.id)).unwrap();
    bench.catalog.begin_remove(&name("key")).unwrap();
    let second = guard::begin_remove(&bench.catalog, &row, &bench.home(row.id));
    assert_eq!(second.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!bench.home(row.id).exists());
}

/// Whoever is refused because of somebody else does not take away what that one is about to fill.
#[test]
fn a_directory_made_again_stays_where_the_snapshot_is_in_use() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let bench = Bench::new();
    let row = bench.active("key");
    let target = bench.directory.path().join("target");
    fs_err::create_dir(&target).unwrap();
    let plan = MountPlan {
        snapshot: name("key"),
        steps: vec![MountStep::bind(bench.home(row.id), MountFlags::default())],
        hold: None,
    };
    let mounts = MountTable::open(bench.catalog.root()).unwrap();
    mounts.mount_and_record(&plan, &target).unwrap();
    fs_err::remove_dir(bench.home(row.id)).unwrap();
    let refused = guard::begin_remove(&bench.catalog, &row, &bench.home(row.id));
    let stays = bench.home(row.id).exists();
    mounts.unmount_recorded(&target).unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InUse);
    assert!(
        stays,
        "the directory went, with whatever somebody puts there"
    );
    drop(guard::begin_remove(&bench.catalog, &row, &bench.home(row.id)).unwrap());
}
