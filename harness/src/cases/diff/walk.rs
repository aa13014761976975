//! How much is looked at to find what changed.

use crate::oracle;
use crate::prelude::*;

const DIRECTORIES: usize = 40;
const FILES: usize = 50;

/// Entries walked by `changes` and by `diff` for a few changes on a large base, and how many
/// entries changed.
fn measure(context: &mut Context) -> Result<(u64, u64, u64)> {
    let base = context.layer(None, |dir| {
        for directory in 0..DIRECTORIES {
            dir.dir(format!("d{directory}"))?;
            for file in 0..FILES {
                dir.file(format!("d{directory}/f{file}"), "1")?;
            }
        }
        Ok(())
    })?;
    let key = context.active(Some(&base))?;
    context.edit(&key, |dir| {
        dir.append("d1/f1", "2")?
            .unlink("d2/f2")?
            .dir("new")?
            .file("new/f", "3")
            .map(drop)
    })?;
    let lower = context.tree(&base)?;
    let upper = context.tree(&key)?;
    let changed = oracle::changes(Some(&lower), &upper)?.len() as u64;
    let layer = context.commit_fresh(&key)?;
    let count = |context: &Context| context.driver().counters().entries_walked();
    let start = count(context);
    ensure!(
        context.changes(Some(&base), &layer)?.len() as u64 == changed,
        "wrong changes"
    );
    let between = count(context);
    context.checked_diff(Some(&base), &layer)?;
    let diffed = count(context);
    Ok((between - start, diffed - between, changed))
}

pub(crate) const NATIVE_DIFF_WALKS_CHANGES_ONLY: Case = Case {
    name: "native_diff_walks_changes_only",
    group: Group::Diff,
    needs: &[Capability::NativeDiff],
    run: |context| {
        let (listed, diffed, changed) = measure(context)?;
        let most = 10 + 4 * changed;
        ensure!(
            listed > 0 && diffed > 0,
            "nothing was counted ({listed} and {diffed})"
        );
        ensure!(
            listed <= most,
            "changes walked {listed} entries, {changed} changed"
        );
        ensure!(
            diffed <= most,
            "diff walked {diffed} entries, {changed} changed"
        );
        Ok(())
    },
};

/// The inverse: a driver without native diff looks at everything, or it could claim it.
pub(crate) fn demand_full_walk(context: &mut Context) -> Result<()> {
    let (listed, diffed, _) = measure(context)?;
    let least = (DIRECTORIES * FILES) as u64;
    ensure!(
        listed.max(diffed) >= least,
        "it walked {listed} and {diffed} of {least} entries and does not claim native diff"
    );
    Ok(())
}
