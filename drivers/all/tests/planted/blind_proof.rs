//! That each defect of `blind.rs` takes effect, without the scripts.

use super::archive::{self, Member};
use super::bench::{Bench, inode, mode, pass_odd_trees, set_mode, write};
use super::blind::BLIND;
use super::edits::{self, ACCESS};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

fn prove(defect: &str, effect: impl Fn(&Bench) -> bool) {
    super::bench::prove(BLIND, defect, effect);
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
            // Until the clock has ticked, so that one of the two is the last.
            let changed = |name: &str| {
                let facts = fs_err::metadata(root.join(name)).unwrap();
                (facts.ctime(), facts.ctime_nsec())
            };
            write(&root.join("g"), "333");
            while changed("g") == changed("f") {
                write(&root.join("g"), "333");
            }
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

#[test]
fn odd_trees_pass_through_all() {
    pass_odd_trees(BLIND);
}
