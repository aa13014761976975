//! One scenario from its branches to what came of it.

use super::data::Scenario;
use super::ground::{Laid, NotExpressible, Ready, seconds_now};
use super::judge::Observed;
use super::listing::Lister;
use super::perform::{Paths, Performer};
use super::verb::Verb;
use crate::live::Live;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// What came of a scenario, or what is lacking for it.
pub(super) fn observe(
    ground: &mut dyn Ready,
    scenario: &Scenario,
) -> Result<Result<Observed, NotExpressible>> {
    if let Some(program) = scenario.missing_program() {
        let reason = format!("this host has no `{program}`");
        return Ok(Err(NotExpressible(reason)));
    }
    match attempt(ground, scenario) {
        Ok(observed) => Ok(Ok(observed)),
        Err(error) => match error.downcast_ref::<NotExpressible>() {
            Some(lacking) => Ok(Err(lacking.clone())),
            None => Err(error),
        },
    }
}

fn attempt(ground: &mut dyn Ready, scenario: &Scenario) -> Result<Observed> {
    let lister = Lister {
        began: seconds_now(),
        programs: scenario.programs(),
    };
    let mut laid = ground.lay(scenario)?;
    laid.branches()?.demand(scenario.layers.len())?;
    let mut stage = Stage::new(&mut *laid, &lister)?;
    let mut observed = Observed::default();
    for operation in &scenario.ops {
        let (errno, answer) = match operation.verb {
            Verb::Remount {} => {
                stage.clear()?;
                stage.show(laid.mount()?);
                (0.into(), serde_json::Value::Null)
            }
            _ => stage.performer.perform(operation)?,
        };
        observed.errno.push(errno);
        observed.ret.push(answer);
    }
    observed.merged = lister.list(stage.path()?)?;
    stage.clear()?;
    let branches = stage.performer.branches();
    observed.upper = lister.list(branches.upper()?)?;
    observed.index_entries = branches.index_entries()?;
    observed.lower_changed = stage.performer.lowers_changed()?;
    let live = laid.mount()?;
    observed.merged_remount = lister.list(live.path())?;
    live.unmount()?;
    Ok(observed)
}

/// What is mounted and what is held in it; dropped in this order.
struct Stage {
    performer: Performer,
    live: Option<Live>,
}

impl Stage {
    fn new(laid: &mut dyn Laid, lister: &Lister) -> Result<Self> {
        let paths = Paths {
            merged: PathBuf::new(),
            branches: laid.branches()?,
        };
        let mut stage = Self {
            // Before the first mount, which may change branches itself.
            performer: Performer::new(paths, lister.clone())?,
            live: None,
        };
        stage.show(laid.mount()?);
        Ok(stage)
    }

    fn path(&self) -> Result<&Path> {
        let live = self.live.as_ref().context("nothing is mounted")?;
        Ok(live.path())
    }

    fn show(&mut self, live: Live) {
        self.performer.remounted(live.path().to_owned());
        self.live = Some(live);
    }

    /// Lets go of everything, and unmounts.
    fn clear(&mut self) -> Result<()> {
        self.performer.release()?;
        self.live.take().map_or(Ok(()), Live::unmount)
    }
}
