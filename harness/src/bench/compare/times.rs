//! Times of two runs: judged where both versions took turns in one job, else only shown.

use super::read::Recorded;
use crate::bench::stats::{Bootstrap, Interval, median};
use crate::bench::verdict::{Verdict, holm, verdict};
use std::collections::BTreeMap;

/// Fewest values for an interval.
const LEAST: usize = 5;
/// Intervals leave out one in twenty.
const ALPHA: f64 = 0.05;
/// Resampling needs a seed; any will do.
const SEED: u64 = 1;

/// The time of one row on one cell, in both runs. It holds the phases that count and the writing
/// back of what they left dirty.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeChange {
    /// Row of the bench.
    pub row: String,
    /// Cell of the bench.
    pub cell: String,
    /// Median nanoseconds of the first run.
    pub old: f64,
    /// Median nanoseconds of the second run.
    pub new: f64,
    /// Second over first, with its 95 % interval.
    pub ratio: Interval,
    /// What may be said of it; none where times are not judged.
    pub verdict: Option<Verdict>,
}

impl TimeChange {
    /// Slower beyond chance and beyond the band of equality.
    pub fn is_slower(&self) -> bool {
        self.verdict == Some(Verdict::Slower)
    }
}

/// Why the times of these runs prove nothing, if so.
pub(super) fn why_not(old: &Recorded, new: &Recorded) -> Option<String> {
    match (&old.job, &new.job) {
        (Some(one), Some(other)) if one == other => {}
        _ => {
            return Some(
                "times are judged only if both versions took turns in one job: \
                 `cargo xtask bench --against REVISION --gate times`"
                    .to_owned(),
            );
        }
    }
    let noisy = [old, new].into_iter().find_map(|run| run.noisy.as_ref())?;
    Some(format!("the machine was too noisy: {noisy}"))
}

/// Times of the rows that both have.
pub(super) fn changes(old: &Recorded, new: &Recorded, judged: bool) -> Vec<TimeChange> {
    let mut found = Vec::new();
    let mut p_values = Vec::new();
    for ((row, cell), before) in &old.cells {
        let Some(now) = new.cells.get(&(row.clone(), cell.clone())) else {
            continue;
        };
        let (old, new) = (values(&before.times), values(&now.times));
        let bootstrap = if judged {
            within_blocks(&before.times, &now.times)
        } else {
            Bootstrap::of_ratio(&new, &old, SEED).filter(|_| old.len().min(new.len()) >= LEAST)
        };
        let (Some(bootstrap), Some(old), Some(new)) = (bootstrap, median(&old), median(&new))
        else {
            continue;
        };
        p_values.push(bootstrap.two_sided_p(1.0));
        found.push(TimeChange {
            row: row.clone(),
            cell: cell.clone(),
            old,
            new,
            ratio: bootstrap.interval(ALPHA),
            verdict: None,
        });
    }
    if judged {
        for (change, difference) in found.iter_mut().zip(holm(&p_values)) {
            change.verdict = Some(verdict(&change.ratio, difference));
        }
    }
    found
}

fn values(times: &BTreeMap<u32, f64>) -> Vec<f64> {
    times.values().copied().collect()
}

/// Ratios of blocks of one number, which ran side by side.
fn within_blocks(old: &BTreeMap<u32, f64>, new: &BTreeMap<u32, f64>) -> Option<Bootstrap> {
    let ratios: Vec<f64> = new
        .iter()
        .filter_map(|(block, ns)| Some(ns / old.get(block).filter(|base| **base > 0.0)?))
        .collect();
    if ratios.len() < LEAST {
        return None;
    }
    Bootstrap::of_median(&ratios, SEED)
}
