//! Planted regressions: each shuts its gate, and the gate names row, count, old and new.

use crate::TURN;
use crate::faulty::{Fault, FaultyFactory};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, PoisonError};
use strata_driver::Registry;
use strata_harness::bench::compare::{Comparison, Gate, Recorded, Unlike, compare, show};
use strata_harness::bench::{BenchPlan, BenchReport, Profile, RootfsSource, Unfit, export};
use strata_harness::bench::{exit_code, progress, run};
use strata_harness::fixture::{FileSystemKind, scratch_place};

fn smoke(fault: Fault, workload: &str, scratch: Option<PathBuf>) -> anyhow::Result<BenchReport> {
    let output = tempfile::tempdir().unwrap();
    let mut plan = BenchPlan::new(vec!["plain-copy:ext4".parse().unwrap()], output.path());
    plan.workloads = vec![workload.to_owned()];
    plan.profile = Profile::Smoke;
    plan.rootfs = RootfsSource::SmallCorpus;
    plan.scratch = scratch;
    let mut registry = Registry::new();
    registry.add(Arc::new(FaultyFactory { fault }));
    // The calls of all threads of this process are counted.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    run(plan, &registry, &mut progress::Silent)
}

/// The run as it is read back; none where this host cannot count.
fn recorded(fault: Fault, workload: &str) -> Option<Recorded> {
    if let Some(missing) = FileSystemKind::Ext4.missing() {
        eprintln!("skipped: {missing}");
        return None;
    }
    let report = match smoke(fault, workload, None) {
        Ok(report) => report,
        Err(error) if error.is::<Unfit>() => {
            eprintln!("skipped: {error}");
            return None;
        }
        Err(error) => panic!("{error:?}"),
    };
    if report.cells[0].syscalls.is_none() {
        eprintln!("skipped: system calls: {}", report.run.syscalls);
        return None;
    }
    Some(Recorded::parse(&export::json::render(&report).unwrap()).unwrap())
}

fn against_healthy(fault: Fault, workload: &str) -> Option<Comparison> {
    let old = recorded(Fault::None, workload)?;
    let new = recorded(fault, workload)?;
    Some(compare(&old, &new, Gate::Counts, Unlike::Refuse))
}

#[track_caller]
fn assert_shut(fault: Fault, workload: &str, count: &str) {
    let Some(found) = against_healthy(fault, workload) else {
        return;
    };
    assert_eq!(found.exit_code(), 2, "{}", show::table(&found));
    let change = found.worse.iter().find(|change| change.count == count);
    let change = change.unwrap_or_else(|| panic!("{count}: {}", show::table(&found)));
    assert_eq!((&*change.row, &*change.cell), (workload, "plain-copy:ext4"));
    let (old, new) = (change.old, change.new);
    let words = format!("| **worse** | {workload} | plain-copy:ext4 | {count} | {old} | {new} |");
    assert!(
        show::summary(&found).contains(&words),
        "{}",
        show::summary(&found)
    );
}

#[test]
fn gate_is_open_between_runs_of_one_build() {
    if let Some(found) = against_healthy(Fault::None, "mixed-16") {
        assert_eq!(found.exit_code(), 0, "{}", show::table(&found));
        assert!(found.worse.is_empty() && found.better.is_empty());
    }
}

#[test]
fn gate_shuts_on_a_sync_per_copied_file() {
    assert_shut(Fault::SyncsEachFile, "mixed-16", "syncs");
}

#[test]
fn gate_shuts_on_a_diff_that_walks_the_base() {
    assert_shut(Fault::WalksBase, "diff-small-on-big", "entries-walked");
}

#[test]
fn gate_shuts_on_a_mount_too_many() {
    assert_shut(Fault::MountsOnceMore, "mixed-16", "mounts");
}

#[test]
fn wrong_result_has_exit_code_1() {
    if let Some(found) = against_healthy(Fault::AddsFile, "mixed-16") {
        assert_eq!(found.exit_code(), 1, "{}", show::table(&found));
        let fault = &found.incorrect[0];
        assert!(
            fault.starts_with("mixed-16 on plain-copy:ext4: "),
            "{fault}"
        );
    }
}

/// Loop files on an ext4 without a journal.
#[test]
fn ext4_without_a_journal_has_exit_code_3() {
    if let Some(missing) = FileSystemKind::Ext4.missing() {
        eprintln!("skipped: {missing}");
        return;
    }
    let place = tempfile::tempdir_in(scratch_place()).unwrap();
    let (image, point) = (place.path().join("image"), place.path().join("point"));
    fs_err::create_dir(&point).unwrap();
    fs_err::File::create(&image)
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    tool("mkfs.ext4", &["-q", "-F", "-O", "^has_journal"], &[&image]);
    tool("mount", &["-o", "loop"], &[&image, &point]);
    let outcome = smoke(Fault::None, "mixed-16", Some(point.clone()));
    tool("umount", &[], &[&point]);
    assert_eq!(exit_code(&outcome), 3, "{outcome:?}");
    assert!(outcome.unwrap_err().to_string().contains("no journal"));
}

#[track_caller]
fn tool(name: &str, flags: &[&str], paths: &[&Path]) {
    let search = std::env::var("PATH").unwrap_or_default();
    let status = Command::new(name)
        .env("PATH", format!("{search}:/usr/sbin:/sbin"))
        .args(flags)
        .args(paths)
        .status()
        .unwrap();
    assert!(status.success(), "{name}: {status}");
}
