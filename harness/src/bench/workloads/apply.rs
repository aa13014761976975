//! apply: the tars of the large tree are imported as layers.

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::outcome::{Outcome, Times};
use crate::bench::subject::Subject;
use anyhow::Result;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Apply;

impl Workload for Apply {
    fn name(&self) -> &'static str {
        "apply"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    fn set_up(&self, _: &dyn Subject) -> Result<()> {
        Ok(())
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let chain = run.key("apply");
        let name = |layer: usize| format!("{chain}-{layer}");
        let corpora = run.corpora;
        run.recorder.layers_begin()?;
        for (layer, tar) in corpora.tars.iter().enumerate() {
            let key = format!("{chain}-work");
            let parent = layer.checked_sub(1).map(name);
            run.time("prepare", |subject| {
                subject.prepare(&key, parent.as_deref())
            })?;
            run.time("apply", |subject| subject.apply(&key, tar))?;
            run.time("commit", |subject| subject.commit(&key, &name(layer)))?;
        }
        run.recorder.layers_end(corpora.content)?;
        let top = corpora.tars.len() - 1;
        let outcome = run.read_layer(&name(top), Times::Set)?;
        for layer in (0..=top).rev() {
            run.subject.remove(&name(layer))?;
        }
        run.subject.reclaim()?;
        Ok(outcome)
    }
}
