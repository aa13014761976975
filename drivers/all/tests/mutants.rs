//! The random scripts themselves under test: each planted defect must be found by them.
//!
//! The list stands in `docs/testing.md`. The usual run takes every sixth, `STRATA_SOAK` all; `STRATA_MUTANTS=NAME` runs
//! those whose name holds it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod planted;

use anyhow::{Context as _, Result};
use planted::blind::BLIND;
use planted::blind_again::BLIND_AGAIN;
use planted::defects::{Base, DEFECTS, Defect};
use planted::third::THIRD;
use planted::{MutantFactory, Plant};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use strata_driver::{Availability, DriverFactory, Host, OpenOptions};
use strata_harness::Setting;
use strata_harness::case::Verdict;
use strata_harness::conformance::Progress;
use strata_harness::fixture::{FileSystemKind, Fixture};
use strata_harness::model::quirks::Bent;
use strata_harness::seed::{Seed, rounds};
use strata_harness::suites;
use strata_harness::trial::{Campaign, Extent, Outcome, run_campaign};

/// Planted by people who had not seen the generator, and not found: what there is to do.
const NOT_FOUND: &[&str] = &[
    "commit-links-equal-files",
    "apply-follows-link-to-directory",
];

/// Each must be found within this time.
const TIME: Duration = Duration::from_mins(1);
/// Bytes of the file system that a driver is given; sparse.
const SIZE: u64 = 4 << 30;

/// Runs scripts on a driver with a defect.
fn hunt(defect: &Defect, extent: Extent) -> Result<Outcome> {
    let inner: Arc<dyn DriverFactory> = match defect.base {
        Base::Vfs => Arc::new(strata_vfs::VfsFactory),
        Base::Overlay => Arc::new(strata_overlay::OverlayFactory),
    };
    let factory = MutantFactory {
        inner,
        plant: defect.plant,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let host = Host::probe();
    let fixture = Fixture::file_system(FileSystemKind::Ext4, SIZE)?;
    let open = OpenOptions::new(fixture.path().join("root"));
    let Availability::Available(capabilities) = factory.probe(&host, &open.root) else {
        anyhow::bail!("`{}` does not run here", factory.name());
    };
    let setting = Setting {
        factory: Arc::new(factory),
        host,
        runtime: Arc::new(runtime),
        place: fixture.path().to_owned(),
        kind: fixture.kind(),
        seed: Seed(1),
        child: None,
        open,
    };
    let campaign = Campaign {
        seed: Seed(1),
        extent,
        bent: Bent::declared(capabilities.quirks),
        patience: Duration::ZERO,
    };
    run_campaign(&campaign, &setting, |_, _, _| ()).context(defect.name)
}

#[test]
fn every_planted_defect_is_found() -> Result<()> {
    if let Some(missing) = FileSystemKind::Ext4.missing() {
        eprintln!("skipped: {missing}");
        return Ok(());
    }
    let wanted = std::env::var("STRATA_MUTANTS").unwrap_or_default();
    let (mut table, mut missed) = (String::new(), Vec::new());
    // All of them take five minutes.
    let step = if wanted.is_empty() { rounds(6, 1) } else { 1 };
    let all = DEFECTS.iter().chain(BLIND).chain(BLIND_AGAIN).chain(THIRD);
    let chosen = all.filter(|one| one.name.contains(&wanted));
    for defect in chosen.step_by(step) {
        let outcome = hunt(defect, Extent::Time(TIME))?;
        let (law, after) = if let Some(found) = &outcome.found {
            (found.failure.law.as_str(), found.after)
        } else {
            if !NOT_FOUND.contains(&defect.name) {
                missed.push(defect.name);
            }
            ("none", outcome.elapsed)
        };
        let after = after.as_secs_f64();
        let row = format!(
            "| `{}` | {law} | {after:.1} | {} |",
            defect.name, outcome.cases
        );
        eprintln!("{row}");
        writeln!(table, "{row}")?;
        if let Some(found) = &outcome.found {
            let text: String = found.failure.text.chars().take(300).collect();
            eprintln!("    {}", text.replace('\n', "\n    "));
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}\n{table}");
    Ok(())
}

#[test]
fn nothing_is_found_without_a_defect() -> Result<()> {
    if let Some(missing) = FileSystemKind::Ext4.missing() {
        eprintln!("skipped: {missing}");
        return Ok(());
    }
    for base in [Base::Vfs, Base::Overlay] {
        let control = Defect {
            name: "none",
            base,
            plant: Plant::Nothing,
        };
        let outcome = hunt(&control, Extent::Cases(20))?;
        let found = outcome.found.map(|found| found.failure.text);
        assert_eq!(found, None, "{base:?}");
    }
    Ok(())
}

/// What of fsx on a lower file fails with the defect of that name; none where it cannot be run.
fn failures_of_suite(defect: &str) -> Result<Option<String>> {
    let defect = DEFECTS.iter().find(|one| one.name == defect);
    let plant = defect.map_or(Plant::Nothing, |defect| defect.plant);
    let factory: Arc<dyn DriverFactory> = Arc::new(MutantFactory {
        inner: Arc::new(strata_vfs::VfsFactory),
        plant,
    });
    let options = suites::Options {
        kinds: vec![FileSystemKind::Ext4],
        filter: "fsx_lower_file".to_owned(),
        progress: Progress::Silent,
    };
    let summary = suites::run(&[factory], &options)?;
    // The plain directory comes first.
    Ok(match &summary.drivers[1].outcomes[0].verdict {
        Verdict::Passed => Some(String::new()),
        Verdict::Failed(reason) => Some(reason.clone()),
        Verdict::Skipped(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    })
}

#[test]
fn suites_of_others_see_what_only_a_file_of_a_lower_layer_shows() -> Result<()> {
    for (defect, told) in [
        ("none", ""),
        ("copy-fills-holes", "data starts at"),
        ("copy-splits-hard-links", "its other name differs"),
        ("remount-forgets-newest", "the layers on disk"),
    ] {
        let Some(reason) = failures_of_suite(defect)? else {
            return Ok(());
        };
        let as_told = reason.contains(told) && (defect != "none" || reason.is_empty());
        assert!(as_told, "{defect}: {reason}");
    }
    Ok(())
}
