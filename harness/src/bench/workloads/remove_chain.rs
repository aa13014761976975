//! remove-chain: an image's layers are deleted one by one, and their space given back.

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::outcome::Outcome;
use crate::bench::plan::Profile;
use crate::bench::subject::{Subject, add_layer};
use anyhow::Result;
use std::collections::BTreeMap;

/// Files that each layer adds.
const FILES: u32 = 20;

#[derive(Debug)]
pub(super) struct RemoveChain {
    layers: u32,
}

impl RemoveChain {
    pub(super) fn new(profile: Profile) -> Self {
        // A chain is built for every sample, which costs several times its removal.
        Self {
            layers: profile.pick(12, 64),
        }
    }
}

impl Workload for RemoveChain {
    fn name(&self) -> &'static str {
        "remove-chain"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([("layers", self.layers.into()), ("files", FILES.into())])
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    fn set_up(&self, _: &dyn Subject) -> Result<()> {
        Ok(())
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let chain = run.key("chain");
        let name = |layer| format!("{chain}-{layer}");
        for layer in 0..self.layers {
            let parent = layer.checked_sub(1).map(name);
            add_layer(run.subject, parent.as_deref(), &name(layer), &mut |root| {
                for file in 0..FILES {
                    fs_err::write(root.join(format!("{layer}-{file}")), [3; 1024])?;
                }
                Ok(())
            })?;
        }
        run.recorder.settle()?;
        run.time("remove", |subject| {
            (0..self.layers)
                .rev()
                .try_for_each(|layer| subject.remove(&name(layer)))
        })?;
        run.time("reclaim", |subject| subject.reclaim())?;
        let left = run.subject.count(&chain)?;
        Ok(Outcome::Stream(format!("{left} of the chain left")))
    }
}
