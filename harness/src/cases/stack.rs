//! Layers built by edits, and everything that must hold of any such stack.

use crate::context::Context;
use crate::edit::Dir;
use crate::tree::{Facet, Tree};
use anyhow::{Context as _, Result};
use strata_driver::SnapshotName;

/// What one layer does.
pub(crate) type Edit = fn(&Dir) -> Result<()>;

/// Committed layers, base first, and the tree that each showed.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) layers: Vec<SnapshotName>,
    pub(crate) trees: Vec<Tree>,
}

impl Stack {
    pub(crate) fn top_tree(&self) -> &Tree {
        &self.trees[self.trees.len() - 1]
    }
}

/// Builds a layer per edit and holds it against a plain directory with the same edits, against
/// the rules of the changeset, and against its own diff applied elsewhere. At the end no layer
/// has changed.
pub(crate) fn build(context: &mut Context, edits: &[Edit]) -> Result<Stack> {
    let plain = context.plain_dir()?;
    let mut elsewhere = context.elsewhere()?;
    let mut stack = Stack {
        layers: Vec::new(),
        trees: Vec::new(),
    };
    let mut copies: Vec<SnapshotName> = Vec::new();
    for (number, edit) in edits.iter().enumerate() {
        let step = |what: &str| format!("layer {number}, {what}");
        let parent = stack.layers.last().cloned();
        edit(&plain).with_context(|| step("edit a plain directory"))?;
        let layer = context
            .layer(parent.as_ref(), edit)
            .with_context(|| step("edit"))?;
        let tree = context.tree(&layer)?;
        // "Now" differs between the two, so times are left to the comparisons below.
        let counted = [Facet::Owner, Facet::LinkGroups];
        tree.expect_equal_by(
            &Tree::read(plain.path())?,
            &counted,
            &step("against a plain directory with the same edits"),
        )?;
        let diff = context
            .checked_diff(parent.as_ref(), &layer)
            .with_context(|| step("diff"))?;
        let copy = elsewhere
            .applied_layer(copies.last(), &diff)
            .with_context(|| step("apply"))?;
        elsewhere
            .tree(&copy)?
            .expect_equal(&tree, &step("its diff applied elsewhere"))?;
        copies.push(copy);
        stack.layers.push(layer);
        stack.trees.push(tree);
    }
    for (layer, tree) in stack.layers.iter().zip(&stack.trees) {
        context
            .tree(layer)?
            .expect_equal(tree, "a lower layer changed")?;
    }
    elsewhere.shut()?;
    Ok(stack)
}
