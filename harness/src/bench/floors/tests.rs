//! Tests of the list of floors and of what is printed.

use super::{Figure, FloorOutcome, floor_names, render};
use crate::bench::stats::Interval;

#[test]
fn names_are_unique_and_every_goal_has_one() {
    let names = floor_names();
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    for wanted in [
        "lifecycle-1-volatile",
        "lifecycle-64-durable",
        "held-10000",
        "copy",
        "reflink-xfs",
        "apply-rootfs",
        "diff-10000",
        "diff-walked",
        "walk",
        "btrfs-lifecycle-durable",
        "btrfs-diff-walked",
        "btrfs-held-10000",
    ] {
        assert!(names.iter().any(|name| name == wanted), "{wanted}");
    }
}

#[test]
fn a_figure_over_its_limit_is_missed() {
    let figure = |median| Figure {
        what: "wall ratio".into(),
        value: Interval {
            low: median,
            median,
            high: median,
        },
        limit: 1.3,
        ours: "1 ms".into(),
        floor: "1 ms".into(),
    };
    let mut outcome = FloorOutcome {
        name: "copy".into(),
        about: "a against b".into(),
        figures: vec![figure(1.2)],
        peak_memory: 1 << 20,
    };
    assert!(outcome.is_met());
    outcome.figures.push(figure(1.4));
    assert!(!outcome.is_met() && render(&[outcome.clone()]).contains("MISSED"));
    outcome.figures.pop();
    outcome.peak_memory = 300 << 20;
    assert!(!outcome.is_met());
}
