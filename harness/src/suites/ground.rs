//! What lies below the directory that a suite works in: layers with content, which must not change.

use crate::cases::{Edit, rich};
use crate::context::Context;
use crate::edit::Dir;
use crate::seed::Seed;
use crate::tree::Tree;
use crate::trial::decode;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use strata_driver::{Capability, SnapshotName};

/// The directory that suites work in: every layer has it. Its name is short, since sockets are made
/// deep below it, and a path to a socket must fit into 108 bytes, unix(7).
pub(super) const WORK: &str = "w";
/// A file of the lowest layer, of data and holes.
pub(super) const LOWER: &str = "w/lower";
/// Another name of that file.
pub(super) const TWIN: &str = "w/twin";
/// Bytes at the start of [`LOWER`] that are data.
pub(super) const DATA: usize = 300_000;
/// Where its second piece of data starts; between is a hole.
pub(super) const SECOND: u64 = 2 << 20;
/// Its size; it ends with a hole.
pub(super) const SIZE: u64 = 5 << 20;

/// What the layers need to hold everything that a tree can have.
pub(super) const NEEDS: &[Capability] = &[
    Capability::Ownership,
    Capability::Devices,
    Capability::TrustedXattrs,
];

/// The layers, base first: something of every kind, then removals, replacements and changes.
const LAYERS: &[Edit] = &[
    |dir| {
        rich(dir)?;
        let mut generator = Seed::default().generator("suites");
        dir.dirs("w/kept")?
            .dirs("w/emptied/below")?
            .dirs("w/replaced")?
            .file("w/kept/a", "a")?
            .file("w/emptied/a", "a")?
            .file("w/replaced/a", "a")?
            .file("w/removed", "a")?
            .file(LOWER, generator.bytes(DATA))?
            .truncate(LOWER, SIZE)?
            .overwrite(LOWER, SECOND, &generator.bytes(70_000))?
            .hard_link(LOWER, TWIN)
            .map(drop)
    },
    |dir| {
        dir.unlink("w/removed")?
            .remove_tree("w/emptied")?
            .dir("w/emptied")?
            .remove_tree("w/replaced")?
            .file("w/replaced", "a file now")?
            .file("w/kept/b", "b")?
            .unlink("etc/hosts")
            .map(drop)
    },
    |dir| {
        dir.mode("w/kept/a", 0o600)?
            .file("w/added", "a")?
            .append("w/kept/b", "more")?
            .rename("usr/share/doc/a", "usr/share/doc/c")?
            .mode("tagged", 0o640)
            .map(drop)
    },
];

/// Makes in a plain directory what the layers show.
pub(super) fn flat(dir: &Dir) -> Result<()> {
    LAYERS.iter().try_for_each(|edit| edit(dir))
}

/// Committed layers, and what each showed when it was made.
#[derive(Debug)]
pub(super) struct Ground {
    layers: Vec<(SnapshotName, Tree)>,
    /// Digests of the directories that plans name as lower ones.
    directories: BTreeMap<PathBuf, [u8; 32]>,
}

impl Ground {
    /// Builds the layers.
    pub(super) fn build(context: &mut Context) -> Result<Self> {
        let mut layers: Vec<(SnapshotName, Tree)> = Vec::new();
        for (number, edit) in LAYERS.iter().enumerate() {
            let parent = layers.last().map(|(name, _)| name.clone());
            let layer = context
                .layer(parent.as_ref(), edit)
                .with_context(|| format!("build layer {number}"))?;
            let tree = context.tree(&layer)?;
            layers.push((layer, tree));
        }
        Ok(Self {
            layers,
            directories: BTreeMap::new(),
        })
    }

    /// The topmost layer.
    pub(super) fn top(&self) -> &SnapshotName {
        &self.layers[self.layers.len() - 1].0
    }

    /// Demands that each layer shows what it showed, that the directories below `key` hold what
    /// they held when this was first asked, and that all that its plan names, read and merged by
    /// the harness, is `expected`.
    pub(super) fn expect_unchanged(
        &mut self,
        context: &mut Context,
        (key, expected): (&SnapshotName, &Tree),
    ) -> Result<()> {
        for (number, (name, tree)) in self.layers.iter().enumerate() {
            let now = context.tree(name)?;
            now.expect_equal(tree, &format!("layer {number} has changed (now != before)"))?;
        }
        let plan = context.wait(context.driver().mounts(key))?;
        if let Some(found) = decode::tree(&plan, &mut self.directories)? {
            found.expect_equal(expected, "the layers on disk (found != mounted)")?;
        }
        Ok(())
    }
}
