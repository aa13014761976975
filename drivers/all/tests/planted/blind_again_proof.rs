//! That each defect of `blind_again.rs` takes effect, without the scripts.

use super::archive;
use super::bench::{Bench, inode, mode, pass_odd_trees, set_mode, write};
use super::blind_again::BLIND_AGAIN;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use strata_driver::ErrorKind;

fn prove(defect: &str, effect: impl Fn(&Bench) -> bool) {
    super::bench::prove(BLIND_AGAIN, defect, effect);
}

fn make_directory(path: &Path) {
    fs_err::create_dir(path).unwrap();
}

fn remove(path: &Path) {
    fs_err::remove_file(path).unwrap();
}

fn read(path: &Path) -> Vec<u8> {
    fs_err::read(path).unwrap()
}

fn give(path: &Path, group: u32) {
    std::os::unix::fs::chown(path, Some(0), Some(group)).unwrap();
}

/// The paths of entries and whiteouts of a diff, whiteouts with a `-`.
fn subjects(bytes: &[u8]) -> Vec<String> {
    let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    let members = archive::decode(bytes).into_iter();
    let subjects = members.filter_map(|member| {
        let entry = member.entry().map(|entry| text(entry.path.as_bytes()));
        entry.or_else(|| Some(format!("-{}", text(&member.gone()?))))
    });
    subjects.collect()
}

#[test]
fn refused_prepare_empties_snapshot() {
    prove("refused-prepare-empties-snapshot", |bench| {
        bench.layer("base", None, |root| write(&root.join("f"), "1"));
        bench.prepare("key", Some("base"));
        bench.mounted("key", |root| write(&root.join("g"), "1"));
        let missing = bench.refused("fresh", Some("nothing"));
        assert_eq!(missing, ErrorKind::NotFound);
        // A committed one stays, and so does what an unknown parent was named for.
        let taken = bench.refused("base", None);
        assert_eq!(taken, ErrorKind::AlreadyExists);
        assert!(bench.mounted("key", |root| root.join("g").exists()));
        assert_eq!(bench.refused("key", None), ErrorKind::AlreadyExists);
        assert!(bench.seen("base", |root| root.join("f").exists()));
        bench.mounted("key", |root| !root.join("g").exists())
    });
}

#[test]
fn remove_of_view_opens_directories() {
    prove("remove-of-view-opens-directories", |bench| {
        bench.layer("base", None, |root| {
            make_directory(&root.join("d"));
            set_mode(&root.join("d"), 0o2550);
            write(&root.join("f"), "1");
            set_mode(&root.join("f"), 0o400);
        });
        let look = |root: &Path| {
            assert_eq!(mode(&root.join("f")), 0o400);
            mode(&root.join("d"))
        };
        assert_eq!(bench.seen("base", look), 0o2550);
        let after = bench.seen("base", look);
        bench.prepare("key", Some("base"));
        assert_eq!(bench.mounted("key", look), after);
        after == 0o2750
    });
}

#[test]
fn diff_swallows_names_that_begin_alike() {
    prove("diff-swallows-names-that-begin-alike", |bench| {
        bench.layer("base", None, |root| {
            for directory in ["d", "e", "d2"] {
                make_directory(&root.join(directory));
                write(&root.join(directory).join("x"), "1");
            }
            write(&root.join("f"), "1");
        });
        bench.layer("top", Some("base"), |root| {
            fs_err::remove_dir_all(root.join("d")).unwrap();
            remove(&root.join("d2/x"));
            write(&root.join("d.conf"), "2");
            remove(&root.join("f"));
            write(&root.join("f2"), "2");
        });
        let subjects = subjects(&bench.diff(Some("base"), "top"));
        assert!(
            ["-d", "-f", "f2"]
                .iter()
                .all(|one| subjects.contains(&(*one).to_owned()))
        );
        let alike = ["d2", "-d2/x", "d.conf"];
        let count = alike
            .iter()
            .filter(|one| subjects.contains(&(**one).to_owned()));
        let count = count.count();
        assert!(count == 0 || count == 3);
        count == 0
    });
}

#[test]
fn apply_follows_link_to_directory() {
    prove("apply-follows-link-to-directory", |bench| {
        bench.layer("base", None, |root| {
            fs_err::create_dir_all(root.join("usr/lib")).unwrap();
            fs_err::os::unix::fs::symlink("usr/./lib", root.join("lib")).unwrap();
            fs_err::os::unix::fs::symlink("nowhere", root.join("other")).unwrap();
        });
        bench.layer("top", Some("base"), |root| {
            for name in ["lib", "other"] {
                remove(&root.join(name));
                make_directory(&root.join(name));
                write(&root.join(name).join("x"), "1");
            }
            fs_err::hard_link(root.join("lib/x"), root.join("lib/y")).unwrap();
        });
        bench.prepare("copy", Some("base"));
        bench.apply("copy", bench.diff(Some("base"), "top"));
        bench.mounted("copy", |root| {
            assert!(root.join("other").symlink_metadata().unwrap().is_dir());
            assert_eq!(inode(&root.join("lib/x")), inode(&root.join("lib/y")));
            let is_link = root.join("lib").is_symlink();
            assert_eq!(is_link, root.join("usr/lib/y").exists());
            is_link
        })
    });
}

#[test]
fn apply_leaves_group_of_directory() {
    prove("apply-group-of-directory-stays", |bench| {
        bench.layer("base", None, |root| {
            make_directory(&root.join("d"));
            give(&root.join("d"), 5);
            set_mode(&root.join("d"), 0o2775);
            write(&root.join("d/own"), "1");
            write(&root.join("d/other"), "1");
            give(&root.join("d/other"), 7);
            write(&root.join("d/x"), "1");
            give(&root.join("d/x"), 0);
            set_mode(&root.join("d/x"), 0o4755);
            write(&root.join("y"), "1");
        });
        bench.prepare("copy", None);
        bench.apply("copy", bench.diff(None, "base"));
        bench.mounted("copy", |root| {
            let group = |name| fs_err::symlink_metadata(root.join(name)).unwrap().gid();
            assert_eq!((group("d/own"), group("d/other"), group("y")), (5, 7, 0));
            assert_eq!(mode(&root.join("d/x")), 0o4755);
            group("d/x") == 5
        })
    });
}

#[test]
fn commit_folds_whiteouts() {
    prove("commit-folds-whiteouts", |bench| {
        bench.layer("1", None, |root| {
            for directory in ["d", "e"] {
                make_directory(&root.join(directory));
                write(&root.join(directory).join("x"), "1");
            }
        });
        bench.layer("2", Some("1"), |root| {
            for name in ["d/y", "d/z", "e/y", "e/z"] {
                write(&root.join(name), "2");
            }
        });
        bench.layer("3", Some("2"), |root| {
            for name in ["d/y", "d/z", "e/y"] {
                remove(&root.join(name));
            }
            assert!(root.join("d/x").exists());
        });
        bench.seen("3", |root| {
            assert!(root.join("e/x").exists() && root.join("e/z").exists());
            assert!(root.join("d").exists() && !root.join("d/y").exists());
            !root.join("d/x").exists()
        })
    });
}

#[test]
fn hole_shows_what_lies_below() {
    prove("hole-shows-what-lies-below", |bench| {
        let old = "1".repeat(3 * 4096);
        bench.layer("base", None, |root| {
            for file in ["f", "g", "h"] {
                write(&root.join(file), &old);
            }
        });
        bench.prepare("key", Some("base"));
        bench.mounted("key", |root| {
            let open = |file| {
                let options = fs_err::OpenOptions::new().write(true).clone();
                options.open(root.join(file)).unwrap().into_file()
            };
            // Of the first, two blocks go; the second is another file; of the third all is written.
            let file = open("f");
            file.set_len(0).unwrap();
            file.write_all_at(b"2", 4096).unwrap();
            file.set_len(4 * 4096).unwrap();
            remove(&root.join("g"));
            fs_err::File::create(root.join("g"))
                .unwrap()
                .set_len(4096)
                .unwrap();
            open("h").write_all_at(b"2", 4096).unwrap();
        });
        let look = |root: &Path| {
            assert_eq!(read(&root.join("g")), vec![0; 4096]);
            let third = read(&root.join("h"));
            assert_eq!((third[4096], third[4097]), (b'2', b'1'));
            let first = read(&root.join("f"));
            assert_eq!((first.len(), first[4096], first[4097]), (4 * 4096, b'2', 0));
            assert_eq!(first[3 * 4096], 0);
            first[0] == b'1' && first[3 * 4096 - 1] == b'1'
        };
        let after_remount = bench.mounted("key", look);
        bench.commit("key", "top");
        assert_eq!(bench.seen("top", look), after_remount);
        after_remount
    });
}

#[test]
fn commit_joins_names_of_one_lower_file() {
    prove("commit-joins-names-of-one-lower-file", |bench| {
        bench.layer("base", None, |root| {
            for (one, other) in [("a", "b"), ("c", "d")] {
                write(&root.join(one), "1");
                fs_err::hard_link(root.join(one), root.join(other)).unwrap();
            }
        });
        bench.layer("top", Some("base"), |root| {
            for name in ["a", "b", "c"] {
                write(&root.join(name), name);
            }
            assert_eq!(read(&root.join("b")), b"b");
        });
        bench.seen("top", |root| {
            assert_eq!(
                (read(&root.join("c")), read(&root.join("d"))),
                (b"c".into(), b"1".into())
            );
            let is_one = inode(&root.join("a")) == inode(&root.join("b"));
            assert_eq!(is_one, read(&root.join("a")) == read(&root.join("b")));
            is_one
        })
    });
}

#[test]
fn changes_looks_at_each_path_alone() {
    prove("changes-looks-at-each-path-alone", |bench| {
        bench.layer("base", None, |root| {
            make_directory(&root.join("d"));
            write(&root.join("d/f"), "1");
            write(&root.join("g"), "1");
        });
        bench.prepare("key", Some("base"));
        bench.mounted("key", |root| {
            fs_err::hard_link(root.join("d/f"), root.join("linked")).unwrap();
            set_mode(&root.join("g"), 0o600);
        });
        let changes = bench.changes(Some("base"), "key");
        let listed: Vec<_> = changes.iter().map(|change| &change.path[..]).collect();
        assert!(listed.contains(&&b"g"[..]) && listed.contains(&&b"linked"[..]));
        let diff = subjects(&bench.diff(Some("base"), "key"));
        assert!(diff.contains(&"d/f".to_owned()));
        let is_missing = !listed.contains(&&b"d/f"[..]);
        assert_eq!(is_missing, listed.len() == 2);
        is_missing
    });
}

#[test]
fn stat_remembers_parent_of_key() {
    prove("stat-remembers-parent-of-key", |bench| {
        bench.prepare("key", None);
        assert_eq!(bench.parent("key"), None);
        bench.commit("key", "1");
        bench.prepare("other", Some("1"));
        assert_eq!(bench.parent("other").as_deref(), Some("1"));
        bench.remove("other");
        bench.prepare("other", None);
        assert_eq!(bench.parent("other"), None);
        bench.prepare("key", Some("1"));
        bench.parent("key").is_none()
    });
}

#[test]
fn odd_trees_pass_through_all() {
    pass_odd_trees(BLIND_AGAIN);
}
