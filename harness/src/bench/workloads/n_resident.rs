//! n-resident: a container's life on a store that already holds 10, 100 or 1,000 layers.

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::measure::Phase;
use crate::bench::outcome::{Outcome, Times};
use crate::bench::plan::Profile;
use crate::bench::sample::Unit;
use crate::bench::subject::{Subject, add_layer};
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const BASE: &str = "resident-base";
/// Lives of one phase: one alone is within the clock's noise.
const LIVES: u32 = 4;

#[derive(Debug)]
pub(super) struct NResident {
    /// Layers held, the fewest first.
    held: &'static [u32],
}

impl NResident {
    pub(super) fn new(profile: Profile) -> Self {
        const HELD: &[u32] = &[10, 100, 1_000, 10_000];
        // 1,000 layers are made within seconds, once per cell.
        Self {
            held: profile.pick(&HELD[..3], HELD),
        }
    }

    fn store(held: u32) -> String {
        format!("resident-{held}")
    }
}

impl Workload for NResident {
    fn name(&self) -> &'static str {
        "n-resident"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        let most = self.held.last().copied().unwrap_or_default();
        BTreeMap::from([("most-layers", most.into()), ("lives", LIVES.into())])
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    /// Each count has a store of its own, so that nothing but what is meant is in it.
    fn set_up(&self, subject: &dyn Subject) -> Result<()> {
        for held in self.held {
            let store = subject.neighbour(&Self::store(*held))?;
            add_layer(&*store, None, BASE, &mut |root| {
                Ok(fs_err::write(root.join("file"), "content")?)
            })?;
            store.share(BASE)?;
            for number in 1..*held {
                let key = format!("work-{number}");
                store.prepare(&key, None)?;
                store.commit(&key, &format!("layer-{number}"))?;
            }
            store.close()?;
        }
        Ok(())
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let mut outcome = Outcome::Nothing;
        let mut times = Vec::new();
        for held in self.held {
            let store = run.subject.neighbour(&Self::store(*held))?;
            run.recorder.settle()?;
            let start = Instant::now();
            let phase = Phase::new(format!("at-{held}"));
            run.time_as(&phase, |_| {
                (0..LIVES).try_for_each(|life| live_once(&*store, life))
            })?;
            times.push((*held, start.elapsed() / LIVES));
            let key = "check";
            store.prepare(key, Some(BASE))?;
            let live = store.mount(key)?;
            outcome = Outcome::of_tree(live.path(), Times::Natural)?;
            live.unmount()?;
            store.remove(key)?;
            store.close()?;
        }
        if let Some(slope) = slope(&times) {
            run.recorder.figure("per-1000-held", slope * 1e3, Unit::Ns);
        }
        Ok(outcome)
    }
}

fn live_once(store: &dyn Subject, life: u32) -> Result<()> {
    let key = format!("life-{life}");
    store.prepare(&key, Some(BASE))?;
    store.mount(&key)?.unmount()?;
    store.remove(&key)
}

/// Nanoseconds that a life takes longer for each further layer held: the least-squares line.
fn slope(times: &[(u32, Duration)]) -> Option<f64> {
    let count = times.len() as f64;
    let mean = |of: &dyn Fn(&(u32, Duration)) -> f64| times.iter().map(of).sum::<f64>() / count;
    let held = |point: &(u32, Duration)| f64::from(point.0);
    let time = |point: &(u32, Duration)| point.1.as_nanos() as f64;
    let (middle_held, middle_time) = (mean(&held), mean(&time));
    let spread: f64 = times
        .iter()
        .map(|point| (held(point) - middle_held).powi(2))
        .sum();
    let together: f64 = times
        .iter()
        .map(|point| (held(point) - middle_held) * (time(point) - middle_time))
        .sum();
    (spread > 0.0).then(|| together / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slope_is_that_of_a_line_and_none_of_one_point() {
        let point = |held: u32| (held, Duration::from_nanos(1_000 + 7 * u64::from(held)));
        let found = slope(&[point(10), point(100), point(1_000)]).unwrap();
        assert!((found - 7.0).abs() < 1e-9, "{found}");
        assert!(slope(&[(10, Duration::from_secs(1)), (20, Duration::from_secs(1))]) == Some(0.0));
        assert!(slope(&[point(10)]).is_none() && slope(&[]).is_none());
    }
}
