//! That each defect of `third.rs` takes effect, without the scripts.

use super::archive;
use super::bench::{Bench, inode, mode, pass_odd_trees, set_mode, write};
use super::edits;
use super::third::THIRD;
use rustix::fs::{CWD, FileType, Mode};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use strata_driver::changeset::EntryKind;
use strata_driver::{Change, ChangeKind, ErrorKind};

fn prove(defect: &str, effect: impl Fn(&Bench) -> bool) {
    super::bench::prove(THIRD, defect, effect);
}

fn make_directory(path: &Path) {
    fs_err::create_dir(path).unwrap();
}

fn remove(path: &Path) {
    fs_err::remove_file(path).unwrap();
}

fn link(root: &Path, old: &str, new: &str) {
    fs_err::hard_link(root.join(old), root.join(new)).unwrap();
}

fn links(path: &Path) -> u64 {
    fs_err::symlink_metadata(path).unwrap().nlink()
}

#[test]
fn copy_keeps_links_of_files_only() {
    prove("copy-keeps-links-of-files-only", |bench| {
        bench.layer("base", None, |root| {
            write(&root.join("f"), "1");
            fs_err::os::unix::fs::symlink("f", root.join("s")).unwrap();
            edits::set_value(&root.join("s"), "trusted.a", b"1");
            let fifo = FileType::Fifo;
            rustix::fs::mknodat(CWD, root.join("p"), fifo, Mode::RUSR, 0).unwrap();
            let device = rustix::fs::makedev(1, 3);
            let character = FileType::CharacterDevice;
            rustix::fs::mknodat(CWD, root.join("c"), character, Mode::RUSR, device).unwrap();
            for name in ["f", "s", "p", "c"] {
                link(root, name, &format!("{name}2"));
                assert_eq!(links(&root.join(name)), 2);
            }
        });
        bench.prepare("key", Some("base"));
        bench.mounted("key", |root| {
            assert_eq!(links(&root.join("f2")), 2);
            let parted = ["s", "p", "c"].map(|name| {
                let (one, other) = (root.join(name), root.join(format!("{name}2")));
                let (old, new) = (one.symlink_metadata(), other.symlink_metadata());
                let (old, new) = (old.unwrap(), new.unwrap());
                assert_eq!((old.mode(), old.rdev()), (new.mode(), new.rdev()));
                assert_eq!(
                    (old.mtime(), old.mtime_nsec()),
                    (new.mtime(), new.mtime_nsec())
                );
                assert_eq!(edits::keys(&one), edits::keys(&other));
                assert_eq!(links(&one) == 1, inode(&one) != inode(&other));
                links(&one) == 1
            });
            assert!(parted == [true; 3] || parted == [false; 3]);
            parted[0]
        })
    });
}

#[test]
fn mounts_make_user_marks() {
    prove("mounts-make-user-marks", |bench| {
        bench.layer("base", None, |root| {
            make_directory(&root.join("d"));
            for name in ["d/x", "f", "p"] {
                write(&root.join(name), "1");
            }
            fs_err::os::unix::fs::symlink("f", root.join("s")).unwrap();
        });
        bench.layer("top", Some("base"), |root| {
            fs_err::remove_dir_all(root.join("d")).unwrap();
            make_directory(&root.join("d"));
            write(&root.join("d/y"), "2");
            remove(&root.join("p"));
            set_mode(&root.join("f"), 0o600);
            edits::chown(&root.join("s"), 1, 1);
        });
        // Whoever mounts sees what was written, without marks.
        bench.seen("top", |root| {
            assert!(root.join("d/y").exists() && !root.join("d/x").exists());
            assert!(!root.join("p").exists());
            assert_eq!(mode(&root.join("f")), 0o600);
            for name in ["", "d", "f", "s"] {
                assert!(edits::keys(&root.join(name)).is_empty());
            }
        });
        let diff = bench.diff(Some("base"), "top");
        let members = archive::decode(&diff);
        let is_whited_out = |path: &[u8]| {
            let mut gone = members.iter().filter_map(archive::Member::gone);
            gone.any(|gone| gone == path)
        };
        assert!(is_whited_out(b"p"));
        bench.prepare("copy", Some("base"));
        bench.apply("copy", diff);
        let is_back = bench.mounted("copy", |root| root.join("d/x").exists());
        assert_eq!(is_back, !is_whited_out(b"d/x"));
        is_back
    });
}

#[test]
fn commit_asks_next_layer_only() {
    prove("commit-asks-next-layer-only", |bench| {
        bench.layer("1", None, |root| write(&root.join("deep"), "1"));
        bench.layer("2", Some("1"), |root| write(&root.join("next"), "2"));
        bench.layer("3", Some("2"), |root| {
            remove(&root.join("deep"));
            remove(&root.join("next"));
        });
        bench.seen("3", |root| {
            assert!(!root.join("next").exists());
            root.join("deep").exists()
        })
    });
}

#[test]
fn remount_resets_root() {
    prove("remount-resets-root", |bench| {
        let facts = |root: &Path| (mode(root), root.metadata().unwrap().gid());
        bench.layer("base", None, |root| {
            edits::chown(root, 0, 5);
            set_mode(root, 0o2750);
        });
        bench.prepare("key", Some("base"));
        for _ in 0..2 {
            assert_eq!(bench.mounted("key", facts), (0o2750, 5));
        }
        bench.mounted("key", |root| set_mode(root, 0o1777));
        let child = bench.mounted("key", facts);
        bench.prepare("fresh", None);
        bench.mounted("fresh", |root| edits::chown(root, 0, 7));
        let fresh = bench.mounted("fresh", facts);
        let is_reset = child == (0o2750, 5);
        assert!(is_reset || child == (0o1777, 5));
        assert_eq!(fresh, (0o755, if is_reset { 0 } else { 7 }));
        is_reset
    });
}

#[test]
fn view_of_base_layer_is_writable() {
    prove("view-of-base-layer-writable", |bench| {
        bench.layer("1", None, |root| write(&root.join("f"), "1"));
        bench.layer("2", Some("1"), |root| write(&root.join("g"), "2"));
        let wrote = |root: &Path| {
            let content = fs_err::read(root.join("f")).unwrap();
            fs_err::write(root.join("f"), [&content[..], b"3"].concat()).is_ok()
        };
        assert!(!bench.seen("2", wrote));
        let is_written = bench.seen("1", wrote);
        let content = bench.seen("2", |root| fs_err::read(root.join("f")).unwrap());
        assert_eq!(content == b"13", is_written);
        // Several at once.
        bench.view("one", "1");
        bench.view("other", "1");
        bench.mounted("one", |root| assert!(root.join("f").exists()));
        bench.mounted("other", |root| assert!(root.join("f").exists()));
        is_written
    });
}

#[test]
fn diff_lets_new_name_stand_alone() {
    prove("diff-new-name-stands-alone", |bench| {
        bench.layer("base", None, |root| {
            write(&root.join("b"), "1");
            write(&root.join("e"), "1");
            write(&root.join("m"), "1");
            link(root, "m", "n");
        });
        bench.layer("top", Some("base"), |root| {
            link(root, "b", "a");
            link(root, "b", "c");
            write(&root.join("e"), "2");
            link(root, "e", "f");
            link(root, "n", "o");
        });
        let diff = bench.diff(Some("base"), "top");
        let members = archive::decode(&diff);
        let find = |path: &[u8]| archive::find(&members, path);
        let (changed, content) = find(b"e").unwrap();
        assert_eq!(
            (&changed.kind, content),
            (&EntryKind::File { size: 1 }, &b"2"[..])
        );
        let is_alone = find(b"b").is_none();
        assert_eq!(is_alone, find(b"m").is_none());
        bench.prepare("copy", Some("base"));
        bench.apply("copy", diff);
        bench.mounted("copy", |root| {
            for name in ["a", "b", "c", "m", "n", "o"] {
                assert_eq!(fs_err::read(root.join(name)).unwrap(), b"1");
            }
            let at = |name: &str| inode(&root.join(name));
            assert!(at("e") == at("f") && at("m") == at("n") && at("a") == at("c"));
            assert_eq!(at("a") != at("b"), is_alone);
            assert_eq!(at("m") != at("o"), is_alone);
        });
        is_alone
    });
}

#[test]
fn changes_compares_link_counts() {
    prove("changes-compares-link-counts", |bench| {
        bench.layer("base", None, |root| {
            make_directory(&root.join("d"));
            for name in ["a", "d/a", "z"] {
                write(&root.join(name), "1");
            }
            for (old, new) in [("a", "b"), ("d/a", "b2"), ("z", "z2")] {
                link(root, old, new);
            }
        });
        bench.layer("top", Some("base"), |root| {
            remove(&root.join("b"));
            remove(&root.join("b2"));
            set_mode(&root.join("z"), 0o600);
        });
        let change = |path: &str, kind| Change {
            path: path.into(),
            kind,
        };
        let deleted = ["b", "b2"].map(|path| change(path, ChangeKind::Deleted));
        let modified = |path: &&str| change(path, ChangeKind::Modified);
        let true_ones: Vec<_> = deleted
            .iter()
            .cloned()
            .chain(["z", "z2"].iter().map(modified))
            .collect();
        let mut all = deleted.to_vec();
        all.extend(["a", "d", "d/a", "z", "z2"].iter().map(modified));
        let changes = bench.changes(Some("base"), "top");
        assert!(changes == true_ones || changes == all, "{changes:?}");
        changes == all
    });
}

#[test]
fn apply_takes_no_attribute_away() {
    prove("apply-takes-no-attribute-away", |bench| {
        bench.layer("base", None, |root| {
            for name in ["d", "e"] {
                make_directory(&root.join(name));
                edits::set_value(&root.join(name), "user.a", b"1");
                edits::set_value(&root.join(name), "user.b", b"1");
            }
            write(&root.join("f"), "1");
            edits::set_value(&root.join("f"), "user.a", b"1");
        });
        bench.layer("between", Some("base"), |root| {
            write(&root.join("g"), "1");
        });
        bench.layer("top", Some("between"), |root| {
            edits::remove_value(&root.join("d"), "user.a");
            edits::set_value(&root.join("d"), "user.b", b"2");
            edits::remove_value(&root.join("f"), "user.a");
            remove_directory(&root.join("e"));
            write(&root.join("e"), "1");
        });
        bench.prepare("copy", Some("between"));
        bench.apply("copy", bench.diff(Some("between"), "top"));
        bench.mounted("copy", |root| {
            let value = |name, key| edits::value(&root.join(name), key);
            assert_eq!(value("d", "user.b").unwrap(), b"2");
            assert_eq!(value("f", "user.a"), None);
            assert_eq!(value("e", "user.a"), None);
            value("d", "user.a").is_some()
        })
    });
}

fn remove_directory(path: &Path) {
    fs_err::remove_dir(path).unwrap();
}

#[test]
fn remove_takes_views() {
    prove("remove-takes-views", |bench| {
        bench.layer("1", None, |root| write(&root.join("f"), "1"));
        bench.layer("2", Some("1"), |_| ());
        bench.view("of 1", "1");
        bench.view("of 2", "2");
        assert_eq!(bench.try_remove("1"), Err(ErrorKind::InUse));
        assert_eq!(bench.names(), ["1", "2", "of 1", "of 2"]);
        let mounted = bench.mounted("of 2", |_| bench.try_remove("2"));
        assert_eq!(mounted, Err(ErrorKind::InUse));
        let removed = bench.try_remove("2");
        let names = bench.names();
        match removed {
            Ok(()) => assert_eq!(names, ["1", "of 1"]),
            Err(kind) => assert_eq!((kind, names.len()), (ErrorKind::InUse, 4)),
        }
        removed.is_ok()
    });
}

#[test]
fn labels_stay_with_name() {
    prove("labels-stay-with-name", |bench| {
        bench.prepare_labelled("key", None, &["a", "b"]);
        assert_eq!(bench.labels("key"), ["a", "b"]);
        bench.commit("key", "1");
        assert!(bench.labels("1").is_empty());
        bench.prepare("other", Some("1"));
        assert!(bench.labels("other").is_empty());
        bench.prepare_labelled("key", Some("1"), &["b", "c"]);
        let after_commit = bench.labels("key");
        bench.remove("key");
        bench.view("key", "1");
        let after_remove = bench.labels("key");
        let stayed = after_commit == ["a", "b", "c"];
        assert!(stayed || after_commit == ["b", "c"]);
        assert_eq!(after_remove.len(), if stayed { 3 } else { 0 });
        stayed
    });
}

#[test]
fn odd_trees_pass_through_all() {
    pass_odd_trees(THIRD);
}
