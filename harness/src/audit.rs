//! What is looked at after every case, whatever the case was about.

use crate::context::Context;
use crate::oracle;
use anyhow::{Result, ensure};
use strata_driver::SnapshotKind;

/// Layers that are looked at after a case; a case with more is about their number.
const LAYERS: usize = 24;

/// What the driver says that a layer changes, held against the layer's tree and its parent's as
/// they are seen: a native diff is never trusted because its driver wrote it.
pub(crate) fn diffs(context: &mut Context) -> Result<()> {
    if !context.is_open() {
        return Ok(());
    }
    let mut layers = context.list()?;
    layers.retain(|info| info.kind == SnapshotKind::Committed);
    for info in layers.into_iter().take(LAYERS) {
        let upper = context.tree(&info.name)?;
        let lower = info.parent.as_ref().map(|parent| context.tree(parent));
        let expected = oracle::changes(lower.transpose()?.as_ref(), &upper)?;
        let told = context.changes(info.parent.as_ref(), &info.name)?;
        ensure!(
            told == expected,
            "the driver says of `{}`, after the case, that it changes {:?}, and its tree says {:?}",
            info.name,
            only_in(&told, &expected),
            only_in(&expected, &told),
        );
    }
    Ok(())
}

fn only_in<'a, T: PartialEq>(one: &'a [T], other: &[T]) -> Vec<&'a T> {
    one.iter().filter(|item| !other.contains(item)).collect()
}
