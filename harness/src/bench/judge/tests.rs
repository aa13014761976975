//! Tests of judging on made-up samples with known answers.

use super::judge;
use crate::bench::report::{CellReport, Role};
use crate::bench::sample::{Figure, Measured, PhaseSample, Sample, Space, Unit};
use crate::bench::verdict::Verdict;
use crate::bench::workloads::Cache;
use crate::seed::Seed;
use std::collections::BTreeMap;

fn figure(value: f64) -> Figure {
    let unit = Unit::Count;
    Figure { value, unit }
}

fn cell(name: &str, role: Role, times: impl Fn(u32) -> f64) -> CellReport {
    let samples = (0..10)
        .map(|block| Sample {
            block,
            order: u64::from(block),
            t0_ns: 0,
            ns: times(block) as u64,
            dev_write: Some(4096),
            measured: Measured {
                phases: vec![PhaseSample {
                    name: "work".into(),
                    ns: times(block) as u64,
                    drain_ns: 5,
                    ..PhaseSample::default()
                }],
                figures: BTreeMap::from([("odd".into(), figure(f64::from(block)))]),
                latencies: BTreeMap::from([("op".into(), vec![1, 1_000 + u64::from(block)])]),
                space: Some(Space {
                    used: 300,
                    logical: 200,
                }),
            },
            entries_walked: 3,
            digest: String::new(),
        })
        .collect();
    CellReport {
        workload: "work".into(),
        cache: Cache::Warm,
        params: BTreeMap::new(),
        cell: name.into(),
        role,
        driver: (role != Role::Control).then(|| name.trim_end_matches('\'').to_owned()),
        fs: "ext4".into(),
        mkfs: String::new(),
        opts: BTreeMap::new(),
        durability: None,
        samples,
        syscalls: None,
        counts: Vec::new(),
        summary: None,
        incorrect: None,
    }
}

/// A machine that drifts threefold and jitters by a few per cent.
fn noise(seed: u64, block: u32) -> f64 {
    let jitter = Seed(seed).generator(&format!("{block}")).below(400) as f64 / 10_000.0;
    1e6 * (1.0 + f64::from(block) * 0.3) * (1.0 + jitter)
}

#[test]
fn ratios_within_blocks_see_through_drift() {
    let mut cells = vec![
        cell("control", Role::Control, |block| noise(1, block)),
        cell("slow", Role::Measured, |block| noise(2, block) * 1.4),
        cell("same", Role::Measured, |block| noise(3, block)),
        cell("fast", Role::Measured, |block| noise(4, block) * 0.6),
        cell("slow'", Role::Twin, |block| noise(5, block) * 1.4),
    ];
    let check = judge(&mut cells, 1);
    let verdict = |index: usize| cells[index].summary.as_ref().unwrap().verdict;
    assert_eq!(verdict(0), None);
    assert_eq!(verdict(1), Some(Verdict::Slower));
    assert_eq!(verdict(2), Some(Verdict::Equivalent));
    assert_eq!(verdict(3), Some(Verdict::Faster));
    assert_eq!((check.pairs, check.of.as_deref()), (1, Some("slow")));
    let summary = cells[1].summary.as_ref().unwrap();
    assert_eq!(summary.dev_write, Some(4096.0));
    assert!((summary.drain_ns - 5.0).abs() < f64::EPSILON);
    assert_eq!(summary.figures["odd"], figure(4.5));
    let pooled = summary.latencies_ns["op"];
    assert_eq!((pooled.count, pooled.p50, pooled.max), (20, 1, 1_009));
    assert_eq!(summary.space_amplification, Some(1.5));
}

#[test]
fn an_incorrect_cell_has_no_speed() {
    let mut cells = vec![
        cell("control", Role::Control, |block| noise(1, block)),
        cell("wrong", Role::Measured, |block| noise(2, block) * 0.1),
    ];
    cells[1].incorrect = Some("a file is lost".into());
    judge(&mut cells, 1);
    assert!(cells[1].summary.is_none());
}

#[test]
fn a_twin_that_differs_is_counted() {
    let mut cells = vec![
        cell("one", Role::Measured, |block| noise(1, block)),
        cell("one'", Role::Twin, |block| noise(2, block) * 2.0),
    ];
    let check = judge(&mut cells, 1);
    assert_eq!((check.pairs, check.significant), (1, 1));
}
