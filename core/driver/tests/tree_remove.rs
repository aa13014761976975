//! Removing and measuring trees.
#![expect(clippy::unwrap_used, reason = "a failed step of a test may panic")]

#[expect(dead_code, reason = "each test uses its own part")]
mod diff_support;

use diff_support::{directory, lacks_root, scratch};
use rustix::fs::{AtFlags, CWD, IFlags, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use strata_driver::tree::{Budget, Removal, remove, usage};
use strata_driver::{Counters, ErrorKind};

fn fill(root: &Path) {
    for directory in ["t", "t/a", "t/a/b", "t/c"] {
        fs_err::create_dir(root.join(directory)).unwrap();
        for name in 0..5 {
            fs_err::write(root.join(directory).join(format!("f{name}")), "x").unwrap();
        }
        rustix::fs::symlinkat("/", CWD, root.join(directory).join("root")).unwrap();
    }
}

#[test]
fn a_tree_goes_and_its_neighbours_stay() {
    let scratch = scratch();
    fill(scratch.path());
    fs_err::create_dir(scratch.path().join("other")).unwrap();
    let parent = directory(scratch.path());
    assert_eq!(
        remove(parent.as_fd(), b"t", Budget::Unlimited).unwrap(),
        Removal::Complete
    );
    assert!(!scratch.path().join("t").exists());
    assert!(scratch.path().join("other").exists());
    assert_eq!(
        remove(parent.as_fd(), b"t", Budget::Unlimited).unwrap(),
        Removal::Complete
    );
    for bad in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
        let error = remove(parent.as_fd(), bad, Budget::Unlimited).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_budget_bounds_each_call() {
    let scratch = scratch();
    fill(scratch.path());
    let parent = directory(scratch.path());
    let mut calls = 1;
    while remove(parent.as_fd(), b"t", Budget::Entries(7)).unwrap() == Removal::Left {
        calls += 1;
    }
    assert_eq!(calls, 4); // 28 names: 4 directories with 6 each
    assert!(!scratch.path().join("t").exists());
}

#[test]
fn a_link_is_removed_and_not_followed() {
    let scratch = scratch();
    fill(scratch.path());
    rustix::fs::symlinkat("t", CWD, scratch.path().join("link")).unwrap();
    let parent = directory(scratch.path());
    assert_eq!(
        remove(parent.as_fd(), b"link", Budget::Unlimited).unwrap(),
        Removal::Complete
    );
    assert!(scratch.path().join("t/a/b/f4").exists());
}

#[test]
fn a_tree_deeper_than_open_files_goes() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // What most processes have; some hosts give far more.
    let usual = Rlimit {
        current: Some(1024),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, usual).unwrap();
    let scratch = scratch();
    let mut here: OwnedFd = directory(scratch.path());
    for level in 0..3_000 {
        rustix::fs::mkdirat(&here, c"d", Mode::RWXU).unwrap();
        if level % 100 == 0 {
            // The name that a directory gets when it is moved up.
            rustix::fs::mkdirat(&here, c"deep-1", Mode::RWXU).unwrap();
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        here = rustix::fs::openat(&here, c"d", flags, Mode::empty()).unwrap();
    }
    let parent = directory(scratch.path());
    assert_eq!(
        remove(parent.as_fd(), b"d", Budget::Unlimited).unwrap(),
        Removal::Complete
    );
    assert!(!scratch.path().join("d").exists());
}

#[test]
fn immutable_files_and_directories_go() {
    if lacks_root() {
        return;
    }
    let scratch = scratch();
    fill(scratch.path());
    for (path, flag) in [
        ("t/a/f1", IFlags::IMMUTABLE),
        ("t/a/b/f1", IFlags::APPEND),
        ("t/a/b", IFlags::IMMUTABLE),
        ("t", IFlags::APPEND),
    ] {
        let file = fs_err::File::open(scratch.path().join(path)).unwrap();
        let Ok(flags) = rustix::fs::ioctl_getflags(&file) else {
            eprintln!("skipped: no inode flags here");
            return;
        };
        rustix::fs::ioctl_setflags(&file, flags | flag).unwrap();
    }
    assert!(
        fs_err::remove_dir_all(scratch.path().join("t")).is_err(),
        "the flags do nothing"
    );
    let parent = directory(scratch.path());
    assert_eq!(
        remove(parent.as_fd(), b"t", Budget::Unlimited).unwrap(),
        Removal::Complete
    );
}

#[test]
fn a_mount_in_the_tree_is_not_entered() {
    if lacks_root() {
        return;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_err()
        || rustix::mount::mount_change("/", private).is_err()
    {
        eprintln!("skipped: needs a mount namespace");
        return;
    }
    let scratch = scratch();
    fill(scratch.path());
    let (source, target) = (
        scratch.path().join("precious"),
        scratch.path().join("t/c/mounted"),
    );
    fs_err::create_dir(&source).unwrap();
    fs_err::write(source.join("kept"), "1").unwrap();
    fs_err::create_dir(&target).unwrap();
    rustix::mount::mount_bind(&source, &target).unwrap();
    let parent = directory(scratch.path());
    let error = remove(parent.as_fd(), b"t", Budget::Unlimited).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
    assert_eq!(error.context("path"), Some("t/c/mounted"));
    assert!(source.join("kept").exists());
    rustix::mount::unmount(&target, UnmountFlags::empty()).unwrap();
    assert_eq!(
        remove(parent.as_fd(), b"t", Budget::Unlimited).unwrap(),
        Removal::Complete
    );
}

#[test]
fn usage_counts_each_inode_once() {
    let scratch = scratch();
    let counters = Counters::default();
    let measure = || usage(directory(scratch.path()).as_fd(), &counters).unwrap();
    let empty = measure();
    assert_eq!(empty.inodes.0, 1);
    let file = scratch.path().join("f");
    fs_err::write(&file, vec![1; 1 << 20]).unwrap();
    fs_err::create_dir(scratch.path().join("d")).unwrap();
    let one = measure();
    assert_eq!(one.inodes.0, 3);
    assert!(
        (1 << 20..1 << 21).contains(&(one.bytes.0 - empty.bytes.0)),
        "{one:?}"
    );
    rustix::fs::linkat(
        CWD,
        &file,
        CWD,
        scratch.path().join("d/g"),
        AtFlags::empty(),
    )
    .unwrap();
    let before = counters.entries_walked();
    assert_eq!(measure().inodes.0, 3);
    assert_eq!(measure().bytes.0 - one.bytes.0, 0);
    assert_eq!(counters.entries_walked() - before, 6);
}

/// A removal and a reclaim of another process meet in one tree.
#[test]
fn several_may_remove_one_tree_at_once() {
    for _ in 0..30 {
        let scratch = scratch();
        fill(scratch.path());
        // Deeper than the directories held open at once, so that some are moved up.
        let mut deep = scratch.path().join("t/a/b");
        for _ in 0..150 {
            deep.push("d");
            fs_err::create_dir(&deep).unwrap();
            fs_err::write(deep.join("f"), "x").unwrap();
        }
        let parent = directory(scratch.path());
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    let removed = remove(parent.as_fd(), b"t", Budget::Unlimited);
                    assert_eq!(removed.unwrap(), Removal::Complete);
                });
            }
        });
        assert!(!scratch.path().join("t").exists());
    }
}
