//! Workloads of the user's own, from the configuration.

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::outcome::{Outcome, Times};
use crate::bench::subject::Subject;
use crate::workload::{UserWorkload, run_layer};
use anyhow::Result;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Own(UserWorkload);

impl Own {
    pub(super) fn new(workload: UserWorkload) -> Self {
        Self(workload)
    }
}

impl Workload for Own {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([("layers", self.0.layers.len() as u64)])
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    fn set_up(&self, _: &dyn Subject) -> Result<()> {
        self.0.check()
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let chain = run.key("own");
        let name = |layer: usize| format!("{chain}-{layer}");
        let seed = run.corpora.seed;
        let mut parent: Option<String> = None;
        run.recorder.settle()?;
        for (number, layer) in self.0.layers.iter().enumerate() {
            let key = format!("{chain}-work");
            run.time("prepare", |subject| {
                subject.prepare(&key, parent.as_deref())
            })?;
            let live = run.time("mount", |subject| subject.mount(&key))?;
            run.time("write", |_| {
                run_layer(layer, fs_err::File::open(live.path())?.file(), seed)
            })?;
            run.time("unmount", |_| live.unmount())?;
            run.time("commit", |subject| subject.commit(&key, &name(number)))?;
            parent = Some(name(number));
        }
        let outcome = match &parent {
            Some(top) => run.read_layer(top, Times::Natural)?,
            None => Outcome::Nothing,
        };
        for layer in (0..self.0.layers.len()).rev() {
            run.subject.remove(&name(layer))?;
        }
        Ok(outcome)
    }
}
