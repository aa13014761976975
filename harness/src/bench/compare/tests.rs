//! Tests of comparisons on made-up runs.

use super::rules::{Judged, Portable, RULES};
use super::{Baseline, Comparison, Gate, Recorded, Unlike, compare, show};
use crate::bench::unfit::Unfit;
use serde_json::{Value, json};

/// Ten blocks around `ns`, and these counts.
fn cell(row: &str, ns: u64, counts: &Value) -> Value {
    let samples: Vec<Value> = (0..10_u64)
        .map(|block| {
            json!({"block": block, "ns": ns + block % 3, "dev_write": 1 << 24,
                   "entries_walked": 7, "phases": []})
        })
        .collect();
    json!({"workload": row, "cache": "warm", "params": {"files": 3}, "cell": "one:ext4",
           "role": "measured", "fs": "ext4", "mkfs": "mkfs.ext4 FILE", "samples": samples,
           "counts": [counts], "incorrect": null})
}

fn file(cells: &[Value]) -> Value {
    json!({"schema": "strata-bench/2",
           "run": {"seed": 1, "profile": "quick", "input": "seeded", "git": "abc",
                   "env": {"kernel": "6.1", "load": "0.1", "bench": "0.1.0"}, "job": null},
           "cells": cells, "aa": {"of": null, "pairs": 12, "significant": 0, "rows": []},
           "skipped": []})
}

fn counts(syncs: u64) -> Value {
    json!({"syncs": syncs, "mounts": 4, "names": 100, "calls": 1000 + syncs * 50})
}

fn run(syncs: u64) -> Value {
    file(&[cell("fork", 1_000_000, &counts(syncs))])
}

fn read(file: &Value) -> Recorded {
    Recorded::parse(&file.to_string()).unwrap()
}

fn held(old: &Value, new: &Value, gate: Gate) -> Comparison {
    compare(&read(old), &read(new), gate, Unlike::Refuse)
}

#[test]
fn one_sync_more_is_a_regression_and_one_less_is_told() {
    let found = held(&run(2), &run(3), Gate::Counts);
    assert_eq!(found.exit_code(), 2);
    let summary = show::summary(&found);
    assert!(
        summary.contains("| **worse** | fork | one:ext4 | syncs | 2 | 3 | +50.0 % |"),
        "{summary}"
    );
    assert_eq!(held(&run(2), &run(3), Gate::None).exit_code(), 0);
    let found = held(&run(3), &run(2), Gate::Counts);
    assert_eq!(found.exit_code(), 0);
    assert!(show::table(&found).contains("better     fork on one:ext4: syncs 3 -> 2"));
    assert_eq!(held(&run(2), &run(2), Gate::Counts).better.len(), 0);
}

#[test]
fn wrong_result_comes_before_a_regression() {
    let mut new = run(3);
    let mut wrong = cell("mount", 1, &counts(1));
    wrong["incorrect"] = "`a` is lost".into();
    new["cells"].as_array_mut().unwrap().push(wrong);
    let found = held(&run(2), &new, Gate::Counts);
    assert_eq!(found.exit_code(), 1);
    assert!(show::summary(&found).contains("**incorrect**: mount on one:ext4: `a` is lost"));
}

#[test]
fn wrong_control_is_a_wrong_run() {
    let mut new = run(2);
    let mut control = cell("fork", 1, &counts(1));
    control["role"] = "control".into();
    control["incorrect"] = "`a` is lost".into();
    new["cells"].as_array_mut().unwrap().push(control);
    assert_eq!(held(&run(2), &new, Gate::Counts).exit_code(), 1);
}

#[test]
fn first_run_without_counts_gives_no_verdict() {
    let mut old = run(2);
    old["cells"][0]["counts"] = json!([]);
    let found = held(&old, &run(9), Gate::Counts);
    assert_eq!(found.exit_code(), 3);
    assert!(found.missing[0].contains("counted no calls"), "{found:?}");

    let mut baseline = serde_json::to_value(Baseline::of(&read(&run(2))).unwrap()).unwrap();
    let counts = &mut baseline["cells"]["one:ext4"]["fork"];
    counts["nmes"] = counts.as_object_mut().unwrap().remove("names").unwrap();
    let found = held(&baseline, &run(2), Gate::Counts);
    assert_eq!(found.exit_code(), 3);
    assert!(found.missing[0].contains("`nmes`"), "{found:?}");
}

#[test]
fn runs_made_otherwise_are_refused_unless_forced() {
    for (pointer, value) in [
        ("/run/env/kernel", json!("6.2")),
        ("/run/seed", json!(2)),
        ("/run/profile", json!("full")),
        ("/run/input", json!("another")),
        ("/cells/0/mkfs", json!("mkfs.ext4 -O other FILE")),
    ] {
        let mut new = run(3);
        *new.pointer_mut(pointer).unwrap() = value;
        let found = held(&run(2), &new, Gate::Counts);
        assert_eq!(found.exit_code(), 3, "{pointer}");
        assert!(found.unfit().unwrap().contains("--force"));
        let forced = compare(&read(&run(2)), &read(&new), Gate::Counts, Unlike::Force);
        assert_eq!(forced.exit_code(), 2, "{pointer}");
    }
    // What changes from minute to minute, and the program that is compared.
    for pointer in ["/run/env/load", "/run/env/bench"] {
        let mut new = run(2);
        *new.pointer_mut(pointer).unwrap() = "9".into();
        assert_eq!(
            held(&run(2), &new, Gate::Counts).exit_code(),
            0,
            "{pointer}"
        );
    }
}

#[test]
fn what_is_missing_gives_no_verdict() {
    let both = file(&[cell("fork", 1, &counts(2)), cell("mount", 1, &counts(2))]);
    let mut one = run(2);
    let found = held(&both, &one, Gate::Counts);
    assert_eq!(found.exit_code(), 3, "{}", show::table(&found));
    let forced = compare(&read(&both), &read(&one), Gate::Counts, Unlike::Force);
    assert_eq!(forced.exit_code(), 0);
    // A regression in what is there stays one.
    assert_eq!(held(&both, &run(3), Gate::Counts).exit_code(), 2);
    // Sizes that changed are nothing to compare, nor are runs without a common row.
    one["cells"][0]["params"]["files"] = 4.into();
    assert_eq!(held(&run(2), &one, Gate::Counts).exit_code(), 3);
    let forced = compare(
        &read(&run(2)),
        &read(&file(&[])),
        Gate::Counts,
        Unlike::Force,
    );
    assert_eq!(forced.exit_code(), 3);
}

#[test]
fn times_are_judged_only_within_one_job() {
    let at = |ns: u64, job: Value| {
        let mut run = file(&[cell("fork", ns, &counts(2))]);
        run["run"]["job"] = job;
        run
    };
    let apart = held(
        &at(1_000_000, Value::Null),
        &at(2_000_000, Value::Null),
        Gate::Times,
    );
    assert_eq!(apart.exit_code(), 3);
    assert!(show::table(&apart).contains("not judged"));
    let other = held(
        &at(1_000_000, "a".into()),
        &at(2_000_000, "b".into()),
        Gate::Times,
    );
    assert_eq!(other.exit_code(), 3);
    let slower = held(
        &at(1_000_000, "a".into()),
        &at(2_000_000, "a".into()),
        Gate::Times,
    );
    assert_eq!(slower.exit_code(), 2, "{}", show::table(&slower));
    assert!(show::summary(&slower).contains("| **slower** | fork | one:ext4 | time |"));
    let faster = held(
        &at(2_000_000, "a".into()),
        &at(1_000_000, "a".into()),
        Gate::Times,
    );
    assert_eq!(faster.exit_code(), 0);
    assert!(show::summary(&faster).contains("| faster | fork |"));
    // Counts do not mind slow times, and a noisy machine proves nothing about times.
    assert_eq!(
        held(
            &at(1_000_000, "a".into()),
            &at(2_000_000, "a".into()),
            Gate::Counts
        )
        .exit_code(),
        0
    );
    let mut noisy = at(2_000_000, "a".into());
    noisy["aa"]["significant"] = 6.into();
    assert_eq!(
        held(&at(1_000_000, "a".into()), &noisy, Gate::Times).exit_code(),
        3
    );
}

#[test]
fn files_of_other_versions_say_what_to_do() {
    for version in ["strata-bench/1", "strata-bench/99"] {
        let mut old = run(2);
        old["schema"] = version.into();
        let error = Recorded::parse(&old.to_string()).unwrap_err();
        assert!(error.is::<Unfit>(), "{error:#}");
        assert!(error.to_string().contains("repeat the run"), "{error:#}");
    }
    assert!(Recorded::parse("{}").is_err());
}

#[test]
fn summary_stays_within_forty_lines() {
    let rows = |syncs: u64| {
        let cells: Vec<Value> = (0..60)
            .map(|row| cell(&format!("row-{row}"), 1, &counts(syncs)))
            .collect();
        file(&cells)
    };
    let mut new = rows(3);
    new["cells"].as_array_mut().unwrap().truncate(40);
    for gate in [Gate::Counts, Gate::Times, Gate::None] {
        let summary = show::summary(&held(&rows(2), &new, gate));
        assert!(summary.lines().count() <= 40, "{summary}");
        assert!(summary.contains("and 30 more"), "{summary}");
    }
}

#[test]
fn baseline_keeps_what_does_not_depend_on_the_machine() {
    let first = read(&run(2));
    let baseline = Baseline::of(&first).unwrap();
    let kept = &baseline.cells["one:ext4"]["fork"];
    assert!(
        kept.contains_key("syncs") && !kept.contains_key("device-bytes"),
        "{kept:?}"
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("baseline.json");
    baseline.write(&path).unwrap();
    let known = Recorded::read(&path).unwrap();
    let mut elsewhere = run(2);
    elsewhere["run"]["env"]["kernel"] = "7.0".into();
    let judge = |new: &Value| compare(&known, &read(new), Gate::Counts, Unlike::Refuse).exit_code();
    assert_eq!(judge(&elsewhere), 0);
    assert_eq!(judge(&run(3)), 2);
    elsewhere["run"]["seed"] = 5.into();
    assert_eq!(judge(&elsewhere), 3);
    let mut uncounted = run(2);
    uncounted["cells"][0]["counts"] = json!([]);
    assert!(Baseline::of(&read(&uncounted)).is_err());
}

#[test]
fn rules_allow_what_was_seen_and_no_more() {
    let rule = |name: &str| RULES.iter().find(|rule| rule.name == name).unwrap();
    assert_eq!(rule("syncs").judge("ext4", 3, 4), Judged::Worse);
    assert_eq!(rule("names").judge("ext4", 2856, 2860), Judged::Unchanged);
    assert_eq!(rule("names").judge("ext4", 112, 120), Judged::Worse);
    assert_eq!(rule("data").judge("ext4", 108, 364), Judged::Unchanged);
    assert_eq!(
        rule("device-flushes").judge("ext4", 403, 803),
        Judged::Worse
    );
    assert_eq!(rule("calls").judge("ext4", 1, 1000), Judged::Unchanged);
    assert_eq!(
        rule("device-bytes").judge("ext4", 17_000_000, 19_000_000),
        Judged::Worse
    );
    assert_eq!(
        rule("device-bytes").judge("btrfs", 1, 1 << 30),
        Judged::Unchanged
    );
    for rule in RULES {
        assert!(!rule.why.is_empty());
        assert!(rule.portable == Portable::No || !rule.name.starts_with("device"));
    }
}
