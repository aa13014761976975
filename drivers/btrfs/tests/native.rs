//! The kernel's word on where two snapshots differ, held against the comparison of whole trees, on
//! a btrfs in a file.
#![expect(clippy::unwrap_used, reason = "a failed step of a test may panic")]

#[expect(dead_code, reason = "each test uses its own part")]
#[path = "../../../core/driver/tests/diff_support/mod.rs"]
mod diff_support;

use diff_support::{
    Edits, Random, directory, first_seed, lacks_root, listing, repetitions, scratch, set_mtime,
    whole, written,
};
use rustix::fs::{CWD, FallocateFlags, RenameFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use strata_btrfs::changed_names;
use strata_driver::diff::{CompareOptions, Comparison, Outcome, Upper, compare};
use strata_driver::{Counters, ErrorKind};
use strata_sys::loopdev::{LoopDevice, LoopOptions};

/// A btrfs in a file, mounted where only this thread sees it.
struct Btrfs {
    root: PathBuf,
    /// Goes when the mount is gone, and before the file.
    _device: LoopDevice,
    _scratch: tempfile::TempDir,
}

impl Btrfs {
    /// None, said on standard error, where there is none to be had.
    fn make() -> Option<Self> {
        if lacks_root() {
            return None;
        }
        let flags = nix::sched::CloneFlags::CLONE_NEWNS;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        if nix::sched::unshare(flags).is_err() || mount_change("/", private).is_err() {
            eprintln!("skipped: needs a mount namespace");
            return None;
        }
        let scratch = scratch();
        let image = scratch.path().join("image");
        let file = fs_err::File::create(&image).unwrap();
        file.set_len(4 << 30).unwrap();
        let made = Command::new("mkfs.btrfs").arg("-q").arg(&image).output();
        if !made.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: needs mkfs.btrfs");
            return None;
        }
        let options = LoopOptions {
            autoclear: true,
            ..LoopOptions::default()
        };
        let device = match LoopDevice::attach(&image, options) {
            Ok(device) => device,
            Err(error) => {
                eprintln!("skipped: needs a loop device: {error}");
                return None;
            }
        };
        let root = scratch.path().join("root");
        fs_err::create_dir(&root).unwrap();
        if let Err(error) = mount(device.path(), &root, "btrfs", MountFlags::NOATIME, None) {
            eprintln!("skipped: needs btrfs in the kernel: {error}");
            return None;
        }
        Some(Self {
            root,
            _device: device,
            _scratch: scratch,
        })
    }

    fn subvolume(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        btrfs(&["subvolume", "create"], &[&path]);
        path
    }

    fn snapshot(&self, of: &Path, name: &str) -> PathBuf {
        let path = self.root.join(name);
        btrfs(&["subvolume", "snapshot", "-r"], &[of, &path]);
        path
    }

    fn delete(paths: &[PathBuf]) {
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        btrfs(&["subvolume", "delete"], &paths);
    }
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.root, UnmountFlags::empty()) {
            eprintln!("{} is left mounted: {error}", self.root.display());
        }
    }
}

fn btrfs(arguments: &[&str], paths: &[&Path]) {
    let output = Command::new("btrfs").args(arguments).args(paths).output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "btrfs {arguments:?} {paths:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn text(outcome: strata_driver::Result<Comparison>) -> Result<Vec<u8>, String> {
    match outcome {
        Ok(found) => Ok(written(&found)),
        Err(error) if error.kind() == ErrorKind::InvalidInput => Err("refused".into()),
        Err(error) => panic!("{error:?}"),
    }
}

/// The comparison by the kernel's names; none if it asks for whole trees.
fn native(
    lower: &Path,
    upper: &Path,
    counters: &Counters,
) -> strata_driver::Result<Option<Comparison>> {
    let (lower, upper) = (directory(lower), directory(upper));
    let names = changed_names(lower.as_fd(), upper.as_fd())?.expect("root may send");
    let upper = Upper::Named {
        root: upper.as_fd(),
        names: &names,
    };
    let options = CompareOptions::default();
    Ok(
        match compare(Some(lower.as_fd()), upper, &options, counters)? {
            Outcome::Compared(found) => Some(found),
            Outcome::NeedsWholeTrees => None,
        },
    )
}

/// Whether the names sufficed; the bytes are then those of whole trees.
fn check(lower: &Path, upper: &Path, note: &str) -> bool {
    let wanted = text(whole(Some(lower), upper, &CompareOptions::default()));
    let got = match native(lower, upper, &Counters::default()) {
        Ok(None) => return false,
        Ok(Some(found)) => Ok(found),
        Err(error) => Err(error),
    };
    let got = text(got);
    if got != wanted {
        let (below, above) = (directory(lower), directory(upper));
        let names = changed_names(below.as_fd(), above.as_fd()).unwrap();
        panic!(
            "{note}: {} bytes instead of {}\n{names:?}\nlower\n{}upper\n{}",
            got.map_or(0, |bytes| bytes.len()),
            wanted.map_or(0, |bytes| bytes.len()),
            listing(lower),
            listing(upper)
        );
    }
    true
}

/// Edits of the kinds that the shared ones lack. What is impossible is left out.
fn edit(edits: &mut Edits<'_>, paths: &mut Vec<PathBuf>) {
    if edits.random.below(2) == 0 {
        edits.edit();
        return;
    }
    if edits.random.below(4) == 0 || paths.is_empty() {
        *paths = edits.paths().into_iter().skip(1).collect();
    }
    if paths.is_empty() {
        return;
    }
    let one = edits.random.pick(paths).clone();
    let other = edits.random.pick(paths).clone();
    let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_file());
    let is_directory = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
    match edits.random.below(12) {
        0 | 1 => drop(rustix::fs::renameat_with(
            CWD,
            &one,
            CWD,
            &other,
            RenameFlags::EXCHANGE,
        )),
        2 if is_file(&one) => {
            let file = fs_err::OpenOptions::new().write(true).open(&one).unwrap();
            file.set_len(edits.random.below(20_000) as u64).unwrap();
        }
        3 if is_file(&one) => {
            let file = fs_err::OpenOptions::new().write(true).open(&one).unwrap();
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let at = 4096 * edits.random.below(3) as u64;
            rustix::fs::fallocate(&file, flags, at, 4096).unwrap();
        }
        // Three names turn in a ring: each comes to the old place of another.
        4 | 5 => {
            let third = edits.random.pick(paths).clone();
            let aside = edits.root.join("aside");
            if fs_err::rename(&one, &aside).is_ok() {
                let _impossible = fs_err::rename(&other, &one);
                let _impossible = fs_err::rename(&third, &other);
                if fs_err::rename(&aside, &third).is_err() && !one.exists() {
                    let _impossible = fs_err::rename(&aside, &one);
                }
            }
        }
        // Gone, made again with some of the old names.
        6 if is_directory(&one) => {
            fs_err::remove_dir_all(&one).unwrap();
            fs_err::create_dir(&one).unwrap();
            for name in ["a", "b"] {
                fs_err::write(one.join(name), name).unwrap();
            }
        }
        7 => {
            let mut path = edits.root.join("deep");
            for level in 0..edits.random.below(40) {
                path.push(["a", "b"][level % 2]);
            }
            let _impossible = fs_err::create_dir_all(&path);
        }
        // A new directory takes an old one in, and its place.
        8 if is_directory(&one) => {
            let aside = edits.root.join("aside-too");
            if fs_err::rename(&one, &aside).is_ok() {
                fs_err::create_dir(&one).unwrap();
                fs_err::rename(&aside, one.join("a")).unwrap();
            }
        }
        // A directory goes, and what was in it takes its place.
        9 if is_directory(&one) => {
            let aside = edits.root.join("aside-three");
            if fs_err::rename(one.join("a"), &aside).is_ok() {
                fs_err::remove_dir_all(&one).unwrap();
                let _impossible = fs_err::rename(&aside, &one);
            }
        }
        10 => {
            let path = edits.root.join("for-a-moment");
            if fs_err::write(&path, "1").is_ok() {
                fs_err::remove_file(&path).unwrap();
            }
        }
        _ if is_file(&one) && !other.exists() => drop(fs_err::hard_link(&one, &other)),
        _ => {}
    }
}

/// Makes the first tree.
type Base<'a> = &'a dyn Fn(&mut Edits<'_>);

/// Rounds of edits and snapshots; how many of them the names sufficed for, and all.
fn rounds(
    file_system: &Btrfs,
    seed: u64,
    (base, times, edits_each): (Base<'_>, usize, usize),
) -> (usize, usize) {
    let mut random = Random(seed);
    let work = file_system.subvolume(&format!("work-{seed}"));
    let mut edits = Edits {
        root: work.clone(),
        random: &mut random,
        model: None,
        tame: false,
    };
    base(&mut edits);
    let mut snapshots = vec![file_system.snapshot(&work, &format!("{seed}-0"))];
    let (mut sufficed, mut all) = (0, 0);
    for round in 1..=times {
        edits.model = snapshots.last().cloned();
        let mut paths = Vec::new();
        for _ in 0..=edits.random.below(edits_each) {
            edit(&mut edits, &mut paths);
        }
        if edits.random.below(3) == 0 {
            edits.edit_often(1);
        }
        let upper = file_system.snapshot(&work, &format!("{seed}-{round}"));
        let lower = snapshots.last().unwrap();
        all += 1;
        sufficed += usize::from(check(lower, &upper, &format!("seed {seed} round {round}")));
        snapshots.push(upper);
    }
    snapshots.push(work);
    Btrfs::delete(&snapshots);
    (sufficed, all)
}

#[test]
fn small_trees_under_random_edits() {
    let Some(file_system) = Btrfs::make() else {
        return;
    };
    let (mut sufficed, mut all) = (0, 0);
    let first = first_seed();
    for seed in first..first + repetitions(25) {
        let base = |edits: &mut Edits<'_>| edits.edit_often(100);
        let (some, of) = rounds(&file_system, seed, (&base, 6, 25));
        sufficed += some;
        all += of;
    }
    eprintln!("names sufficed in {sufficed} of {all} rounds");
    assert!(sufficed * 20 >= all * 19, "{sufficed} of {all}");
}

#[test]
fn large_trees_under_random_edits() {
    let Some(file_system) = Btrfs::make() else {
        return;
    };
    let (mut sufficed, mut all) = (0, 0);
    let first = first_seed();
    for seed in first..first + repetitions(25).div_ceil(12) {
        let base = |edits: &mut Edits<'_>| fill(&edits.root, 60, 50);
        let (some, of) = rounds(&file_system, seed + 1000, (&base, 5, 60));
        sufficed += some;
        all += of;
    }
    eprintln!("names sufficed in {sufficed} of {all} rounds");
    assert!(sufficed * 20 >= all * 19, "{sufficed} of {all}");
}

/// Directories of files, some of which are linked to the next directory.
fn fill(root: &Path, directories: usize, files: usize) {
    for directory in 0..directories {
        let path = root.join(format!("d{directory}"));
        fs_err::create_dir(&path).unwrap();
        for file in 0..files {
            fs_err::write(path.join(format!("f{file}")), [b'x'; 20]).unwrap();
        }
        if directory > 0 {
            let before = root.join(format!("d{}/f0", directory - 1));
            fs_err::hard_link(before, path.join("linked")).unwrap();
        }
    }
}

#[test]
fn one_change_in_40_000_files_costs_what_changed() {
    let Some(file_system) = Btrfs::make() else {
        return;
    };
    let work = file_system.subvolume("work");
    fill(&work, 200, 200);
    let (file, gone) = (work.join("d77/f9"), work.join("d120"));
    let linked = work.join("d50/linked");
    let (new, moved) = (work.join("d3/new"), work.join("d5/new"));
    let edits: [(&str, &dyn Fn()); 8] = [
        ("mode", &|| diff_support::chmod(&file, 0o600)),
        ("time", &|| set_mtime(&file, (5, 5))),
        ("content", &|| fs_err::write(&file, "other").unwrap()),
        ("linked file", &|| diff_support::chmod(&linked, 0o640)),
        ("removal", &|| fs_err::remove_file(&file).unwrap()),
        ("new file", &|| fs_err::write(&new, "n").unwrap()),
        ("rename", &|| fs_err::rename(&new, &moved).unwrap()),
        ("directory", &|| fs_err::remove_dir_all(&gone).unwrap()),
    ];
    let mut lower = file_system.snapshot(&work, "s");
    for (what, edit) in edits {
        edit();
        let upper = file_system.snapshot(&work, &format!("s-{what}"));
        let counters = Counters::default();
        let found = native(&lower, &upper, &counters).unwrap().unwrap();
        let (walked, changed) = (counters.entries_walked(), found.len() as u64);
        eprintln!("{what}: {walked} entries walked for {changed} changes");
        assert!(
            changed > 0 && walked <= 10 + 4 * changed,
            "{what}: {walked} for {changed}"
        );
        assert!(check(&lower, &upper, what), "{what}");
        lower = upper;
    }
}

#[test]
fn a_file_of_a_thousand_names_is_known_whole() {
    let Some(file_system) = Btrfs::make() else {
        return;
    };
    let work = file_system.subvolume("work");
    let names: Vec<PathBuf> = (0..1000)
        .map(|number| {
            work.join(format!(
                "d{}/a-name-that-takes-its-room-{number}",
                number % 3
            ))
        })
        .collect();
    for directory in 0..3 {
        fs_err::create_dir(work.join(format!("d{directory}"))).unwrap();
    }
    fs_err::write(&names[0], "content").unwrap();
    for name in &names[1..] {
        fs_err::hard_link(&names[0], name).unwrap();
    }
    let lower = file_system.snapshot(&work, "lower");
    fs_err::remove_file(&names[500]).unwrap();
    let upper = file_system.snapshot(&work, "upper");
    assert!(
        check(&lower, &upper, "one name less"),
        "whole trees are asked for"
    );
    fs_err::write(&names[7], "other content").unwrap();
    let last = file_system.snapshot(&work, "last");
    assert!(
        check(&upper, &last, "all changed"),
        "whole trees are asked for"
    );
    let found = native(&upper, &last, &Counters::default())
        .unwrap()
        .unwrap();
    assert_eq!(found.len(), 999 + 3);
}

#[test]
fn without_privilege_or_btrfs_whole_trees_are_compared() {
    let scratch = scratch();
    let one = directory(scratch.path());
    assert!(changed_names(one.as_fd(), one.as_fd()).unwrap().is_none());
    let Some(file_system) = Btrfs::make() else {
        return;
    };
    // A subvolume that is not read-only cannot be sent.
    let work = file_system.subvolume("work");
    let lower = file_system.snapshot(&work, "lower");
    let (lower, work) = (directory(&lower), directory(&work));
    assert!(
        changed_names(lower.as_fd(), work.as_fd())
            .unwrap()
            .is_none()
    );
}
