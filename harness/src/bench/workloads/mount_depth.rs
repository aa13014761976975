//! mount-depth: mounting trees of ever more layers.

use super::{Run, Workload};
use crate::bench::corpus::{Base, DEEP};
use crate::bench::measure::Phase;
use crate::bench::outcome::{Outcome, Times};
use crate::bench::subject::Subject;
use anyhow::Result;
use std::collections::BTreeMap;

/// Depths up to the deepest of the run.
const DEPTHS: &[u32] = &[1, 8, 32, 64, 128];

#[derive(Debug)]
pub(super) struct MountDepth {
    deepest: u32,
}

impl MountDepth {
    pub(super) fn new(deepest: u32) -> Self {
        Self { deepest }
    }

    fn depths(&self) -> impl Iterator<Item = u32> {
        DEPTHS
            .iter()
            .copied()
            .filter(move |depth| *depth <= self.deepest)
    }

    fn key(depth: u32) -> String {
        format!("mount-depth-{depth}")
    }
}

impl Workload for MountDepth {
    fn name(&self) -> &'static str {
        "mount-depth"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([("deepest", self.deepest.into())])
    }

    fn bases(&self) -> &'static [Base] {
        &[Base::Deep]
    }

    fn set_up(&self, subject: &dyn Subject) -> Result<()> {
        for depth in self.depths() {
            // A plain directory has one tree, not one per depth.
            let name = format!("{DEEP}-{depth}");
            let parent = if subject.count(&name)? > 0 {
                name
            } else {
                format!("{DEEP}-{}", self.deepest)
            };
            subject.prepare(&Self::key(depth), Some(&parent))?;
        }
        Ok(())
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        run.recorder.settle()?;
        for depth in self.depths() {
            let key = Self::key(depth);
            let phase = Phase::new(format!("mount-{depth}"));
            let live = run.time_as(&phase, |subject| subject.mount(&key))?;
            live.unmount()?;
        }
        run.read(&Self::key(self.deepest), Times::Natural)
    }
}
