//! Layers: what a snapshot adds to the tree below it, and how a stack of them is one tree.

use crate::tree::{Kind, Node, Tree, TreePath};
use std::collections::BTreeMap;

/// What a layer says of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// This is there. A directory shows what lies below it as well.
    Node(Node),
    /// A directory that shows nothing of what lies below it.
    Opaque(Node),
    /// Nothing is there.
    Whiteout,
}

/// Paths with what a layer says of them. Link leaders are within the layer.
pub type Layer = BTreeMap<TreePath, Entry>;

/// The layer that turns `below` into `tree`.
pub fn between(below: &Tree, tree: &Tree) -> Layer {
    let mut layer = Layer::new();
    let is_directory = |tree: &Tree, path: &TreePath| {
        let node = tree.nodes().get(path);
        node.is_some_and(|node| node.kind == Kind::Directory)
    };
    for (path, node) in tree.nodes() {
        let both = is_directory(below, path) && node.kind == Kind::Directory;
        let emptied = both && has_children(below, path) && !shares_children(below, tree, path);
        if emptied {
            layer.insert(path.clone(), Entry::Opaque(node.clone()));
        } else if below
            .nodes()
            .get(path)
            .is_none_or(|old| !is_same(old, node))
        {
            layer.insert(path.clone(), Entry::Node(node.clone()));
        }
    }
    for path in below.nodes().keys() {
        let Some(parent) = path.parent() else {
            continue;
        };
        let hides = is_directory(tree, &parent) && !tree.nodes().contains_key(path);
        if hides && !matches!(layer.get(&parent), Some(Entry::Opaque(_))) {
            layer.insert(path.clone(), Entry::Whiteout);
        }
    }
    // A group of names is whole in a layer, or not in it.
    let changed: Vec<_> = layer.keys().cloned().collect();
    for path in changed {
        let leader = tree
            .nodes()
            .get(&path)
            .and_then(|node| node.link_leader.as_ref());
        for (twin, node) in tree.nodes() {
            if leader.is_some() && node.link_leader.as_ref() == leader {
                layer.insert(twin.clone(), Entry::Node(node.clone()));
            }
        }
    }
    layer
}

/// The tree that layers show, base first.
pub fn merge<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> Tree {
    // Names of one object are so within a layer only.
    let mut shown: BTreeMap<TreePath, (usize, Node)> = BTreeMap::new();
    for (number, layer) in layers.into_iter().enumerate() {
        for (path, entry) in layer {
            let (node, keeps_below) = match entry {
                Entry::Node(node) => (Some(node), node.kind == Kind::Directory),
                Entry::Opaque(node) => (Some(node), false),
                Entry::Whiteout => (None, false),
            };
            if !keeps_below {
                shown.retain(|known, (of, _)| *of == number || !is_below(known, path));
            }
            match node {
                Some(node) => shown.insert(path.clone(), (number, node.clone())),
                None => shown.remove(path),
            };
        }
    }
    let mut leaders: BTreeMap<(usize, TreePath), TreePath> = BTreeMap::new();
    let mut nodes = BTreeMap::new();
    for (path, (number, mut node)) in shown {
        if let Some(leader) = node.link_leader.take() {
            let group = leaders
                .entry((number, leader))
                .or_insert_with(|| path.clone());
            node.link_leader = Some(group.clone());
        }
        nodes.insert(path, node);
    }
    Tree::from_nodes(nodes)
}

/// Whether `path` is in the directory `above`, at any depth.
fn is_below(path: &TreePath, above: &TreePath) -> bool {
    if above.is_root() {
        return !path.is_root();
    }
    let (path, above) = (path.as_bytes(), above.as_bytes());
    path.len() > above.len() && path.starts_with(above) && path[above.len()] == b'/'
}

fn is_same(one: &Node, two: &Node) -> bool {
    let facts = |node: &Node| Node {
        inode: 0,
        link_count: 0,
        content: None,
        ..node.clone()
    };
    facts(one) == facts(two)
}

fn children<'a>(tree: &'a Tree, path: &'a TreePath) -> impl Iterator<Item = &'a TreePath> {
    let all = tree.nodes().keys();
    all.filter(move |known| known.parent().as_ref() == Some(path))
}

fn has_children(tree: &Tree, path: &TreePath) -> bool {
    children(tree, path).next().is_some()
}

fn shares_children(below: &Tree, tree: &Tree, path: &TreePath) -> bool {
    children(below, path).any(|child| tree.nodes().contains_key(child))
}
