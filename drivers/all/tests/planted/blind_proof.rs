//! That each defect of `blind.rs` takes effect, without the scripts.

use super::MutantFactory;
use super::archive::{self, Member};
use super::blind::BLIND;
use super::defects::Base;
use super::edits::{self, ACCESS};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use strata_driver::mount::mount;
use strata_driver::{
    ApplyOptions, ChangesetSource, CommitOptions, DiffOptions, DriverFactory, Host, OpenOptions,
    PrepareOptions, SnapshotName, StorageDriver,
};
use strata_harness::fixture::{FileSystemKind, Fixture};
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Runtime;

/// A driver with the defect, or the driver itself, on a file system of its own.
struct Bench {
    driver: Arc<dyn StorageDriver>,
    runtime: Runtime,
    target: PathBuf,
    _fixture: Fixture,
}

fn name(text: &str) -> SnapshotName {
    SnapshotName::new(text).unwrap()
}

impl Bench {
    fn new(defect: &str, is_planted: bool) -> Self {
        let defect = BLIND.iter().find(|one| one.name == defect).unwrap();
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

    fn prepare(&self, key: &str, parent: Option<&str>) {
        let options = PrepareOptions::default();
        let (key, parent) = (name(key), parent.map(name));
        let done = self.driver.prepare(&key, parent.as_ref(), &options);
        self.runtime.block_on(done).unwrap();
    }

    fn mounted<T>(&self, key: &str, work: impl FnOnce(&Path) -> T) -> T {
        let plan = self.runtime.block_on(self.driver.mounts(&name(key)));
        let mounted = mount(&plan.unwrap(), &self.target).unwrap();
        let done = work(&self.target);
        mounted.unmount().unwrap();
        done
    }

    fn commit(&self, key: &str, layer: &str) {
        let (key, layer, options) = (name(key), name(layer), CommitOptions::default());
        let done = self.driver.commit(&key, &layer, &options);
        self.runtime.block_on(done).unwrap();
    }

    fn layer(&self, layer: &str, parent: Option<&str>, work: impl FnOnce(&Path)) {
        self.prepare("key", parent);
        self.mounted("key", work);
        self.commit("key", layer);
    }

    fn seen<T>(&self, layer: &str, look: impl FnOnce(&Path) -> T) -> T {
        let (view, options) = (name("view"), PrepareOptions::default());
        let layer = name(layer);
        let begun = self.driver.view(&view, Some(&layer), &options);
        self.runtime.block_on(begun).unwrap();
        let seen = self.mounted("view", look);
        self.runtime.block_on(self.driver.remove(&view)).unwrap();
        seen
    }

    fn diff(&self, lower: Option<&str>, upper: &str) -> Vec<u8> {
        let lower = lower.map(name);
        self.runtime.block_on(async {
            let (upper, options) = (name(upper), DiffOptions::default());
            let stream = self.driver.diff(lower.as_ref(), &upper, &options);
            let mut bytes = Vec::new();
            stream.await.unwrap().read_to_end(&mut bytes).await.unwrap();
            bytes
        })
    }

    fn changes(&self, lower: Option<&str>, upper: &str) {
        let (lower, upper) = (lower.map(name), name(upper));
        let changes = self.driver.changes(lower.as_ref(), &upper);
        self.runtime.block_on(changes).unwrap();
    }

    fn apply(&self, key: &str, bytes: Vec<u8>) {
        let source = ChangesetSource::from_read(std::io::Cursor::new(bytes));
        let (key, options) = (name(key), ApplyOptions::default());
        let done = self.driver.apply(&key, source, &options);
        self.runtime.block_on(done).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let all = self.runtime.block_on(self.driver.list()).unwrap();
        all.iter().map(|info| info.name.to_string()).collect()
    }
}

/// Holds that the effect is there with the defect, and not without it.
fn prove(defect: &str, effect: impl Fn(&Bench) -> bool) {
    if FileSystemKind::Ext4.missing().is_some() {
        return;
    }
    assert!(effect(&Bench::new(defect, true)), "no effect");
    assert!(!effect(&Bench::new(defect, false)), "always so");
}

fn inode(path: &Path) -> u64 {
    fs_err::symlink_metadata(path).unwrap().ino()
}

fn mode(path: &Path) -> u32 {
    fs_err::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn write(path: &Path, content: &str) {
    fs_err::write(path, content).unwrap();
}

#[test]
fn second_child_starts_as_first() {
    prove("second-child-starts-as-first", |bench| {
        bench.layer("base", None, |root| write(&root.join("old"), "1"));
        bench.prepare("first", Some("base"));
        bench.mounted("first", |root| {
            write(&root.join("new"), "2");
            fs_err::remove_file(root.join("old")).unwrap();
        });
        bench.prepare("second", Some("base"));
        bench.mounted("second", |root| {
            root.join("new").exists() && !root.join("old").exists()
        })
    });
}

#[test]
fn commit_links_equal_files() {
    prove("commit-links-equal-files", |bench| {
        bench.layer("base", None, |root| {
            for (file, nanoseconds) in [("a", 5), ("b", 6), ("linked", 7)] {
                write(&root.join(file), "same");
                let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, nanoseconds);
                let file = fs_err::File::options().write(true).open(root.join(file));
                file.unwrap().file().set_modified(time).unwrap();
            }
            write(&root.join("c"), "diff");
        });
        bench.seen("base", |root| {
            let at = |name| inode(&root.join(name));
            assert_ne!(at("a"), at("c"));
            at("a") == at("b") && at("a") == at("linked")
        })
    });
}

#[test]
fn apply_widens_mask() {
    // u::rw- u:1:rwx g::r-- m::r-- o::---
    let entries = [(1, 6, None), (2, 7, Some(1)), (4, 4, None), (16, 4, None)];
    let mut list = vec![2, 0, 0, 0];
    for (tag, rights, id) in entries.into_iter().chain([(32, 0, None)]) {
        list.extend([tag, 0, rights, 0]);
        list.extend(id.unwrap_or(u32::MAX).to_le_bytes());
    }
    prove("apply-acl-mask-widened", |bench| {
        bench.layer("base", None, |root| {
            write(&root.join("f"), "1");
            edits::set_value(&root.join("f"), ACCESS, &list);
            assert_eq!(mode(&root.join("f")), 0o640);
        });
        bench.prepare("other", None);
        bench.apply("other", bench.diff(None, "base"));
        assert_eq!(bench.seen("base", |root| mode(&root.join("f"))), 0o640);
        bench.mounted("other", |root| mode(&root.join("f")) == 0o670)
    });
}

#[test]
fn diff_omits_whiteout_under_socket() {
    prove("diff-omits-whiteout-under-socket", |bench| {
        bench.layer("base", None, |root| {
            fs_err::create_dir(root.join("d")).unwrap();
            write(&root.join("d/s"), "1");
            write(&root.join("d/gone"), "1");
        });
        bench.prepare("key", Some("base"));
        bench.mounted("key", |root| {
            fs_err::remove_file(root.join("d/s")).unwrap();
            fs_err::remove_file(root.join("d/gone")).unwrap();
            UnixListener::bind(root.join("d/s")).unwrap();
        });
        let is_missing = |upper| {
            let members = archive::decode(&bench.diff(Some("base"), upper));
            let gone: Vec<_> = members.iter().filter_map(Member::gone).collect();
            assert!(gone.contains(&b"d/gone".to_vec()));
            !gone.contains(&b"d/s".to_vec())
        };
        let of_active = is_missing("key");
        bench.commit("key", "top");
        assert_eq!(is_missing("top"), of_active);
        of_active
    });
}

#[test]
fn question_replaces_open_file() {
    prove("question-replaces-open-file", |bench| {
        bench.layer("base", None, |root| write(&root.join("f"), "1"));
        bench.prepare("key", Some("base"));
        bench.mounted("key", |root| {
            write(&root.join("f"), "22");
            write(&root.join("g"), "333");
            let held = fs_err::File::open(root.join("g")).unwrap();
            let other = inode(&root.join("f"));
            bench.changes(Some("base"), "key");
            assert_eq!(other, inode(&root.join("f")));
            assert_eq!(fs_err::read(root.join("g")).unwrap(), b"333");
            held.metadata().unwrap().ino() != inode(&root.join("g"))
        })
    });
}

#[test]
fn diff_is_in_order_of_whole_paths() {
    prove("diff-in-order-of-whole-paths", |bench| {
        bench.layer("base", None, |root| {
            for directory in ["a", "b"] {
                fs_err::create_dir(root.join(directory)).unwrap();
                for file in ["x", "y", ".a"] {
                    write(&root.join(directory).join(file), "1");
                }
            }
            write(&root.join("a-b"), "1");
        });
        bench.layer("top", Some("base"), |root| {
            fs_err::remove_file(root.join("b/x")).unwrap();
            fs_err::remove_file(root.join("b/.a")).unwrap();
            write(&root.join("b/.z"), "1");
        });
        // Nothing there has a name with which another begins.
        let bytes = bench.diff(Some("base"), "top");
        let mut sorted = archive::decode(&bytes);
        sorted = super::blind::in_order_of_whole_paths(sorted, &[]);
        assert!(archive::encode(&sorted) == bytes);
        let members = archive::decode(&bench.diff(None, "base"));
        let paths = members.iter().filter_map(Member::entry);
        let paths: Vec<_> = paths.map(|entry| entry.path.to_string()).collect();
        let at = |name| paths.iter().position(|path| path == name).unwrap();
        at("a-b") < at("a/x")
    });
}

#[test]
fn view_omits_layer_without_entries() {
    prove("view-omits-layer-without-entries", |bench| {
        bench.layer("1", None, |root| write(&root.join("f"), "1"));
        bench.layer("2", Some("1"), |root| set_mode(root, 0o700));
        assert_eq!(bench.seen("2", mode), 0o700);
        bench.layer("3", Some("2"), |root| write(&root.join("g"), "1"));
        bench.layer("4", Some("3"), |root| set_mode(root, 0o711));
        bench.seen("4", mode) == 0o700
    });
}

#[test]
fn origin_is_lost_on_second_remount() {
    prove("origin-lost-on-second-remount", |bench| {
        bench.layer("base", None, |root| write(&root.join("f"), "1"));
        bench.prepare("other", Some("base"));
        let look = |root: &Path| inode(&root.join("f"));
        let first = bench.mounted("other", |root| {
            set_mode(&root.join("f"), 0o600);
            look(root)
        });
        assert_eq!(first, bench.mounted("other", look));
        first != bench.mounted("other", look)
    });
}

#[test]
fn renamed_over_takes_old_mode() {
    prove("renamed-over-takes-old-mode", |bench| {
        bench.layer("base", None, |root| {
            for (file, mode) in [("a", 0o600), ("b", 0o644), ("c", 0o640)] {
                write(&root.join(file), file);
                set_mode(&root.join(file), mode);
            }
        });
        bench.layer("top", Some("base"), |root| {
            fs_err::rename(root.join("a"), root.join("b")).unwrap();
            set_mode(&root.join("c"), 0o604);
            assert_eq!(mode(&root.join("b")), 0o600);
        });
        bench.seen("top", |root| {
            assert_eq!(mode(&root.join("c")), 0o604);
            mode(&root.join("b")) == 0o644
        })
    });
}

#[test]
fn list_is_in_order_of_age() {
    prove("list-in-order-of-age", |bench| {
        bench.prepare("b", None);
        std::thread::sleep(Duration::from_millis(5));
        bench.prepare("a", None);
        bench.names() == ["b", "a"]
    });
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

#[test]
fn odd_trees_pass_through_all() {
    if FileSystemKind::Ext4.missing().is_some() {
        return;
    }
    for defect in BLIND {
        let bench = Bench::new(defect.name, true);
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
