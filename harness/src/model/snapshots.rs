//! Layers committed, and the active snapshot that goes on from one of them.

use super::Model;
use super::files::{Files, Place, ROOT};
use super::inode::{Body, InodeId, Mtime};
use super::layer::{self, Layer};
use super::operation::{FileOperation, LayerNumber, LayerOperation, Special};
use crate::oracle;
use crate::tree::{Kind, Tree, TreePath};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strata_driver::{ChangeKind, ErrorKind};

/// A committed layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The layer below.
    pub parent: Option<LayerNumber>,
    /// The tree that it shows, the layers below included.
    pub tree: Arc<Tree>,
    /// What it adds to them.
    pub layer: Arc<Layer>,
    /// Whether it was removed.
    pub is_removed: bool,
    pub(super) files: Arc<Files>,
}

impl Committed {
    /// Whether a changeset can carry all of it: names like those of whiteouts and the device 0:0
    /// mean something else.
    pub fn is_carried(&self) -> bool {
        can_carry(&self.tree)
    }
}

fn can_carry(tree: &Tree) -> bool {
    let mut nodes = tree.nodes().iter();
    nodes.all(|(path, node)| {
        let is_mark = node.kind == Kind::CharacterDevice && node.device == (0, 0);
        // Sockets do not exist for a changeset, whatever they are called.
        node.kind == Kind::Socket || !path.name().starts_with(b".wh.") && !is_mark
    })
}

impl Model {
    /// Does an operation on layers. Whoever performs it does so too, and settles times before a
    /// commit.
    pub fn change(&mut self, operation: &LayerOperation) -> Result<(), ErrorKind> {
        if operation.unmounts() {
            self.held.clear();
        }
        match operation {
            LayerOperation::Commit => {
                self.files.rejoin();
                let tree = Arc::new(self.files.tree());
                let below = self.base.map(|base| Arc::clone(&self.layers[base].tree));
                let below = below.unwrap_or_else(|| Arc::new(Files::empty().tree()));
                self.layers.push(Committed {
                    parent: self.base,
                    layer: Arc::new(layer::between(&below, &tree)),
                    tree,
                    is_removed: false,
                    files: Arc::new(self.files.clone()),
                });
                self.start_on(Some(self.layers.len() - 1));
            }
            LayerOperation::Remount
            | LayerOperation::Reopen
            | LayerOperation::Misuse
            | LayerOperation::Check => {}
            LayerOperation::View(number) | LayerOperation::Relabel(number) => {
                self.known(*number)?;
            }
            LayerOperation::Compare(lower, upper) => {
                if let Some(lower) = lower {
                    self.known(*lower)?;
                }
                self.known(*upper)?;
                self.carried([Some(*upper), *lower])?;
            }
            LayerOperation::Rebase(number) => {
                self.known(*number)?;
                self.carried([Some(*number), self.layers[*number].parent])?;
            }
            LayerOperation::Sibling(base) => {
                if let Some(base) = base {
                    self.known(*base)?;
                }
            }
            LayerOperation::Diff => {
                self.carried([self.base])?;
                if !can_carry(&self.files.tree()) {
                    return Err(ErrorKind::Unsupported);
                }
            }
            LayerOperation::Fork(base) => {
                if let Some(base) = base {
                    self.known(*base)?;
                }
                self.start_on(*base);
            }
            LayerOperation::Apply(number) => {
                self.known(*number)?;
                self.carried([Some(*number), self.layers[*number].parent])?;
                self.start_applied(*number);
            }
            LayerOperation::Remove(number) => {
                self.known(*number)?;
                let mut children = self.layers.iter().filter(|layer| !layer.is_removed);
                let has_children = children.any(|layer| layer.parent == Some(*number));
                if has_children || self.base == Some(*number) {
                    return Err(ErrorKind::InUse);
                }
                self.layers[*number].is_removed = true;
            }
        }
        Ok(())
    }

    fn known(&self, number: LayerNumber) -> Result<(), ErrorKind> {
        match self.layers.get(number) {
            Some(layer) if !layer.is_removed => Ok(()),
            _ => Err(ErrorKind::NotFound),
        }
    }

    /// Whether changesets can carry these layers.
    fn carried(
        &self,
        layers: impl IntoIterator<Item = Option<LayerNumber>>,
    ) -> Result<(), ErrorKind> {
        let mut layers = layers.into_iter().flatten();
        if layers.all(|number| self.layers[number].is_carried()) {
            Ok(())
        } else {
            Err(ErrorKind::Unsupported)
        }
    }

    fn start_on(&mut self, base: Option<LayerNumber>) {
        self.base = base;
        self.files = match base {
            Some(base) => self.layers[base].files.on_top(self.bent.splits()),
            None => Files::empty(),
        };
        self.files.names = self.bent.names();
    }

    /// What `apply` writes is of this snapshot, the rest from below.
    fn start_applied(&mut self, number: LayerNumber) {
        let applied = Arc::clone(&self.layers[number].files);
        self.base = self.layers[number].parent;
        let below = self.base.map(|base| &self.layers[base]);
        let below_tree = below.map(|below| Arc::clone(&below.tree));
        let below = below.map(|below| below.files.on_top(false));
        let changes = oracle::changes(below_tree.as_deref(), &self.layers[number].tree);
        let changes = changes.expect("it is carried");
        let written: BTreeSet<TreePath> = changes
            .into_iter()
            .filter(|change| change.kind != ChangeKind::Deleted)
            .map(|change| TreePath::new(change.path))
            .collect();
        self.files = applied.on_top(false);
        self.files.without_sockets();
        if let Some(below) = &below {
            self.files.with_sockets_of(below);
        }
        for (path, id) in self.files.paths() {
            let was_directory = below.as_ref().is_some_and(|below| {
                let found = below.at(&path);
                found.is_ok_and(|id| below.inode(id).is_directory())
            });
            let is_directory = self.files.inode(id).is_directory();
            let is_socket = matches!(self.files.inode(id).body, Body::Special(Special::Socket));
            let is_below = if is_directory {
                was_directory || path.is_root()
            } else {
                is_socket || !written.contains(&path)
            };
            let old = below
                .as_ref()
                .and_then(|below| Some(below.inode(below.at(&path).ok()?)));
            let held = old.map(|old| old.holds_below.clone());
            let inode = self.files.inode_mut(id);
            inode.holds_below = held.unwrap_or_default();
            if !is_below {
                inode.below = false;
                inode.names_below = 0;
            } else if let Some(old) = old {
                inode.names_below = old.names_below;
            }
        }
        if self.bent.splits() {
            self.files.part();
        }
        // The format leaves the root's own time open.
        self.files.learn(ROOT, 0);
    }

    /// The operations that set every time which nobody has chosen to one that is the same on every
    /// driver.
    pub fn settle(&mut self) -> Vec<FileOperation> {
        const FIRST: i64 = 1_600_000_000;
        let mut known = BTreeSet::new();
        let mut operations = Vec::new();
        for (path, id) in self.files.paths() {
            let chosen = matches!(self.files.inode(id).mtime, Mtime::At(_));
            if !chosen && known.insert(id) {
                self.settled += 1;
                let mtime = (FIRST + i64::from(self.settled)) * 1_000_000_000 + 123_456_789;
                operations.push(FileOperation::Utimens { path, mtime });
            }
        }
        operations
    }

    /// The stack under the active snapshot, base first.
    pub fn stack(&self) -> Vec<LayerNumber> {
        let mut stack = Vec::new();
        let mut next = self.base;
        while let Some(number) = next {
            stack.push(number);
            next = self.layers[number].parent;
        }
        stack.reverse();
        stack
    }

    /// The model's own law: the stack of a layer, merged, is its tree.
    pub fn check_stack(&self, top: LayerNumber) -> Result<()> {
        let mut stack = Vec::new();
        let mut next = Some(top);
        while let Some(number) = next {
            stack.push(Arc::clone(&self.layers[number].layer));
            next = self.layers[number].parent;
        }
        let empty = layer::between(&Tree::default(), &Files::empty().tree());
        let layers = std::iter::once(&empty).chain(stack.iter().rev().map(Arc::as_ref));
        let merged = layer::merge(layers);
        merged.expect_equal(
            &self.layers[top].tree,
            "the model's layers merged are not its tree",
        )
    }
}

impl Files {
    /// The same tree as it looks to a snapshot on top of it.
    fn on_top(&self, splits: bool) -> Self {
        let mut files = self.clone();
        let mut counts: BTreeMap<InodeId, u32> = BTreeMap::new();
        for (_, id) in files.paths() {
            *counts.entry(id).or_default() += 1;
        }
        files.keep(|id| counts.contains_key(&id));
        for (id, inode) in files.inodes_mut() {
            if !inode.below {
                // What came from below has as many as in the layer that it is from, also hidden.
                inode.names_below = counts[&id];
            }
            inode.below = true;
            inode.holds_below = inode
                .names()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect();
        }
        if splits {
            files.part();
        }
        files
    }

    /// A changeset carries no sockets.
    fn without_sockets(&mut self) {
        for (path, id) in self.paths() {
            if matches!(self.inode(id).body, Body::Special(Special::Socket)) {
                let place = self.place(&path).expect("the path is there");
                self.quietly(&place, Self::unlink);
            }
        }
    }

    /// Nor does it hide those that are below where it has nothing.
    fn with_sockets_of(&mut self, below: &Self) {
        let mut known = BTreeMap::new();
        for (path, id) in below.paths() {
            let inode = below.inode(id);
            if !matches!(inode.body, Body::Special(Special::Socket)) {
                continue;
            }
            let Ok(place) = self.place(&path) else {
                continue;
            };
            if place.inode.is_none() {
                let twin = *known.entry(id).or_insert_with(|| self.add(inode.clone()));
                self.quietly(&place, |files, place| files.link(place, twin));
                self.inode_mut(twin).below = true;
            }
        }
    }

    /// Changes a name without changing its directory's time.
    fn quietly(&mut self, place: &Place, change: impl FnOnce(&mut Self, &Place)) {
        let directory = place.directory.expect("it is not the root");
        let mtime = self.inode(directory).mtime;
        change(self, place);
        self.inode_mut(directory).mtime = mtime;
    }

    /// Makes one inode again of those that are shown as one.
    fn rejoin(&mut self) {
        let mut first = BTreeMap::new();
        for (path, id) in self.paths() {
            let Some(shown_as) = self.inode(id).shown_as else {
                continue;
            };
            let one = *first.entry(shown_as).or_insert(id);
            let place = self.place(&path).expect("the path is there");
            self.quietly(&place, |files, place| files.link(place, one));
        }
        for id in first.into_values() {
            self.inode_mut(id).shown_as = None;
        }
    }

    /// Makes an inode of its own for each name of one that is below and has several.
    fn part(&mut self) {
        let mut known = BTreeSet::new();
        for (path, id) in self.paths() {
            let inode = self.inode(id);
            if inode.is_directory() || !inode.below || inode.names_below < 2 {
                continue;
            }
            let mut twin = inode.clone();
            twin.shown_as = Some(id);
            if known.insert(id) {
                *self.inode_mut(id) = twin;
            } else {
                let place = self.place(&path).expect("the path is there");
                let twin = self.add(twin);
                self.quietly(&place, |files, place| files.link(place, twin));
            }
        }
    }
}
