//! Planted defects: a driver with one fault each, and the case that must find it.
//!
//! The driver below is a small one of its own, correct until told otherwise; the harness knows no
//! other.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod faulty;
mod gate;

use faulty::{Fault, FaultyFactory};
use std::sync::{Arc, Mutex, PoisonError};
use strata_harness::conformance::{Options, Place, Progress, run};
use strata_harness::fixture::FileSystemKind;

/// One run at a time: each looks at what this process holds before and after a case.
static TURN: Mutex<()> = Mutex::new(());

/// A workload of a user's whose second layer hides a file and keeps an attribute.
const WORKLOAD: &str = "name: hides\nlayers:\n\
    - ops: [{fill: {path: d, count: 2, size: 10}}, {xattr: {path: d/0, name: trusted.a, value: b}}]\n\
    - ops: [{remove: {path: d/1}}]\n";

/// Names of the cases that fail with `fault`, among those whose name holds `filter`.
fn failing(fault: Fault, filter: &str) -> Option<Vec<String>> {
    if let Some(missing) = FileSystemKind::Ext4.missing() {
        eprintln!("skipped: {missing}");
        return None;
    }
    let mut options = Options::new();
    options.filter = Some(filter.to_owned());
    options.workloads = vec![serde_yaml::from_str(WORKLOAD).unwrap()];
    options.progress = Progress::Silent;
    options.place = Place::FileSystem(FileSystemKind::Ext4);
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let summary = run(&[Arc::new(FaultyFactory { fault })], &options).unwrap();
    drop(turn);
    let failed = summary.drivers[0].failed();
    Some(failed.into_iter().map(str::to_owned).collect())
}

/// The case fails with the fault, and passes without it.
fn assert_caught(fault: Fault, case: &str) {
    let Some(failed) = failing(fault, case) else {
        return;
    };
    assert_eq!(failed, [case], "{fault:?} must make it fail");
    assert_eq!(
        failing(Fault::None, case),
        Some(Vec::new()),
        "without a fault it must pass"
    );
}

#[test]
fn dropped_xattr_is_caught() {
    assert_caught(Fault::DropsXattr, "trusted_xattrs_are_kept");
}

#[test]
fn lost_whiteout_is_caught() {
    assert_caught(Fault::LosesWhiteout, "apply_hides_lower");
}

#[test]
fn wrong_result_of_a_users_workload_is_caught() {
    // In the tree itself, and in what its layers give elsewhere.
    assert_caught(Fault::DropsXattr, "workload_hides");
    assert_caught(Fault::LosesWhiteout, "workload_hides");
}

#[test]
fn followed_symlink_is_caught() {
    assert_caught(Fault::FollowsLinks, "apply_is_confined_over_layers");
}

#[test]
fn leaked_mount_is_caught() {
    assert_caught(Fault::LeaksMount, "basic_life");
}

#[test]
fn walking_everything_is_caught() {
    if let Some(failed) = failing(Fault::WalksEverything, "native_diff_walks_changes_only") {
        assert_eq!(failed, ["native_diff_walks_changes_only"]);
    }
}

#[test]
fn undeclared_and_unobserved_quirks_are_caught() {
    if let Some(failed) = failing(Fault::LiesAboutQuirks, "quirk_late_writer_possible") {
        assert_eq!(
            failed,
            ["quirk_late_writer_possible"],
            "an undeclared deviation"
        );
    }
    if let Some(failed) = failing(Fault::LiesAboutQuirks, "quirk_inode_changes") {
        assert_eq!(
            failed,
            ["quirk_inode_changes"],
            "a declared one that does not show"
        );
    }
}

#[test]
fn required_driver_that_is_not_there_is_a_failure() {
    let mut options = Options::new();
    options.filter = Some("no such case".into());
    options.require = vec!["another".into()];
    options.progress = Progress::Silent;
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let summary = run(&[Arc::new(FaultyFactory { fault: Fault::None })], &options).unwrap();
    drop(turn);
    assert_eq!(summary.counts().failed, 1, "{summary:?}");
}

#[test]
fn example_driver_has_under_300_lines() {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = manifest.join("../docs/examples/driver/src/lib.rs");
    let lines = fs_err::read_to_string(source).unwrap().lines().count();
    assert!(lines < 300, "{lines} lines");
}
