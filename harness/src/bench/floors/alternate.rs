//! Two sides by turns, and the ratio of neighbouring runs.

use super::Figure;
use crate::bench::bed::Bed;
use crate::bench::export::duration;
use crate::bench::stats::{Bootstrap, median};
use anyhow::{Context, Result};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use std::time::Instant;

/// Wall and processor time of one run, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) wall: f64,
    pub(super) processor: f64,
}

/// A side: what a run does, and what puts things back afterwards, untimed.
pub(super) struct Side<'a> {
    pub(super) work: &'a mut dyn FnMut() -> Result<()>,
    pub(super) restore: &'a mut dyn FnMut() -> Result<()>,
}

/// Costs of ours and of the floor, run by run.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<(Cost, Cost)>);

fn processor_ns() -> Result<f64> {
    let total = |usage: Usage| (usage.user_time() + usage.system_time()).num_microseconds();
    let own = total(getrusage(UsageWho::RUSAGE_SELF)?);
    let children = total(getrusage(UsageWho::RUSAGE_CHILDREN)?);
    Ok((own + children) as f64 * 1e3)
}

fn cost(side: &mut Side<'_>) -> Result<Cost> {
    let (processor, start) = (processor_ns()?, Instant::now());
    (side.work)()?;
    let cost = Cost {
        wall: start.elapsed().as_nanos() as f64,
        processor: processor_ns()? - processor,
    };
    (side.restore)()?;
    Ok(cost)
}

/// Runs both sides `rounds` times after one untimed pair; who goes first changes every round.
pub(super) fn alternate(rounds: u32, ours: &mut Side<'_>, floor: &mut Side<'_>) -> Result<Pairs> {
    cost(ours)?;
    cost(floor)?;
    let mut pairs = Vec::new();
    for round in 0..rounds {
        crate::interrupt::check()?;
        pairs.push(if round % 2 == 0 {
            let first = cost(ours)?;
            (first, cost(floor)?)
        } else {
            let first = cost(floor)?;
            (cost(ours)?, first)
        });
    }
    Ok(Pairs(pairs))
}

/// [`alternate`] of work on one bed, which is drained after each run.
pub(super) fn alternate_on(
    bed: &Bed,
    rounds: u32,
    mut ours: impl FnMut() -> Result<()>,
    mut floor: impl FnMut() -> Result<()>,
) -> Result<Pairs> {
    bed.drain()?;
    alternate(
        rounds,
        &mut Side {
            work: &mut ours,
            restore: &mut || bed.drain(),
        },
        &mut Side {
            work: &mut floor,
            restore: &mut || bed.drain(),
        },
    )
}

impl Pairs {
    /// The ratio of wall times as a figure.
    pub(super) fn wall(&self, what: &str, limit: f64) -> Result<Figure> {
        self.figure((what, limit), |cost| cost.wall)
    }

    /// The ratio of processor times as a figure.
    pub(super) fn processor(&self, what: &str, limit: f64) -> Result<Figure> {
        self.figure((what, limit), |cost| cost.processor)
    }

    fn figure(&self, (what, limit): (&str, f64), pick: impl Fn(&Cost) -> f64) -> Result<Figure> {
        let column =
            |cost: &dyn Fn(&(Cost, Cost)) -> f64| self.0.iter().map(cost).collect::<Vec<_>>();
        let ratios = column(&|(ours, floor)| pick(ours) / pick(floor).max(1.0));
        let shown = |values: Vec<f64>| median(&values).map_or_else(String::new, duration);
        Ok(Figure {
            what: what.to_owned(),
            value: Bootstrap::of_median(&ratios, 1)
                .context("there was no round")?
                .interval(0.05),
            limit,
            ours: shown(column(&|(ours, _)| pick(ours))),
            floor: shown(column(&|(_, floor)| pick(floor))),
        })
    }
}
