//! What work on a mount costs: CPU seconds of the callers and of the daemon that serves them.

use super::clocks;
use super::view::View;
use std::fmt;
use std::iter::Sum;
use std::time::{Duration, Instant};

/// Too short a sample says little.
const LEAST: Duration = Duration::from_secs(1);

/// What it took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) caller: Duration,
    pub(super) daemon: Duration,
    pub(super) wall: Duration,
}

impl Cost {
    pub(super) fn cpu(&self) -> Duration {
        self.caller + self.daemon
    }

    fn each(self, times: u32) -> Self {
        Self {
            caller: self.caller / times,
            daemon: self.daemon / times,
            wall: self.wall / times,
        }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |sum, cost| Self {
            caller: sum.caller + cost.caller,
            daemon: sum.daemon + cost.daemon,
            wall: sum.wall + cost.wall,
        })
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [cpu, daemon, wall] =
            [self.cpu(), self.daemon, self.wall].map(|part| part.as_secs_f64() * 1000.0);
        write!(
            f,
            "cpu {cpu:.1} ms, {daemon:.1} of them the daemon's; wall {wall:.1} ms"
        )
    }
}

/// What `work` costs. The daemon is let finish what it does after its answers.
pub(super) fn measure(
    view: &View,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Cost> {
    let daemon = view.settle()?;
    let (caller, start) = (clocks::of_callers()?, Instant::now());
    work()?;
    let (end, wall) = (clocks::of_callers()?, start.elapsed());
    Ok(Cost {
        caller: end.saturating_sub(caller),
        daemon: view.settle()?.saturating_sub(daemon),
        wall,
    })
}

/// Does it again and again until all together took a second of CPU; the cost of one.
pub(super) fn repeated(mut once: impl FnMut() -> anyhow::Result<Cost>) -> anyhow::Result<Cost> {
    let mut costs: Vec<Cost> = Vec::new();
    loop {
        costs.push(once()?);
        let sum: Cost = costs.iter().copied().sum();
        if sum.cpu() >= LEAST {
            return Ok(sum.each(costs.len() as u32));
        }
    }
}
