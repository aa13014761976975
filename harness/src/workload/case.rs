//! A workload as a case: on a driver it gives what it gives in a plain directory, and its layers
//! travel.

use super::quirks::run_plainly;
use super::{UserWorkload, run_layer};
use crate::context::Context;
use crate::tree::{Facet, Tree};
use anyhow::{Context as _, Result};
use strata_driver::SnapshotName;

/// What counts against a plain directory: times are those of each run, since no operation sets one.
const COUNTED: &[Facet] = &[Facet::LinkGroups, Facet::Owner];

impl UserWorkload {
    /// Runs it on the driver; gives the reason if it cannot be checked on this one.
    pub(crate) fn verify(&self, context: &mut Context) -> Result<Option<String>> {
        let most = context.capabilities().limits.max_depth;
        if let Some(most) = most.filter(|most| self.layers.len() > *most as usize) {
            let layers = self.layers.len();
            return Ok(Some(format!("{layers} layers, and the limit is {most}")));
        }
        let seed = context.setting().seed.0;
        let plain = context.plain_dir()?;
        let bent = run_plainly(self, plain.path(), seed, context.capabilities())
            .context("in a plain directory")?;
        if bent.is_some() {
            return Ok(bent);
        }
        let expected = Tree::read(plain.path())?;

        let mut layers: Vec<SnapshotName> = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            let made = context
                .layer(layers.last(), |dir| {
                    run_layer(layer, fs_err::File::open(dir.path())?.file(), seed)
                })
                .with_context(|| format!("layer {number}"))?;
            layers.push(made);
        }
        let top = layers.last().context("no layers")?;
        let tree = context.tree(top)?;
        tree.expect_equal_by(&expected, COUNTED, "against a plain directory")?;

        let (mut lower, mut copy) = (None, None);
        for (number, layer) in layers.iter().enumerate() {
            let applied = context
                .copied_layer(copy.as_ref(), lower, layer)
                .with_context(|| format!("diff of layer {number}, applied"))?;
            (lower, copy) = (Some(layer), Some(applied));
        }
        let copy = copy.context("no layers")?;
        context
            .tree(&copy)?
            .expect_equal(&tree, "diffs of all layers, applied")?;
        Ok(None)
    }
}
