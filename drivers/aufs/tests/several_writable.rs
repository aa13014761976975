//! Several branches are written: a name shows where it is made or moved, whatever stands in the
//! branches above.

#![expect(clippy::unwrap_used, reason = "a test")]

use fs_err as fs;
use rustix::fs::{CWD, RenameFlags};
use std::path::{Path, PathBuf};
use strata_driver::mount::{Mounted, mount};
use strata_driver::{MountFlags, MountOption, MountPlan, MountStep, SnapshotName};
use strata_harness::fixture::{FileSystemKind, Fixture};

/// Top first, and how each may be used.
const BRANCHES: &[(&str, &str)] = &[
    ("top", "rw"),
    ("middle", "ro+wh"),
    ("low", "rw"),
    ("bottom", "ro+wh"),
];

struct Ground {
    mounted: Option<Mounted>,
    fixture: Fixture,
}

impl Ground {
    /// A union of branches with these files; a path that ends in `/` is a directory. None where
    /// this host cannot have one.
    fn new(files: &[&str]) -> Option<Self> {
        if let Some(missing) = FileSystemKind::Ext4.missing() {
            eprintln!("skipped: {missing}");
            return None;
        }
        let fixture = Fixture::file_system(FileSystemKind::Ext4, 64 << 20).unwrap();
        let root = fixture.path();
        for (name, _) in BRANCHES.iter().chain(&[("seen", "")]) {
            fs::create_dir(root.join(name)).unwrap();
        }
        for file in files {
            let at = root.join(file);
            if file.ends_with('/') {
                fs::create_dir_all(at).unwrap();
            } else {
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                fs::write(at, file).unwrap();
            }
        }
        let mut ground = Self {
            mounted: None,
            fixture,
        };
        ground.mount();
        Some(ground)
    }

    fn mount(&mut self) {
        self.mounted = None;
        let root = self.fixture.path();
        let branches: Vec<_> = BRANCHES
            .iter()
            .map(|(name, how)| format!("{}={how}", root.join(name).display()))
            .collect();
        let plan = MountPlan {
            snapshot: SnapshotName::new("several").unwrap(),
            steps: vec![MountStep {
                fs_type: "fuse.strata-union".into(),
                source: "several".into(),
                options: vec![MountOption::pair("br", branches.join(":"))],
                flags: MountFlags::default(),
            }],
            hold: None,
        };
        self.mounted = Some(mount(&plan, &root.join("seen")).unwrap());
    }

    fn at(&self, name: &str) -> PathBuf {
        self.fixture.path().join("seen").join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    fn names(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(name)).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    }

    /// Looks now, and after a remount.
    fn twice(mut self, look: impl Fn(&Self)) {
        look(&self);
        self.mount();
        look(&self);
        self.mounted.take().unwrap().unmount().unwrap();
        self.fixture.close().unwrap();
    }
}

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(CWD, from, CWD, to, flags)
}

#[test]
fn what_is_made_shows_over_a_whiteout_in_between() {
    let marks = [
        "middle/d/.wh.f",
        "middle/d/.wh.d",
        "middle/d/.wh.s",
        "middle/d/.wh.l",
    ];
    let files = [&marks[..], &["low/d/old"]].concat();
    let Some(ground) = Ground::new(&files) else {
        return;
    };
    fs::write(ground.at("d/f"), "made").unwrap();
    fs::create_dir(ground.at("d/d")).unwrap();
    fs::os::unix::fs::symlink("target", ground.at("d/s")).unwrap();
    fs::hard_link(ground.at("d/old"), ground.at("d/l")).unwrap();
    ground.twice(|ground| {
        assert_eq!(ground.names("d"), ["d", "f", "l", "old", "s"]);
        assert_eq!(ground.read("d/f"), "made");
        assert_eq!(ground.read("d/l"), "low/d/old");
    });
}

#[test]
fn what_is_moved_shows_whatever_it_replaces() {
    for over in [
        "top/new",
        "middle/new",
        "middle/.wh.new",
        "low/new",
        "bottom/new",
    ] {
        for from in ["top/old", "middle/old", "low/old", "bottom/old"] {
            let Some(ground) = Ground::new(&[from, over]) else {
                return;
            };
            fs::rename(ground.at("old"), ground.at("new"))
                .unwrap_or_else(|error| panic!("{from} to {over}: {error}"));
            ground.twice(|ground| {
                assert_eq!(ground.names("."), ["new"], "{from} to {over}");
                assert_eq!(ground.read("new"), from, "to {over}");
            });
        }
    }
}

#[test]
fn directory_is_moved_over_an_empty_one_of_any_branch() {
    for over in ["middle/new/", "low/new/", "bottom/new/"] {
        let Some(ground) = Ground::new(&["top/old/f", over]) else {
            return;
        };
        fs::rename(ground.at("old"), ground.at("new")).unwrap();
        ground.twice(|ground| {
            assert_eq!(ground.names("."), ["new"], "{over}");
            assert_eq!(ground.names("new"), ["f"], "{over}");
        });
    }
}

#[test]
fn what_is_copied_up_is_moved_where_the_copy_is() {
    let Some(ground) = Ground::new(&["top/d/", "bottom/d/old"]) else {
        return;
    };
    fs::rename(ground.at("d/old"), ground.at("d/new")).unwrap();
    ground.twice(|ground| {
        assert_eq!(ground.names("d"), ["new"]);
        assert_eq!(ground.read("d/new"), "bottom/d/old");
    });
}

#[test]
fn names_of_any_two_branches_are_exchanged() {
    for one in ["top/one", "middle/one", "low/one", "bottom/one"] {
        for two in ["top/two", "middle/two", "low/two", "bottom/two"] {
            let Some(ground) = Ground::new(&[one, two]) else {
                return;
            };
            rename(&ground.at("one"), &ground.at("two"), RenameFlags::EXCHANGE)
                .unwrap_or_else(|error| panic!("{one} with {two}: {error}"));
            ground.twice(|ground| {
                assert_eq!(ground.read("one"), two);
                assert_eq!(ground.read("two"), one);
            });
        }
    }
}

/// Whoever has it open would go on with the original.
#[test]
fn an_open_file_does_not_go_to_another_branch() {
    let Some(ground) = Ground::new(&["top/new", "low/old"]) else {
        return;
    };
    let held = fs::OpenOptions::new().write(true).open(ground.at("old"));
    let (old, new) = (ground.at("old"), ground.at("new"));
    let refused = rename(&old, &new, RenameFlags::empty());
    assert_eq!(refused, Err(rustix::io::Errno::XDEV));
    drop(held.unwrap());
    ground.twice(|ground| {
        assert_eq!(ground.read("old"), "low/old");
        assert_eq!(ground.read("new"), "top/new");
    });
}
