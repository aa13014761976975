//! What only this driver does: subvolumes inside snapshots, half commits, a file that grows.
//! Root only; everything lies in a file in memory.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use rustix::fs::{Mode, OFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_btrfs::BtrfsFactory;
use strata_driver::mount::mount;
use strata_driver::{
    Availability, CommitOptions, DriverFactory, ErrorKind, Host, OpenOptions, PrepareOptions,
    SnapshotName, StorageDriver,
};
use strata_sys::btrfs;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A driver in a root of its own.
struct Ground {
    runtime: Runtime,
    driver: Option<Arc<dyn StorageDriver>>,
    options: OpenOptions,
    // Dropped last.
    directory: TempDir,
}

impl Ground {
    /// None, and why on stderr, where the driver does not run.
    fn new(settings: &[(&str, &str)]) -> Option<Self> {
        let directory = tempfile::Builder::new()
            .prefix("strata-test-")
            .tempdir_in("/dev/shm")
            .unwrap();
        let root = directory.path().join("root");
        if let Availability::Unavailable(missing) = BtrfsFactory.probe(&Host::probe(), &root) {
            eprintln!("skipped: {}", missing.missing);
            return None;
        }
        let mut options = OpenOptions::new(&root);
        for (key, value) in settings {
            options = options.with_setting(*key, *value);
        }
        let mut ground = Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
            driver: None,
            options,
            directory,
        };
        ground.open();
        Some(ground)
    }

    fn open(&mut self) {
        let driver = BtrfsFactory.open(&self.options, &Host::probe()).unwrap();
        self.driver = Some(driver);
    }

    fn reopen(&mut self) {
        self.close();
        self.open();
    }

    fn close(&mut self) {
        if let Some(driver) = self.driver.take() {
            self.wait(driver.close()).unwrap();
        }
    }

    fn driver(&self) -> &dyn StorageDriver {
        self.driver.as_deref().unwrap()
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn prepare(&self, key: &SnapshotName, parent: Option<&SnapshotName>) {
        let options = PrepareOptions::default();
        self.wait(self.driver().prepare(key, parent, &options))
            .unwrap();
    }

    fn commit(&self, key: &SnapshotName, name: &SnapshotName) -> strata_driver::Result<()> {
        let options = CommitOptions::default();
        self.wait(self.driver().commit(key, name, &options))
    }

    fn edit(&self, key: &SnapshotName, edit: impl FnOnce(&Path)) {
        let target = self.directory.path().join("target");
        fs_err::create_dir_all(&target).unwrap();
        let plan = self.wait(self.driver().mounts(key)).unwrap();
        let mounted = mount(&plan, &target).unwrap();
        edit(&target);
        mounted.unmount().unwrap();
    }

    fn pool(&self) -> PathBuf {
        self.options.root.join("pool")
    }

    /// Names of what is in the directory of the only snapshot.
    fn names(&self) -> Vec<String> {
        let mut homes = fs_err::read_dir(self.pool().join("snapshots")).unwrap();
        let home = homes.next().unwrap().unwrap().path();
        let mut names: Vec<_> = fs_err::read_dir(home)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn home(&self) -> PathBuf {
        let mut homes = fs_err::read_dir(self.pool().join("snapshots")).unwrap();
        homes.next().unwrap().unwrap().path()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.close();
    }
}

fn name(text: &str) -> SnapshotName {
    SnapshotName::new(text).unwrap()
}

fn subvolume(path: &Path) {
    btrfsutil::subvolume::Subvolume::create(path, None).unwrap();
}

#[test]
fn nested_subvolumes_refuse_a_commit_and_go_with_the_snapshot() {
    let Some(ground) = Ground::new(&[]) else {
        return;
    };
    let key = name("key");
    ground.prepare(&key, None);
    ground.edit(&key, |root| {
        fs_err::create_dir_all(root.join("a/b")).unwrap();
        subvolume(&root.join("a/b/inner"));
        subvolume(&root.join("a/b/inner/innermost"));
        fs_err::write(root.join("a/b/inner/innermost/f"), "1").unwrap();
    });
    let refused = ground.commit(&key, &name("layer")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidState);
    assert!(refused.to_string().contains("a/b/inner"), "{refused}");
    let refused = ground.wait(ground.driver().changes(None, &key));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(ground.names(), ["fs"]);
    ground.wait(ground.driver().remove(&key)).unwrap();
    let pool = fs_err::File::open(ground.pool()).unwrap();
    assert_eq!(btrfs::children(&pool).unwrap(), []);
}

#[test]
fn what_was_made_read_only_goes_with_what_is_in_it() {
    let Some(ground) = Ground::new(&[]) else {
        return;
    };
    let key = name("key");
    ground.prepare(&key, None);
    ground.edit(&key, |root| {
        subvolume(&root.join("outer"));
        subvolume(&root.join("outer/inner"));
        for read_only in [root.join("outer/inner"), root.join("outer"), root.into()] {
            btrfs::set_read_only(fs_err::File::open(read_only).unwrap(), true).unwrap();
        }
    });
    ground.wait(ground.driver().remove(&key)).unwrap();
    let pool = fs_err::File::open(ground.pool()).unwrap();
    assert_eq!(btrfs::children(&pool).unwrap(), []);
}

#[test]
fn a_subvolume_deeper_than_a_path_is_found_and_removed() {
    let Some(ground) = Ground::new(&[]) else {
        return;
    };
    let key = name("key");
    ground.prepare(&key, None);
    ground.edit(&key, |root| {
        let mut here = fs_err::File::open(root).unwrap().into_parts().0;
        let name = "d".repeat(200);
        for _ in 0..22 {
            rustix::fs::mkdirat(&here, &*name, Mode::RWXU).unwrap();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            here = rustix::fs::openat(&here, &*name, flags, Mode::empty())
                .unwrap()
                .into();
        }
        btrfs::create(&here, "inner".as_ref()).unwrap();
    });
    let refused = ground.commit(&key, &self::name("layer")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidState);
    ground.wait(ground.driver().remove(&key)).unwrap();
    let pool = fs_err::File::open(ground.pool()).unwrap();
    assert_eq!(btrfs::children(&pool).unwrap(), []);
}

#[test]
fn what_is_no_subvolume_is_removed_as_well() {
    let Some(ground) = Ground::new(&[]) else {
        return;
    };
    let key = name("key");
    ground.prepare(&key, None);
    // As a copy of the root would have it; there are other subvolumes around.
    let tree = ground.home().join("fs");
    fs_err::remove_dir(&tree).unwrap();
    subvolume(&ground.pool().join("outer"));
    fs_err::create_dir_all(tree.join("a/b")).unwrap();
    ground.wait(ground.driver().remove(&key)).unwrap();
    assert!(ground.pool().join("outer").exists());

    // A snapshot of the subvolume that a root lies in holds empty directories for those inside.
    let (outer, again) = (ground.pool().join("outer"), ground.pool().join("again"));
    let open = |root: &Path| {
        let options = OpenOptions::new(root.join("root"));
        BtrfsFactory.open(&options, &Host::probe()).unwrap()
    };
    let inner = open(&outer);
    let options = PrepareOptions::default();
    ground.wait(inner.prepare(&key, None, &options)).unwrap();
    ground.wait(inner.close()).unwrap();
    let source = btrfsutil::subvolume::Subvolume::get(outer.as_path()).unwrap();
    source.snapshot(again.as_path(), None, None).unwrap();
    let copy = open(&again);
    ground.wait(copy.remove(&key)).unwrap();
    assert!(ground.wait(copy.list()).unwrap().is_empty());
    ground.wait(copy.close()).unwrap();
}

#[test]
fn a_lost_file_is_told_and_not_made_again_empty() {
    let Some(mut ground) = Ground::new(&[]) else {
        return;
    };
    let key = name("key");
    ground.prepare(&key, None);
    ground.edit(&key, |root| fs_err::write(root.join("f"), "1").unwrap());
    ground.close();
    let (file, aside) = (
        ground.options.root.join("backing.img"),
        ground.directory.path().join("aside"),
    );
    fs_err::rename(&file, &aside).unwrap();
    let lost = BtrfsFactory.open(&ground.options, &Host::probe());
    assert_eq!(lost.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(!file.exists());
    fs_err::rename(&aside, &file).unwrap();
    ground.open();
    ground.edit(&key, |root| assert!(root.join("f").exists()));
    ground.wait(ground.driver().remove(&key)).unwrap();
    ground.close();
    // Nothing is lost with a file that held nothing.
    fs_err::remove_file(&file).unwrap();
    ground.open();
}

#[test]
fn half_commits_are_undone_before_their_row_and_finished_behind_it() {
    let Some(mut ground) = Ground::new(&[]) else {
        return;
    };
    let (key, layer) = (name("key"), name("layer"));
    ground.prepare(&key, None);
    ground.edit(&key, |root| fs_err::write(root.join("f"), "1").unwrap());
    let home = ground.home();
    subvolume(&home.join("layer"));
    for _ in 0..2 {
        ground.reopen();
        assert_eq!(ground.names(), ["fs"]);
    }
    // Also without opening anew, by the next commit itself.
    subvolume(&home.join("layer"));
    ground.commit(&key, &layer).unwrap();
    assert_eq!(ground.names(), ["layer"]);
    assert!(home.join("layer/f").exists());
    subvolume(&home.join("fs"));
    subvolume(&home.join("fs/inner"));
    for _ in 0..2 {
        ground.reopen();
        assert_eq!(ground.names(), ["layer"]);
    }
    assert!(home.join("layer/f").exists());
}

#[test]
fn lost_subvolume_of_nothing_is_made_again() {
    let Some(mut ground) = Ground::new(&[]) else {
        return;
    };
    let key = name("key");
    ground.prepare(&key, None);
    fs_err::remove_dir(ground.home().join("fs")).unwrap();
    fs_err::remove_dir(ground.home()).unwrap();
    ground.reopen();
    ground.edit(&key, |root| {
        assert_eq!(fs_err::read_dir(root).unwrap().count(), 0);
    });
}

#[test]
fn usage_tells_own_and_shared_bytes() {
    let Some(ground) = Ground::new(&[]) else {
        return;
    };
    let (base, key) = (name("base"), name("key"));
    ground.prepare(&key, None);
    ground.edit(&key, |root| {
        fs_err::write(root.join("f"), vec![7; 4 << 20]).unwrap();
    });
    ground.commit(&key, &base).unwrap();
    ground.prepare(&key, Some(&base));
    ground.edit(&key, |root| {
        fs_err::write(root.join("g"), vec![8; 2 << 20]).unwrap();
    });
    let of = |name| ground.wait(ground.driver().usage(name)).unwrap();
    let (below, above) = (of(&base), of(&key));
    assert_eq!((below.bytes.0, below.shared.unwrap().0), (4 << 20, 0));
    assert_eq!((above.bytes.0, above.shared.unwrap().0), (2 << 20, 4 << 20));
    assert_eq!((below.inodes.0, above.inodes.0), (2, 1));
}

#[test]
fn file_grows_on_demand_up_to_its_limit() {
    let settings = [("size", "256MiB"), ("max_size", "600MiB")];
    let Some(ground) = Ground::new(&settings) else {
        return;
    };
    let length = || {
        let image = ground.options.root.join("backing.img");
        fs_err::metadata(image).unwrap().len() >> 20
    };
    assert_eq!(length(), 256);
    // Far more than fits at first; each step finds room made by the one before.
    for number in 0..6 {
        let key = name(&format!("key-{number}"));
        ground.prepare(&key, None);
        ground.edit(&key, |root| {
            fs_err::write(root.join("f"), vec![number; 64 << 20]).unwrap();
        });
        ground
            .commit(&key, &name(&format!("layer-{number}")))
            .unwrap();
    }
    assert_eq!(length(), 600);
}

#[test]
fn instances_share_the_file_and_the_last_one_unmounts() {
    let Some(mut ground) = Ground::new(&[]) else {
        return;
    };
    let second = BtrfsFactory.open(&ground.options, &Host::probe()).unwrap();
    ground.prepare(&name("key"), None);
    ground.close();
    assert!(ground.pool().join("snapshots").exists());
    assert_eq!(ground.wait(second.list()).unwrap().len(), 1);
    ground.wait(second.close()).unwrap();
    assert!(!ground.pool().join("snapshots").exists());
}
