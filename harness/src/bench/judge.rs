//! From samples to summaries, verdicts and the self-check. Pure: nothing is measured here.

use crate::bench::report::{CellReport, Role, SelfCheck, Summary};
use crate::bench::sample::{Figure, Sample, Space};
use crate::bench::stats::{Bootstrap, Interval, Quantiles, median, median_absolute_deviation};
use crate::bench::verdict::{holm, verdict};
use std::collections::BTreeMap;

/// Fewest blocks for an interval.
const LEAST: usize = 5;
/// Intervals leave out one in twenty.
const ALPHA: f64 = 0.05;

/// Fills in the summaries of `cells` and returns the self-check. The same `seed` gives the same.
pub(crate) fn judge(cells: &mut [CellReport], seed: u64) -> SelfCheck {
    let controls: BTreeMap<String, BTreeMap<u32, f64>> = cells
        .iter()
        .filter(|cell| cell.role == Role::Control)
        .map(|cell| (cell.row(), by_block(&cell.samples)))
        .collect();
    let mut compared = Vec::new();
    for (index, cell) in cells.iter_mut().enumerate() {
        cell.summary = None;
        if cell.incorrect.is_some() {
            continue;
        }
        let Some(mut summary) = summarise(&cell.samples, seed) else {
            continue;
        };
        if cell.role != Role::Control
            && let Some(control) = controls.get(&cell.row())
            && let Some(bootstrap) = ratios(&by_block(&cell.samples), control, seed)
        {
            summary.ratio_control = Some(bootstrap.interval(ALPHA));
            summary.p = Some(bootstrap.two_sided_p(1.0));
            if cell.role == Role::Measured {
                compared.push(index);
            }
        }
        cell.summary = Some(summary);
    }
    give_verdicts(cells, &compared);
    self_check(cells, seed)
}

fn summary_of(cell: &mut CellReport) -> &mut Summary {
    cell.summary
        .as_mut()
        .expect("compared cells have a summary")
}

fn give_verdicts(cells: &mut [CellReport], compared: &[usize]) {
    let p_values: Vec<f64> = compared
        .iter()
        .filter_map(|index| summary_of(&mut cells[*index]).p)
        .collect();
    for (index, difference) in compared.iter().zip(holm(&p_values)) {
        let summary = summary_of(&mut cells[*index]);
        summary.verdict = summary
            .ratio_control
            .map(|ratio| verdict(&ratio, difference));
    }
}

/// Times of a cell by block; a block without a sample is left out.
fn by_block(samples: &[Sample]) -> BTreeMap<u32, f64> {
    samples
        .iter()
        .map(|sample| (sample.block, sample.ns as f64))
        .collect()
}

/// Bootstrap of the ratios within blocks.
fn ratios(cell: &BTreeMap<u32, f64>, other: &BTreeMap<u32, f64>, seed: u64) -> Option<Bootstrap> {
    let ratios: Vec<f64> = cell
        .iter()
        .filter_map(|(block, ns)| Some(ns / other.get(block).filter(|base| **base > 0.0)?))
        .collect();
    if ratios.len() < LEAST {
        return None;
    }
    Bootstrap::of_median(&ratios, seed)
}

fn summarise(samples: &[Sample], seed: u64) -> Option<Summary> {
    if samples.len() < LEAST {
        return None;
    }
    let column = |pick: &dyn Fn(&Sample) -> f64| samples.iter().map(pick).collect::<Vec<_>>();
    let times = column(&|sample| sample.ns as f64);
    let drains = column(&|sample| sample.measured.drain_ns() as f64);
    let bytes: Option<Vec<f64>> = samples
        .iter()
        .map(|sample| sample.dev_write.map(|bytes| bytes as f64))
        .collect();
    let mut phases: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for phase in samples.iter().flat_map(|sample| &sample.measured.phases) {
        phases
            .entry(phase.name.clone())
            .or_default()
            .push(phase.ns as f64);
    }
    Some(Summary {
        time_ns: Bootstrap::of_median(&times, seed)?.interval(ALPHA),
        mad_ns: median_absolute_deviation(&times)?,
        ratio_control: None,
        p: None,
        verdict: None,
        dev_write: bytes.and_then(|bytes| median(&bytes)),
        drain_ns: median(&drains)?,
        entries_walked: median(&column(&|sample| sample.entries_walked as f64))?,
        phases_ns: phases
            .into_iter()
            .filter_map(|(name, times)| Some((name, median(&times)?)))
            .collect(),
        figures: figures(samples),
        latencies_ns: latencies(samples),
        space_amplification: space_amplification(samples),
    })
}

/// The median of each figure.
fn figures(samples: &[Sample]) -> BTreeMap<String, Figure> {
    let mut values: BTreeMap<&String, (Vec<f64>, Figure)> = BTreeMap::new();
    for (name, figure) in samples.iter().flat_map(|sample| &sample.measured.figures) {
        let known = values.entry(name).or_insert((Vec::new(), *figure));
        known.0.push(figure.value);
    }
    let medians = values.into_iter().filter_map(|(name, (values, figure))| {
        let value = median(&values)?;
        Some((name.clone(), Figure { value, ..figure }))
    });
    medians.collect()
}

/// Operations of all samples together: the end of a distribution needs many.
fn latencies(samples: &[Sample]) -> BTreeMap<String, Quantiles> {
    let mut pooled: BTreeMap<&String, Vec<u64>> = BTreeMap::new();
    for (name, times) in samples.iter().flat_map(|sample| &sample.measured.latencies) {
        pooled.entry(name).or_default().extend(times);
    }
    let quantiles = pooled
        .into_iter()
        .filter_map(|(name, times)| Some((name.clone(), Quantiles::of(times)?)));
    quantiles.collect()
}

fn space_amplification(samples: &[Sample]) -> Option<f64> {
    let known = samples.iter().filter_map(|sample| sample.measured.space);
    median(
        &known
            .filter_map(|space| Space::amplification(&space))
            .collect::<Vec<_>>(),
    )
}

/// Compares each twin with the cell that it copies.
fn self_check(cells: &[CellReport], seed: u64) -> SelfCheck {
    let mut check = SelfCheck::default();
    for twin in cells.iter().filter(|cell| cell.role == Role::Twin) {
        let original = cells.iter().find(|cell| {
            cell.role == Role::Measured
                && cell.row() == twin.row()
                && cell.driver == twin.driver
                && cell.fs == twin.fs
                && cell.opts == twin.opts
                && cell.durability == twin.durability
        });
        let Some(original) = original else { continue };
        check.of = Some(original.cell.clone());
        let pair = [&twin.samples, &original.samples].map(|samples| by_block(samples));
        if let Some(bootstrap) = ratios(&pair[0], &pair[1], seed) {
            let Interval { low, high, .. } = bootstrap.interval(ALPHA);
            check.pairs += 1;
            if low > 1.0 || high < 1.0 {
                check.significant += 1;
                check.rows.push(twin.row());
            }
        }
    }
    check
}

#[cfg(test)]
mod tests;
