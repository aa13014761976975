//! Tests of what is shown, on a made-up report.

use super::{bytes, digits, duration, json, markdown, table};
use crate::bench::environment::Environment;
use crate::bench::plan::Profile;
use crate::bench::report::{
    BenchReport, CellReport, Role, RunFacts, SCHEMA, SelfCheck, Skipped, Stopped,
};
use crate::bench::sample::{Figure, Measured, Sample, Space, SyscallCounts, Unit};
use crate::bench::workloads::Cache;
use std::collections::BTreeMap;
use strata_driver::Durability;

fn cell(workload: &str, name: &str, ns: u64) -> CellReport {
    let samples = (0..10).map(|block| Sample {
        block,
        order: u64::from(block),
        t0_ns: 1,
        ns: ns + u64::from(block % 3),
        dev_write: Some(8192),
        measured: Measured {
            phases: Vec::new(),
            figures: BTreeMap::from([(
                "exdev".into(),
                Figure {
                    value: 1.0,
                    unit: Unit::Count,
                },
            )]),
            latencies: BTreeMap::from([("txn".into(), vec![2_000_000, 5_000_000])]),
            space: Some(Space {
                used: 3 << 20,
                logical: 2 << 20,
            }),
        },
        entries_walked: 0,
        digest: "d".into(),
    });
    let control = name == "control";
    CellReport {
        workload: workload.into(),
        cache: Cache::Warm,
        params: BTreeMap::from([("files".into(), 3)]),
        cell: name.into(),
        role: if control {
            Role::Control
        } else {
            Role::Measured
        },
        driver: (!control).then(|| "one".into()),
        fs: "ext4".into(),
        mkfs: "mkfs.ext4 FILE".into(),
        opts: BTreeMap::new(),
        durability: (!control).then_some(Durability::Durable),
        samples: samples.collect(),
        syscalls: Some(SyscallCounts {
            all: 40,
            syncs: BTreeMap::from([("fsync".into(), 2)]),
            ..SyscallCounts::default()
        }),
        counts: Vec::new(),
        summary: None,
        incorrect: None,
    }
}

fn report(rows: usize) -> BenchReport {
    let mut cells = Vec::new();
    for row in 0..rows {
        let name = format!("work-{row}");
        cells.push(cell(&name, "control", 1_000_000));
        cells.push(cell(&name, "one:ext4", 3_000_000));
        cells.push(cell(&name, "two:xfs", 500_000));
    }
    cells[2].incorrect = Some("`a` is lost".into());
    let aa = crate::bench::judge::judge(&mut cells, 1);
    assert_eq!(aa, SelfCheck::default());
    BenchReport {
        schema: SCHEMA,
        run: RunFacts {
            seed: 42,
            started_ms: 0,
            seconds: 12.0,
            blocks: 10,
            stopped: Stopped::BlocksDone,
            profile: Profile::Quick,
            input: "seeded corpus".into(),
            command: "strata bench --seed 42".into(),
            git: None,
            job: None,
            syscalls: "counted".into(),
            env: Environment::default(),
            fingerprint: String::new(),
        },
        cells,
        aa,
        skipped: vec![Skipped {
            what: "three:btrfs".into(),
            reason: "the kernel has no btrfs".into(),
        }],
    }
}

#[test]
fn table_shows_times_verdicts_counts_and_hides_the_speed_of_what_is_wrong() {
    let text = table::render(&report(2));
    for wanted in [
        "3.00 ms",
        "slower",
        "faster",
        "8.00 KiB",
        "INCORRECT",
        "seed 42",
        "three:btrfs",
        "repeat: strata bench --seed 42",
        "durability: durable",
        "space 1.50x, exdev 1, txn p50 2.00 ms p99 5.00 ms of 20",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing in\n{text}");
    }
    let wrong = text
        .lines()
        .find(|line| line.contains("INCORRECT"))
        .unwrap();
    assert!(!wrong.contains("us") || wrong.contains("is lost"));
    assert_eq!(report(2).exit_code(), 1);
}

#[test]
fn summary_stays_within_forty_lines_and_names_what_is_wrong() {
    let text = markdown::render(&report(14));
    assert!(text.lines().count() <= 40);
    assert!(text.contains("**incorrect**: two:xfs on work-0"));
    assert!(
        text.contains("| work-3 | 1.00 ms | 3.00 ms 3.00x +"),
        "{text}"
    );
    assert!(text.contains("2 syncs, space 1.50x, exdev 1, txn p50"));
}

#[test]
fn json_has_the_version_and_every_sample() {
    let value: serde_json::Value =
        serde_json::from_str(&json::render(&report(1)).unwrap()).unwrap();
    assert_eq!(value["schema"], "strata-bench/2");
    assert_eq!(value["cells"][1]["samples"].as_array().unwrap().len(), 10);
    assert_eq!(value["cells"][1]["syscalls"]["syncs"]["fsync"], 2);
    assert_eq!(value["cells"][1]["durability"], "durable");
    let sample = &value["cells"][1]["samples"][0];
    assert!(sample["phases"].is_array());
    assert_eq!(sample["figures"]["exdev"]["unit"], "count");
    assert_eq!(sample["latencies"]["txn"][1], 5_000_000);
    assert_eq!(sample["space"]["logical"], 2 << 20);
    assert_eq!(value["cells"][1]["summary"]["space_amplification"], 1.5);
    assert_eq!(
        value["cells"][1]["summary"]["latencies_ns"]["txn"]["count"],
        20
    );
    assert!(value["cells"][2]["summary"].is_null());
}

#[test]
fn units_suit_the_size() {
    assert_eq!(duration(1_500.0), "1.50 us");
    assert_eq!(duration(2.5e9), "2.50 s");
    assert_eq!(duration(-533_277.0), "-533 us");
    assert_eq!(bytes(512.0), "512 B");
    assert_eq!(bytes(131_176.0 * 1024.0), "128 MiB");
    assert_eq!(digits(12.34), "12.3");
}
