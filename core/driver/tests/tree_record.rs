//! A copy's record: it spares reading what is unchanged, and hides no change.
#![expect(clippy::unwrap_used, reason = "a failed step of a test may panic")]

#[expect(dead_code, reason = "each test uses its own part")]
mod diff_support;

use diff_support::{chmod, directory, scratch, set_mtime, whole};
use rustix::fs::{AtFlags, CWD};
use std::os::fd::AsFd as _;
use std::path::Path;
use strata_driver::diff::CompareOptions;
use strata_driver::tree::{CopyOptions, CopyRecord, Witness, copy};

fn copy_with_record(lower: &Path, upper: &Path) -> CopyRecord {
    fs_err::create_dir(upper).unwrap();
    let options = CopyOptions::default().with_witness(Witness::Record);
    let copied = copy(directory(lower).as_fd(), directory(upper).as_fd(), &options).unwrap();
    let mut bytes = Vec::new();
    copied.record.unwrap().write_to(&mut bytes).unwrap();
    CopyRecord::read_from(&bytes[..]).unwrap()
}

fn changed(lower: &Path, upper: &Path, record: &CopyRecord) -> Vec<String> {
    let options = CompareOptions::default().with_record(record);
    let found = whole(Some(lower), upper, &options).unwrap();
    let changes = found.changes();
    changes
        .into_iter()
        .map(|change| String::from_utf8(change.path).unwrap())
        .collect()
}

#[test]
fn a_write_that_puts_size_and_time_back_is_found() {
    // At once after the copy, where a coarse clock would give it the same change time.
    for attempt in 0..100 {
        let scratch = scratch();
        let at = |name: &str| scratch.path().join(name);
        fs_err::create_dir(at("lower")).unwrap();
        for name in ["a", "b"] {
            fs_err::write(at("lower").join(name), "content").unwrap();
            set_mtime(&at("lower").join(name), (1_000, 5));
        }
        set_mtime(&at("lower"), (1_000, 5));
        let record = copy_with_record(&at("lower"), &at("upper"));
        fs_err::write(at("upper/b"), "CONTENT").unwrap();
        set_mtime(&at("upper/b"), (1_000, 5));
        assert_eq!(
            changed(&at("lower"), &at("upper"), &record),
            ["b"],
            "attempt {attempt}"
        );
    }
}

#[test]
fn attributes_put_back_are_no_change() {
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    fs_err::create_dir(at("lower")).unwrap();
    fs_err::write(at("lower/f"), "1").unwrap();
    let record = copy_with_record(&at("lower"), &at("upper"));
    let mode = rustix::fs::lstat(at("lower/f")).unwrap().st_mode & 0o7777;
    chmod(&at("upper/f"), 0o600);
    chmod(&at("upper/f"), mode);
    assert!(changed(&at("lower"), &at("upper"), &record).is_empty());
    chmod(&at("upper/f"), 0o601);
    assert_eq!(changed(&at("lower"), &at("upper"), &record), ["f"]);
}

/// Files whose own change time says nothing, since only a directory above them was renamed.
#[test]
fn swapped_directories_are_found() {
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    for (directory, content) in [("lower/one", "1"), ("lower/two", "2")] {
        fs_err::create_dir_all(at(directory)).unwrap();
        fs_err::write(at(directory).join("f"), content).unwrap();
        set_mtime(&at(directory).join("f"), (1_000, 5));
        set_mtime(&at(directory), (1_000, 5));
    }
    set_mtime(&at("lower"), (1_000, 5));
    let record = copy_with_record(&at("lower"), &at("upper"));
    let before = rustix::fs::lstat(at("upper/one/f")).unwrap();
    for (old, new) in [("one", "tmp"), ("two", "one"), ("tmp", "two")] {
        fs_err::rename(at("upper").join(old), at("upper").join(new)).unwrap();
    }
    set_mtime(&at("upper"), (1_000, 5));
    let after = rustix::fs::lstat(at("upper/two/f")).unwrap();
    assert_eq!(
        (after.st_ctime, after.st_ctime_nsec),
        (before.st_ctime, before.st_ctime_nsec)
    );
    let found = changed(&at("lower"), &at("upper"), &record);
    assert_eq!(found, ["one", "one/f", "two", "two/f"]);
}

#[test]
fn a_record_knows_every_inode_and_spares_reading() {
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    fs_err::create_dir_all(at("lower/d")).unwrap();
    for name in ["lower/a", "lower/d/b", "lower/d/c"] {
        fs_err::write(at(name), "1").unwrap();
    }
    let flags = AtFlags::empty();
    rustix::fs::linkat(CWD, at("lower/a"), CWD, at("lower/d/z"), flags).unwrap();
    rustix::fs::symlinkat("a", CWD, at("lower/s")).unwrap();
    let record = copy_with_record(&at("lower"), &at("upper"));
    assert_eq!(record.len(), 6); // the root, d, and four more inodes
    assert!(changed(&at("lower"), &at("upper"), &record).is_empty());
    // What vouched files hold is not read: a difference that their change times do not tell
    // (the lower tree was written to, which it never may be) goes unnoticed.
    fs_err::write(at("lower/d/c"), "2").unwrap();
    let time = rustix::fs::lstat(at("upper/d/c")).unwrap();
    set_mtime(&at("lower/d/c"), (time.st_mtime, time.st_mtime_nsec as i64));
    assert!(changed(&at("lower"), &at("upper"), &record).is_empty());
    let found = whole(Some(&at("lower")), &at("upper"), &CompareOptions::default()).unwrap();
    assert_eq!(found.len(), 2);
}
