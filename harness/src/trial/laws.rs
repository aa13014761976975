//! The laws, each held by looking at the driver and asking the model.

use super::decode;
use super::run::{Broken, Trial, Under as _, layer_name};
use crate::model::operation::{FileOperation, LayerNumber};
use crate::oracle;
use crate::tree::{Facet, Kind, Tree, TreePath, report};
use anyhow::{Context as _, Result, bail, ensure};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use strata_driver::{DiffId, Quirk, SnapshotKind};

/// What a driver is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Law {
    /// Every operation answers as the model does, with the same errno.
    Answer,
    /// After every operation, the touched paths and their parents are the model's.
    Look,
    /// The mounted tree is the model's.
    Tree,
    /// Layers below never change.
    Below,
    /// What stands on disk, decoded and merged by the harness, is the model's tree.
    OnDisk,
    /// The tree stays over unmounting, reopening and committing.
    Kept,
    /// Changesets are those that the rules give for the model's trees, and apply gives the tree back.
    Diff,
    /// Inode numbers stay, `d_ino` is `st_ino`, holes stay holes.
    Identity,
    /// The model's layers, merged, are its tree.
    Model,
}

impl Law {
    /// All of them, in the order of tables.
    pub const ALL: &[Self] = &[
        Self::Answer,
        Self::Look,
        Self::Tree,
        Self::Below,
        Self::OnDisk,
        Self::Kept,
        Self::Diff,
        Self::Identity,
        Self::Model,
    ];

    /// Its name in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Look => "look",
            Self::Tree => "tree",
            Self::Below => "below",
            Self::OnDisk => "on-disk",
            Self::Kept => "kept",
            Self::Diff => "diff",
            Self::Identity => "identity",
            Self::Model => "model",
        }
    }
}

/// Bytes that a file may take beyond what was written to it: what a file system allocates ahead.
const AHEAD: u64 = 256 << 10;
/// The same where small holes are filled.
const AHEAD_AND_HOLES: u64 = AHEAD + (1 << 20);

/// Looks at the paths of an operation and at their parents.
pub(super) fn look(trial: &mut Trial, operation: &FileOperation) -> Result<()> {
    let mut paths = BTreeSet::new();
    for path in operation.paths() {
        paths.insert(path.clone());
        paths.extend(path.parent());
    }
    let splits = trial.splits();
    for path in paths {
        let found = trial.performer().look(&path)?;
        let model = trial.model.files();
        let expected = model.at(&path).ok();
        match (&found, expected) {
            (None, None) => {}
            (Some(found), None) => bail!("`{path}` is there ({:?}) and should not be", found.kind),
            (None, Some(_)) => bail!("`{path}` is missing"),
            (Some(found), Some(id)) => {
                let differences = found.differences(&model.node(id), &path);
                report(
                    &format!("`{path}` after the operation (found != expected)"),
                    &differences,
                )?;
                let parts = splits && model.inode(id).names_below > 1;
                let changes = trial.declares(Quirk::InodeChanges);
                let known = *trial.inodes.entry(id).or_insert(found.inode);
                ensure!(
                    known == found.inode || parts || changes,
                    "`{path}` was inode {known} and is now {}",
                    found.inode
                );
            }
        }
    }
    Ok(())
}

/// Everything that can be held while the snapshot stays mounted.
pub(super) fn all(trial: &mut Trial) -> Result<(), Broken> {
    trial.tally.full_checks += 1;
    let expected = trial.model.files().tree();
    let found = tree(trial, &expected).under(Law::Tree)?;
    trial.tally.held(Law::Tree);
    identity(trial, &found).under(Law::Identity)?;
    trial.tally.held(Law::Identity);
    below(trial).under(Law::Below)?;
    trial.tally.held(Law::Below);
    listed(trial).under(Law::Answer)?;
    if on_disk(trial, &expected).under(Law::OnDisk)? {
        trial.tally.held(Law::OnDisk);
    }
    Ok(())
}

/// Exactly the snapshots that exist, each on its parent.
pub(super) fn listed(trial: &Trial) -> Result<()> {
    let mut expected = vec![(
        trial.key.clone(),
        SnapshotKind::Active,
        trial.model.base().map(layer_name),
        trial.labels_of(None),
    )];
    for (number, layer) in trial.model.layers().iter().enumerate() {
        if !layer.is_removed {
            expected.push((
                layer_name(number),
                SnapshotKind::Committed,
                layer.parent.map(layer_name),
                trial.labels_of(Some(number)),
            ));
        }
    }
    expected.sort();
    let list = trial.context.list()?;
    for info in &list {
        let told = trial.context.stat(&info.name)?;
        ensure!(told == *info, "`list` gives {info:?}, `stat` {told:?}");
    }
    // In the order of names.
    let found: Vec<_> = list
        .into_iter()
        .map(|info| (info.name, info.kind, info.parent, info.labels))
        .collect();
    ensure!(
        found == expected,
        "`list` gives {found:?}, expected {expected:?}"
    );
    Ok(())
}

/// The tree after something that should have changed nothing.
pub(super) fn kept(trial: &mut Trial) -> Result<(), Broken> {
    let expected = trial.model.files().tree();
    let found = tree(trial, &expected).under(Law::Kept)?;
    identity(trial, &found).under(Law::Identity)?;
    trial.tally.held(Law::Kept);
    Ok(())
}

pub(super) fn tree(trial: &Trial, expected: &Tree) -> Result<Tree> {
    let found = trial.live().tree()?;
    let mut facets = vec![
        Facet::ModificationTime,
        Facet::RootModificationTime,
        Facet::LinkGroups,
        Facet::Owner,
    ];
    if !trial.splits() && !trial.declares(Quirk::HiddenNamesCounted) {
        facets.push(Facet::LinkCount);
    }
    found.expect_equal_by(expected, &facets, "the mounted tree (found != expected)")?;
    Ok(found)
}

fn identity(trial: &mut Trial, found: &Tree) -> Result<()> {
    let (splits, changes) = (trial.splits(), trial.declares(Quirk::InodeChanges));
    let paths = trial.model.files().paths();
    for (path, id) in &paths {
        let inode = trial.model.files().inode(*id);
        let parts = splits && inode.names_below > 1;
        let stored = inode.stored();
        let node = found.node(path.clone())?;
        let known = *trial.inodes.entry(*id).or_insert(node.inode);
        ensure!(
            known == node.inode || parts || changes,
            "`{path}` was inode {known} and is now {}",
            node.inode
        );
        let slack = if trial.declares(Quirk::SmallHolesFilled) {
            AHEAD_AND_HOLES
        } else {
            AHEAD
        };
        if node.size > stored + 2 * slack {
            let facts = trial.performer().inode(path)?;
            let taken = facts
                .with_context(|| format!("`{path}` is missing"))?
                .blocks
                * 512;
            ensure!(
                taken <= stored + slack,
                "`{path}` takes {taken} bytes, and {stored} were written: its holes are filled"
            );
        }
        if node.kind == Kind::Directory && !trial.declares(Quirk::EntryInodeDiffers) {
            for (name, inode) in trial.performer().entries(path)? {
                let below = found.node(path.join(&name))?;
                ensure!(
                    below.inode == inode,
                    "`{}`: d_ino {inode}, st_ino {}",
                    path.join(&name),
                    below.inode
                );
            }
        }
    }
    Ok(())
}

/// The layer below, and another one of the stack by turns.
fn below(trial: &mut Trial) -> Result<()> {
    let stack = trial.model.stack();
    let Some(base) = stack.last().copied() else {
        return Ok(());
    };
    let turn = stack[trial.tally.full_checks as usize % stack.len()];
    for number in BTreeSet::from([base, turn]) {
        expect_layer(trial, number)?;
    }
    Ok(())
}

fn expect_layer(trial: &mut Trial, number: LayerNumber) -> Result<()> {
    let expected = Arc::clone(&trial.model.layers()[number].tree);
    let found = trial.context.tree(&layer_name(number))?;
    found.expect_equal(&expected, &format!("layer {number} (found != expected)"))
}

/// Whether the plan is of a form that can be decoded; then what it holds is the tree.
fn on_disk(trial: &mut Trial, expected: &Tree) -> Result<bool> {
    let plan = trial
        .context
        .wait(trial.context.driver().mounts(&trial.key))?;
    let Some(found) = decode::tree(&plan, &mut trial.lower)? else {
        return Ok(false);
    };
    found.expect_equal(expected, "the layers on disk (found != expected)")?;
    Ok(true)
}

/// A view shows a layer and refuses writes.
pub(super) fn view(trial: &mut Trial, number: LayerNumber) -> Result<(), Broken> {
    let seen = |trial: &mut Trial| -> Result<()> {
        let expected = Arc::clone(&trial.model.layers()[number].tree);
        let look = |path: &Path| -> Result<Tree> {
            let mut performer = super::perform::Performer::new(path)?;
            let refused = performer.perform(&FileOperation::Create {
                path: TreePath::new("written-to-a-view"),
                mode: 0o644,
            });
            ensure!(
                refused == Err(Errno::ROFS),
                "a write to a view gave {refused:?}"
            );
            Tree::read(path)
        };
        let found = trial.context.look(&layer_name(number), look)?;
        found.expect_equal(
            &expected,
            &format!("a view of layer {number} (found != expected)"),
        )
    };
    seen(trial).under(Law::Below)?;
    trial.tally.held(Law::Below);
    Ok(())
}

/// The changeset of a layer is what the rules give, and gives the layer. Returns its id, or none
/// where the format cannot carry it.
pub(super) fn diff(trial: &mut Trial, number: LayerNumber) -> Result<Option<DiffId>, Broken> {
    let layers = trial.model.layers();
    let upper = Arc::clone(&layers[number].tree);
    let parent = layers[number].parent;
    let lower = parent.map(|parent| Arc::clone(&layers[parent].tree));
    if !layers[number].is_carried() || parent.is_some_and(|parent| !layers[parent].is_carried()) {
        trial.tally.not_carried += 1;
        return Ok(None);
    }
    let parent = parent.map(layer_name);
    let hold = |trial: &mut Trial| -> Result<DiffId> {
        let name = layer_name(number);
        let expected = oracle::canonical_diff(lower.as_deref(), &upper)?;
        let given = trial.context.diff(parent.as_ref(), &name)?;
        oracle::expect_same_archive(&given, &expected)?;
        let told = trial.context.changes(parent.as_ref(), &name)?;
        ensure!(
            told == oracle::changes(lower.as_deref(), &upper)?,
            "`changes` is not what the changeset holds"
        );
        let copy = trial.context.applied_layer(parent.as_ref(), &given);
        let copy = copy.context("apply the changeset on the parent")?;
        let found = without_sockets(&trial.context.tree(&copy)?);
        trial.context.remove(&copy)?;
        found.expect_equal(
            &without_sockets(&upper),
            "the changeset applied on its parent (found != expected)",
        )?;
        Ok(oracle::diff_id(&given))
    };
    let id = hold(trial).under(Law::Diff)?;
    trial.tally.held(Law::Diff);
    Ok(Some(id))
}

/// Sockets do not exist for a changeset.
pub(super) fn without_sockets(tree: &Tree) -> Tree {
    let nodes = tree.nodes().iter();
    let kept = nodes.filter(|(_, node)| node.kind != Kind::Socket);
    Tree::from_nodes(
        kept.map(|(path, node)| (path.clone(), node.clone()))
            .collect(),
    )
}
