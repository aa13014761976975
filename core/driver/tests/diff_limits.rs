//! What a diff refuses, how little of a partial tree it walks, and its options.
#![expect(clippy::unwrap_used, reason = "a failed step of a test may panic")]

#[expect(dead_code, reason = "each test uses its own part")]
mod diff_support;

use diff_support::{directory, scratch, set_mtime, threads, whole, written};
use rustix::fs::{AtFlags, CWD};
use std::ffi::CString;
use std::os::fd::AsFd as _;
use std::path::Path;
use strata_driver::diff::{
    CompareOptions, Comparison, Mark, Marks, Outcome, Upper, UpperEntry, compare,
};
use strata_driver::{ChangeKind, Counters, DiffOptions, ErrorKind};

/// Marks as aufs has them: by name.
struct ByName;

impl Marks for ByName {
    fn classify(&self, entry: &UpperEntry<'_>) -> strata_driver::Result<Mark> {
        let name = entry.name();
        if name.starts_with(b".wh..wh.") {
            return Ok(Mark::Hidden);
        }
        if let Some(name) = name.strip_prefix(b".wh.") {
            return Ok(Mark::WhiteoutOf(CString::new(name).unwrap()));
        }
        Ok(if entry.holds(c".wh..wh..opq")? {
            Mark::OpaqueDirectory
        } else {
            Mark::Plain
        })
    }
}

fn partial(lower: &Path, upper: &Path, counters: &Counters) -> Outcome {
    let (lower, upper) = (directory(lower), directory(upper));
    let upper = Upper::Partial {
        root: upper.as_fd(),
        marks: &ByName,
    };
    let options = CompareOptions::default().with_threads(threads(1));
    compare(Some(lower.as_fd()), upper, &options, counters).unwrap()
}

fn listed(comparison: &Comparison) -> Vec<(String, ChangeKind)> {
    let changes = comparison.changes().into_iter();
    changes
        .map(|change| (String::from_utf8(change.path).unwrap(), change.kind))
        .collect()
}

#[test]
fn marks_by_name_hide_and_opaque_directories_are_whole() {
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    for directory in [
        "lower/d",
        "lower/o",
        "lower/gone/deep",
        "upper/o",
        "upper/.wh..wh.plnk",
    ] {
        fs_err::create_dir_all(at(directory)).unwrap();
    }
    for file in [
        "lower/d/kept",
        "lower/o/hidden",
        "lower/o/same",
        "lower/gone/deep/f",
    ] {
        fs_err::write(at(file), "1").unwrap();
        set_mtime(&at(file), (1, 0));
    }
    for file in [
        "upper/.wh.gone",
        "upper/.wh.never",
        "upper/o/.wh..wh..opq",
        "upper/o/.wh.x",
        "upper/o/same",
    ] {
        fs_err::write(at(file), if file.ends_with("same") { "1" } else { "" }).unwrap();
        set_mtime(&at(file), (1, 0));
    }
    set_mtime(&at("upper/o"), (2, 0));
    let Outcome::Compared(found) = partial(&at("lower"), &at("upper"), &Counters::default()) else {
        panic!("it tells by itself");
    };
    let wanted = [
        ("gone", ChangeKind::Deleted),
        ("o", ChangeKind::Modified),
        ("o/hidden", ChangeKind::Deleted),
    ];
    assert_eq!(
        listed(&found),
        wanted.map(|(path, kind)| (path.into(), kind))
    );
}

#[test]
fn a_partial_tree_costs_what_changed() {
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    for directory in 0..20 {
        let directory = at(&format!("lower/d{directory}/sub"));
        fs_err::create_dir_all(&directory).unwrap();
        for file in 0..50 {
            fs_err::write(directory.join(format!("f{file}")), "1").unwrap();
        }
    }
    fs_err::create_dir_all(at("upper/d3/sub")).unwrap();
    for file in 0..30 {
        fs_err::write(at(&format!("upper/d3/sub/f{file}")), "22").unwrap();
    }
    let counters = Counters::default();
    let Outcome::Compared(found) = partial(&at("lower"), &at("upper"), &counters) else {
        panic!("it tells by itself");
    };
    assert_eq!(found.len(), 32);
    let walked = counters.entries_walked();
    assert!(walked <= 10 + 4 * 32, "{walked} walked");
    assert!(walked >= 32, "{walked} walked: not counted");
}

/// A copied-up file that equals its lower one, whose other names below were not looked at.
#[test]
fn an_unchanged_copy_of_a_linked_file_needs_whole_trees() {
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    fs_err::create_dir(at("lower")).unwrap();
    fs_err::create_dir(at("upper")).unwrap();
    for tree in ["lower/b", "upper/b"] {
        fs_err::write(at(tree), "1").unwrap();
        set_mtime(&at(tree), (1, 0));
    }
    let counters = Counters::default();
    let empty = |outcome: &Outcome| matches!(outcome, Outcome::Compared(found) if found.len() <= 1);
    assert!(empty(&partial(&at("lower"), &at("upper"), &counters)));
    rustix::fs::linkat(CWD, at("lower/b"), CWD, at("lower/a"), AtFlags::empty()).unwrap();
    let outcome = partial(&at("lower"), &at("upper"), &counters);
    assert!(matches!(outcome, Outcome::NeedsWholeTrees), "{outcome:?}");
    // With the other name hidden, all names are known.
    fs_err::write(at("upper/.wh.a"), "").unwrap();
    let Outcome::Compared(found) = partial(&at("lower"), &at("upper"), &counters) else {
        panic!("all names are known");
    };
    assert!(listed(&found).contains(&("a".into(), ChangeKind::Deleted)));
    assert!(!listed(&found).iter().any(|(path, _)| path == "b"));
}

#[test]
fn names_of_whiteouts_are_refused_by_path() {
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    fs_err::create_dir_all(at("lower/d")).unwrap();
    fs_err::create_dir_all(at("upper/d")).unwrap();
    fs_err::write(at("upper/d/.wh.x"), "1").unwrap();
    for lower in [None, Some(&*at("lower"))] {
        let error = whole(lower, &at("upper"), &CompareOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.context("path"), Some("d/.wh.x"));
    }
    let error = whole(Some(&at("upper")), &at("lower"), &CompareOptions::default()).unwrap_err();
    assert_eq!(error.context("path"), Some("d/.wh.x"));
}

#[test]
fn a_file_that_changes_its_size_while_it_is_read_is_an_error() {
    for (size, new) in [
        (10, 9),
        (10, 11),
        (0x0010_0000, 0x0010_0001),
        (0x0010_0000, 0),
        (0x0008_0000, 0x0008_0200),
    ] {
        let scratch = scratch();
        let file = scratch.path().join("f");
        fs_err::write(&file, vec![1; size]).unwrap();
        let found = whole(None, scratch.path(), &CompareOptions::default()).unwrap();
        written(&found);
        fs_err::write(&file, vec![1; new]).unwrap();
        let error = found
            .write(&mut Vec::new(), &DiffOptions::default())
            .unwrap_err();
        assert_eq!(
            error.context("path"),
            Some("f"),
            "{size} to {new}: {error:?}"
        );
        assert!(error.to_string().contains("changed its size"), "{error}");
    }
}

#[test]
fn clamped_times_are_lowered_and_earlier_ones_stay() {
    let scratch = scratch();
    for (name, time) in [("early", (999, 5)), ("late", (1_000, 1))] {
        fs_err::write(scratch.path().join(name), "").unwrap();
        set_mtime(&scratch.path().join(name), time);
    }
    let found = whole(None, scratch.path(), &CompareOptions::default()).unwrap();
    let mut clamped = Vec::new();
    let options = DiffOptions::default().with_clamp_mtime(1_000);
    found.write(&mut clamped, &options).unwrap();
    set_mtime(&scratch.path().join("late"), (1_000, 0));
    let found = whole(None, scratch.path(), &CompareOptions::default()).unwrap();
    assert_eq!(clamped, written(&found));
    let text = String::from_utf8_lossy(&clamped);
    assert!(
        text.contains("mtime=999.000000005"),
        "the early time is whole"
    );
}

#[test]
fn a_failed_writer_is_an_error() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(
                rustix::io::Errno::NOSPC.raw_os_error(),
            ))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let scratch = scratch();
    let found = whole(None, scratch.path(), &CompareOptions::default()).unwrap();
    let error = found.write(&mut Full, &DiffOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
}

#[test]
fn data_where_the_other_file_has_a_hole_is_found() {
    const SIZE: u64 = 8 << 20;
    let cases = [
        (0, None),
        (4 << 20, None),
        (SIZE - 4096, None),
        (0, Some(4 << 20)),
    ];
    for (upper_at, lower_at) in cases {
        for swapped in [false, true] {
            let scratch = scratch();
            let at = |name: &str| scratch.path().join(name);
            for (tree, place) in [("upper", Some(upper_at)), ("lower", lower_at)] {
                fs_err::create_dir(at(tree)).unwrap();
                let file = fs_err::File::create(at(tree).join("f")).unwrap();
                rustix::fs::ftruncate(&file, SIZE).unwrap();
                if let Some(place) = place {
                    rustix::io::pwrite(&file, b"data", place).unwrap();
                }
                set_mtime(&at(tree).join("f"), (1, 0));
                set_mtime(&at(tree), (1, 0));
            }
            let (lower, upper) = if swapped {
                ("upper", "lower")
            } else {
                ("lower", "upper")
            };
            let found = whole(Some(&at(lower)), &at(upper), &CompareOptions::default()).unwrap();
            assert_eq!(
                listed(&found),
                [("f".into(), ChangeKind::Modified)],
                "{upper_at} {lower_at:?}"
            );
        }
    }
}
