//! Laws about what stands beside the active snapshot, which stays mounted meanwhile.

use super::laws::{self, Law, without_sockets};
use super::perform::Performer;
use super::run::{Broken, Trial, Under as _, layer_name};
use crate::context::name;
use crate::model::Files;
use crate::model::operation::{Data, FileOperation, LayerNumber, LayerOperation};
use crate::oracle;
use crate::tree::{Kind, Tree, TreePath};
use anyhow::{Context as _, Result, anyhow, ensure};
use std::sync::Arc;
use strata_driver::{Capability, CommitOptions, ErrorKind, Labels, PrepareOptions, SnapshotName};

/// Another snapshot beside the active one shows its layer, and nothing of the active one; what is
/// written to it goes with it.
pub(super) fn sibling(trial: &mut Trial, base: Option<LayerNumber>) -> Result<(), Broken> {
    let seen = |trial: &mut Trial| -> Result<()> {
        let expected = base.map_or_else(
            || Arc::new(Files::empty().tree()),
            |base| Arc::clone(&trial.model.layers()[base].tree),
        );
        let key = name("sibling");
        // Of the last one of that name nothing stays, its labels neither.
        let label = format!("at-{}", trial.tally.total());
        let labels = Labels::from([(label, String::new())]);
        let options = PrepareOptions::default().with_labels(labels.clone());
        let parent = base.map(layer_name);
        trial
            .context
            .prepare_with(&key, parent.as_ref(), &options)?;
        let told = trial.context.stat(&key)?;
        ensure!(
            (&told.parent, &told.labels) == (&parent, &labels),
            "`stat` gives {told:?}"
        );
        let live = trial.context.mount(&key)?;
        let found = Tree::read(live.path())?;
        let text = format!("a snapshot beside the active one, on {base:?} (found != expected)");
        found.expect_equal(&expected, &text)?;
        let mut performer = Performer::new(live.path())?;
        for (path, node) in expected.nodes() {
            let path = path.clone();
            if node.kind == Kind::File {
                let data = Data { seed: 7, length: 7 };
                let written = performer.perform(&FileOperation::Append { path, data });
                ensure!(written.is_ok(), "appending to it gave {written:?}");
            }
        }
        let path = TreePath::new("written-to-a-sibling");
        let made = performer.perform(&FileOperation::Mkdir { path, mode: 0o700 });
        ensure!(made.is_ok(), "making a directory in it gave {made:?}");
        drop(performer);
        live.unmount()?;
        trial.context.remove(&key)?;
        Ok(())
    };
    seen(trial).under(Law::Below)?;
    trial.tally.held(Law::Below);
    Ok(())
}

/// The changeset of the active snapshot, mounted as it is, is what the rules give.
pub(super) fn active_diff(trial: &mut Trial) -> Result<(), Broken> {
    let hold = |trial: &mut Trial| -> Result<()> {
        let base = trial.model.base();
        let lower = base.map(|base| Arc::clone(&trial.model.layers()[base].tree));
        let upper = trial.model.files().tree();
        let base = base.map(layer_name);
        let told = trial.context.changes(base.as_ref(), &trial.key)?;
        ensure!(
            told == oracle::changes(lower.as_deref(), &upper)?,
            "`changes` of the active snapshot is not what the changeset holds"
        );
        let given = trial.context.diff(base.as_ref(), &trial.key)?;
        oracle::expect_same_archive(&given, &oracle::canonical_diff(lower.as_deref(), &upper)?)
    };
    hold(trial).under(Law::Diff)?;
    trial.tally.held(Law::Diff);
    Ok(())
}

/// A changeset that the format cannot carry is refused.
pub(super) fn refused_diff(trial: &mut Trial, operation: &LayerOperation) -> Result<(), Broken> {
    let (lower, upper) = match operation {
        LayerOperation::Diff => (trial.model.base(), None),
        LayerOperation::Compare(lower, upper) => (*lower, Some(*upper)),
        LayerOperation::Apply(upper) | LayerOperation::Rebase(upper) => {
            (trial.model.layers()[*upper].parent, Some(*upper))
        }
        _ => return Ok(()),
    };
    if lower.is_some_and(|lower| !trial.model.layers()[lower].is_carried()) {
        // What cannot be carried may be in both, and no part of the difference.
        return Ok(());
    }
    let name = upper.map_or_else(|| trial.key.clone(), layer_name);
    let given = trial.context.diff(lower.map(layer_name).as_ref(), &name);
    let refused = match given {
        Err(_) => Ok(()),
        Ok(_) => Err(anyhow!("a changeset of `{name}`, which none can carry")),
    };
    refused.under(Law::Diff)?;
    trial.tally.held(Law::Diff);
    Ok(())
}

/// The changeset between any two layers is what the rules give, and applied on the one it gives
/// the other.
pub(super) fn compare(
    trial: &mut Trial,
    lower: Option<LayerNumber>,
    upper: LayerNumber,
) -> Result<(), Broken> {
    let hold = |trial: &mut Trial| -> Result<()> {
        let layers = trial.model.layers();
        let lower_tree = lower.map(|lower| Arc::clone(&layers[lower].tree));
        let upper_tree = Arc::clone(&layers[upper].tree);
        let lower = lower.map(layer_name);
        let given = trial.context.diff(lower.as_ref(), &layer_name(upper))?;
        let expected = oracle::canonical_diff(lower_tree.as_deref(), &upper_tree)?;
        oracle::expect_same_archive(&given, &expected)?;
        let copy = trial.context.applied_layer(lower.as_ref(), &given);
        let copy = copy.context("apply the changeset")?;
        let found = without_sockets(&trial.context.tree(&copy)?);
        trial.context.remove(&copy)?;
        found.expect_equal(
            &without_sockets(&upper_tree),
            "the changeset between two layers, applied (found != expected)",
        )
    };
    hold(trial).under(Law::Diff)?;
    trial.tally.held(Law::Diff);
    Ok(())
}

/// A layer whose changeset was applied on nothing is the same once it has its parent.
pub(super) fn rebase(trial: &mut Trial, number: LayerNumber) -> Result<(), Broken> {
    if !trial.context.has(Capability::LateParent) {
        return late_parent_is_refused(trial, number).under(Law::Answer);
    }
    let hold = |trial: &mut Trial| -> Result<()> {
        let layer = &trial.model.layers()[number];
        let (parent, expected) = (layer.parent.map(layer_name), Arc::clone(&layer.tree));
        let given = trial.context.diff(parent.as_ref(), &layer_name(number))?;
        let (key, rebased) = (name("to-rebase"), name("rebased"));
        trial.context.prepare(&key, None)?;
        trial.context.apply(&key, &given)?;
        let mut options = CommitOptions::default();
        options.late_parent = parent;
        trial.context.commit_with(&key, &rebased, &options)?;
        let found = without_sockets(&trial.context.tree(&rebased)?);
        trial.context.remove(&rebased)?;
        found.expect_equal(
            &without_sockets(&expected),
            "a layer that got its parent late (found != expected)",
        )
    };
    hold(trial).under(Law::Diff)?;
    trial.tally.held(Law::Diff);
    Ok(())
}

/// A driver that takes no late parent says so, and what it was asked for stays as it was.
fn late_parent_is_refused(trial: &mut Trial, number: LayerNumber) -> Result<()> {
    let key = name("to-rebase");
    trial.context.prepare(&key, None)?;
    let options = CommitOptions::default().with_late_parent(layer_name(number));
    let found = trial.context.commit_with(&key, &name("rebased"), &options);
    let found = found.map_err(|error| error.kind());
    ensure!(
        found == Err(ErrorKind::Unsupported),
        "a late parent: expected Unsupported, got {found:?}"
    );
    trial.context.remove(&key)?;
    trial.tally.held(Law::Answer);
    Ok(())
}

/// What must be refused is, by its kind, and changes nothing.
pub(super) fn misuse(trial: &mut Trial) -> Result<(), Broken> {
    use ErrorKind::{AlreadyExists, InUse, InvalidInput, InvalidState, NotFound};
    let refused = |trial: &mut Trial| -> Result<()> {
        let key = trial.key.clone();
        let base = trial.model.base().map(layer_name);
        let other = name("misused");
        let context = &trial.context;
        let expect =
            |what: &str, kind: ErrorKind, found: strata_driver::Result<()>| -> Result<()> {
                let found = found.map_err(|error| error.kind());
                ensure!(
                    found == Err(kind),
                    "{what}: expected {kind:?}, got {found:?}"
                );
                Ok(())
            };
        let plan = |name: &SnapshotName| context.wait(context.driver().mounts(name)).map(drop);
        let base = base.as_ref();
        expect(
            "prepare a key in use",
            AlreadyExists,
            context.prepare(&key, base),
        )?;
        expect("view a key in use", AlreadyExists, context.view(&key, base))?;
        expect(
            "prepare on what is active",
            InvalidState,
            context.prepare(&other, Some(&key)),
        )?;
        expect(
            "commit what is mounted",
            InUse,
            context.commit(&key, &other),
        )?;
        expect("remove what is mounted", InUse, context.remove(&key))?;
        expect(
            "commit what is not there",
            NotFound,
            context.commit(&other, &name("new")),
        )?;
        expect("remove what is not there", NotFound, context.remove(&other))?;
        expect("mount what is not there", NotFound, plan(&other))?;
        context.view(&other, base)?;
        expect(
            "commit a view",
            InvalidState,
            context.commit(&other, &name("new")),
        )?;
        context.remove(&other)?;
        let leaf = trial.leaf().map(layer_name);
        if let Some(leaf) = &leaf {
            context.view(&other, Some(leaf))?;
            expect("remove what a view shows", InUse, context.remove(leaf))?;
            context.remove(&other)?;
        }
        context.prepare(&other, base)?;
        if let Some(base) = base {
            expect(
                "prepare a name in use",
                AlreadyExists,
                context.prepare(base, None),
            )?;
            expect(
                "commit to a name in use",
                AlreadyExists,
                context.commit(&other, base),
            )?;
            expect("mount what is committed", InvalidState, plan(base))?;
            expect("remove what is stood on", InUse, context.remove(base))?;
        }
        let nothing = context
            .apply(&other, b"this is no archive of any kind")
            .map(drop);
        expect("apply what is no archive", InvalidInput, nothing)?;
        context.remove(&other)?;
        Ok(())
    };
    refused(trial).under(Law::Answer)?;
    laws::listed(trial).under(Law::Answer)?;
    trial.tally.held(Law::Answer);
    laws::kept(trial)
}
