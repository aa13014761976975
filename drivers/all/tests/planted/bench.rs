//! A driver with a defect, tried directly: that the defect takes effect, without the scripts.

use super::MutantFactory;
use super::defects::{Base, Defect};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_driver::mount::mount;
use strata_driver::{
    ApplyOptions, Change, ChangesetSource, CommitOptions, DiffOptions, DriverFactory, ErrorKind,
    Host, OpenOptions, PrepareOptions, SnapshotName, StorageDriver,
};
use strata_harness::fixture::{FileSystemKind, Fixture};
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Runtime;

/// A driver with the defect, or the driver itself, on a file system of its own.
pub(crate) struct Bench {
    driver: Arc<dyn StorageDriver>,
    runtime: Runtime,
    target: PathBuf,
    _fixture: Fixture,
}

fn name(text: &str) -> SnapshotName {
    SnapshotName::new(text).unwrap()
}

impl Bench {
    fn new(defect: &Defect, is_planted: bool) -> Self {
        let mut factory: Arc<dyn DriverFactory> = match defect.base {
            Base::Vfs => Arc::new(strata_vfs::VfsFactory),
            Base::Overlay => Arc::new(strata_overlay::OverlayFactory),
        };
        if is_planted {
            factory = Arc::new(MutantFactory {
                inner: factory,
                plant: defect.plant,
            });
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let fixture = Fixture::file_system(FileSystemKind::Ext4, 1 << 30).unwrap();
        let target = fixture.path().join("target");
        fs_err::create_dir(&target).unwrap();
        let open = OpenOptions::new(fixture.path().join("root"));
        Self {
            driver: factory.open(&open, &Host::probe()).unwrap(),
            runtime,
            target,
            _fixture: fixture,
        }
    }

    pub(crate) fn prepare(&self, key: &str, parent: Option<&str>) {
        let options = PrepareOptions::default();
        let (key, parent) = (name(key), parent.map(name));
        let done = self.driver.prepare(&key, parent.as_ref(), &options);
        self.runtime.block_on(done).unwrap();
    }

    /// How a prepare is refused.
    pub(crate) fn refused(&self, key: &str, parent: Option<&str>) -> ErrorKind {
        let options = PrepareOptions::default();
        let (key, parent) = (name(key), parent.map(name));
        let done = self.driver.prepare(&key, parent.as_ref(), &options);
        self.runtime.block_on(done).unwrap_err().kind()
    }

    /// An active snapshot with these labels, each with its own name as value.
    pub(crate) fn prepare_labelled(&self, key: &str, parent: Option<&str>, labels: &[&str]) {
        let labels = labels.iter().map(|one| ((*one).into(), (*one).into()));
        let options = PrepareOptions::default().with_labels(labels.collect());
        let (key, parent) = (name(key), parent.map(name));
        let done = self.driver.prepare(&key, parent.as_ref(), &options);
        self.runtime.block_on(done).unwrap();
    }

    pub(crate) fn view(&self, key: &str, parent: &str) {
        let options = PrepareOptions::default();
        let (key, parent) = (name(key), name(parent));
        let begun = self.driver.view(&key, Some(&parent), &options);
        self.runtime.block_on(begun).unwrap();
    }

    /// The names of the labels, of which `list` and `stat` say the same.
    pub(crate) fn labels(&self, key: &str) -> Vec<String> {
        let info = self.runtime.block_on(self.driver.stat(&name(key))).unwrap();
        let all = self.runtime.block_on(self.driver.list()).unwrap();
        assert!(all.contains(&info));
        info.labels.into_keys().collect()
    }

    pub(crate) fn remove(&self, key: &str) {
        self.try_remove(key).unwrap();
    }

    /// Removes, or says how that is refused.
    pub(crate) fn try_remove(&self, key: &str) -> Result<(), ErrorKind> {
        let removed = self.runtime.block_on(self.driver.remove(&name(key)));
        removed.map_err(|error| error.kind())
    }

    pub(crate) fn parent(&self, key: &str) -> Option<String> {
        let info = self.runtime.block_on(self.driver.stat(&name(key)));
        info.unwrap().parent.map(|parent| parent.to_string())
    }

    pub(crate) fn mounted<T>(&self, key: &str, work: impl FnOnce(&Path) -> T) -> T {
        let plan = self.runtime.block_on(self.driver.mounts(&name(key)));
        let mounted = mount(&plan.unwrap(), &self.target).unwrap();
        let done = work(&self.target);
        mounted.unmount().unwrap();
        done
    }

    pub(crate) fn commit(&self, key: &str, layer: &str) {
        let (key, layer, options) = (name(key), name(layer), CommitOptions::default());
        let done = self.driver.commit(&key, &layer, &options);
        self.runtime.block_on(done).unwrap();
    }

    pub(crate) fn layer(&self, layer: &str, parent: Option<&str>, work: impl FnOnce(&Path)) {
        self.prepare("key", parent);
        self.mounted("key", work);
        self.commit("key", layer);
    }

    pub(crate) fn seen<T>(&self, layer: &str, look: impl FnOnce(&Path) -> T) -> T {
        self.view("view", layer);
        let seen = self.mounted("view", look);
        self.remove("view");
        seen
    }

    pub(crate) fn diff(&self, lower: Option<&str>, upper: &str) -> Vec<u8> {
        let lower = lower.map(name);
        self.runtime.block_on(async {
            let (upper, options) = (name(upper), DiffOptions::default());
            let stream = self.driver.diff(lower.as_ref(), &upper, &options);
            let mut bytes = Vec::new();
            stream.await.unwrap().read_to_end(&mut bytes).await.unwrap();
            bytes
        })
    }

    pub(crate) fn changes(&self, lower: Option<&str>, upper: &str) -> Vec<Change> {
        let (lower, upper) = (lower.map(name), name(upper));
        let changes = self.driver.changes(lower.as_ref(), &upper);
        self.runtime.block_on(changes).unwrap()
    }

    pub(crate) fn apply(&self, key: &str, bytes: Vec<u8>) {
        let source = ChangesetSource::from_read(std::io::Cursor::new(bytes));
        let (key, options) = (name(key), ApplyOptions::default());
        let done = self.driver.apply(&key, source, &options);
        self.runtime.block_on(done).unwrap();
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let all = self.runtime.block_on(self.driver.list()).unwrap();
        all.iter().map(|info| info.name.to_string()).collect()
    }
}

/// Holds that the effect is there with the defect, and not without it.
pub(crate) fn prove(list: &[Defect], defect: &str, effect: impl Fn(&Bench) -> bool) {
    let defect = list.iter().find(|one| one.name == defect).unwrap();
    if FileSystemKind::Ext4.missing().is_some() {
        return;
    }
    assert!(effect(&Bench::new(defect, true)), "no effect");
    assert!(!effect(&Bench::new(defect, false)), "always so");
}

pub(crate) fn inode(path: &Path) -> u64 {
    fs_err::symlink_metadata(path).unwrap().ino()
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs_err::symlink_metadata(path).unwrap().mode() & 0o7777
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn write(path: &Path, content: &str) {
    fs_err::write(path, content).unwrap();
}

/// What a wrapper must get through: odd names, deep trees, all kinds of nodes.
fn odd(root: &Path) {
    let bytes = |bytes: &[u8]| root.join(OsStr::from_bytes(bytes));
    for path in [
        bytes(b"\xff\xfe"),
        bytes(&[b'n'; 255]),
        bytes(b"..data"),
        bytes(b"made again"),
    ] {
        write(&path, "1");
    }
    write(&root.join("linked"), "1");
    let deep = root.join("d/".repeat(100));
    fs_err::create_dir_all(&deep).unwrap();
    UnixListener::bind(root.join("socket")).unwrap();
    fs_err::os::unix::fs::symlink("t".repeat(4000), root.join("long")).unwrap();
    fs_err::os::unix::fs::symlink("..", deep.join("up")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    fs_err::hard_link(root.join("linked"), deep.join("other name")).unwrap();
    let holes = fs_err::File::create(root.join("holes")).unwrap();
    holes.set_len(1 << 22).unwrap();
}

/// Holds that odd trees get through each defect of a list.
pub(crate) fn pass_odd_trees(list: &[Defect]) {
    if FileSystemKind::Ext4.missing().is_some() {
        return;
    }
    for defect in list {
        let bench = Bench::new(defect, true);
        bench.layer("1", None, odd);
        bench.layer("2", Some("1"), |_| ());
        bench.prepare("upper", Some("2"));
        bench.prepare("beside", Some("2"));
        for _ in 0..4 {
            bench.mounted("upper", |root| {
                fs_err::remove_file(root.join("fifo")).unwrap_or_default();
                fs_err::remove_file(root.join("linked")).unwrap_or_default();
                set_mode(&root.join("holes"), 0o600);
                bench.changes(Some("2"), "upper");
            });
        }
        let bytes = bench.diff(Some("2"), "upper");
        assert!(!bytes.is_empty());
        bench.apply("beside", bytes);
        bench.commit("upper", "3");
        bench.commit("beside", "4");
        bench.seen("3", |root| {
            assert!(root.join("..data").exists(), "{}", defect.name);
        });
        bench.diff(None, "4");
        assert_eq!(bench.names().len(), 4);
    }
}
