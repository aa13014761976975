//! The names at which two trees may differ, as a driver's own mechanism knows them.

use crate::error::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};

/// A tree of names for [`Upper::Named`](super::Upper::Named).
///
/// It must hold every name that differs between the trees, and may hold others. A name differs if
/// only one tree has it, if anything that counts differs, or if it is another inode than it was
/// when the upper tree began as a copy of the lower one; `mod.rs` says why the last one matters.
#[derive(Clone, Debug)]
pub struct ChangedNames {
    /// The root, then the others in the order of their adding.
    nodes: Vec<NameNode>,
    /// Paths of files that have several names. They are looked at in the lower tree even below a
    /// directory that is gone, since whether a link group is known whole is a matter of counting.
    linked: BTreeSet<Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
struct NameNode {
    /// Both directories are listed, and all below them.
    whole: bool,
    below: BTreeMap<CString, u32>,
}

impl Default for ChangedNames {
    fn default() -> Self {
        Self {
            nodes: vec![NameNode::default()],
            linked: BTreeSet::new(),
        }
    }
}

impl ChangedNames {
    /// No names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the name at `path` (components separated by `/`; empty for the root) and those of the
    /// directories above it.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a component that is empty, `.`, `..` or holds
    /// NUL.
    pub fn add(&mut self, path: &[u8]) -> Result<()> {
        self.reach(path).map(drop)
    }

    /// Adds `path` and everything that either tree has below it: for a directory that was moved or
    /// replaced, of which the names below are not known one by one.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_whole(&mut self, path: &[u8]) -> Result<()> {
        let node = self.reach(path)?;
        self.nodes[node as usize].whole = true;
        Ok(())
    }

    /// Adds one of the names of a file that has several.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(super) fn add_link(&mut self, path: &[u8]) -> Result<()> {
        self.add(path)?;
        self.linked.insert(path.to_vec());
        Ok(())
    }

    /// Whether the name at `path` is looked at, where both trees have all directories above it.
    pub fn contains(&self, path: &[u8]) -> bool {
        let mut node = &self.nodes[0];
        for component in path.split(|byte| *byte == b'/') {
            if node.whole {
                return true;
            }
            let Some(next) = CString::new(component)
                .ok()
                .and_then(|name| node.below.get(&name))
            else {
                return false;
            };
            node = &self.nodes[*next as usize];
        }
        true
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Whether there are none, nor any directory to be listed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && !self.nodes[0].whole
    }

    /// The node at `path`, made with those above it.
    fn reach(&mut self, path: &[u8]) -> Result<u32> {
        let mut here = 0;
        if path.is_empty() {
            return Ok(here);
        }
        for component in path.split(|byte| *byte == b'/') {
            let name = match CString::new(component) {
                Ok(name) if !matches!(component, b"" | b"." | b"..") => name,
                _ => {
                    return Err(Error::new(ErrorKind::InvalidInput, "diff")
                        .because("a changed path has a component that is no name")
                        .with("path", path.escape_ascii()));
                }
            };
            let next = self.nodes.len() as u32;
            let found = *self.nodes[here as usize].below.entry(name).or_insert(next);
            if found == next {
                self.nodes.push(NameNode::default());
            }
            here = found;
        }
        Ok(here)
    }

    pub(super) fn is_whole(&self, node: u32) -> bool {
        self.nodes[node as usize].whole
    }

    /// Whether nothing below the directory is to be looked at.
    pub(super) fn ends_at(&self, node: u32) -> bool {
        let node = &self.nodes[node as usize];
        !node.whole && node.below.is_empty()
    }

    /// The names in the directory, in bytewise order, and their nodes.
    pub(super) fn below(&self, node: u32) -> impl Iterator<Item = (&CStr, u32)> {
        let below = &self.nodes[node as usize].below;
        below.iter().map(|(name, node)| (&**name, *node))
    }

    pub(super) fn has_links(&self) -> bool {
        !self.linked.is_empty()
    }

    /// Names of files that have several, below the directory at `path`, relative to it.
    pub(super) fn links_below(&self, mut path: Vec<u8>) -> impl Iterator<Item = &[u8]> {
        path.push(b'/');
        let from = self.linked.range(path.clone()..);
        from.map_while(move |found| found.strip_prefix(&*path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_directory_come_in_order_and_once() {
        let mut names = ChangedNames::new();
        assert!(names.is_empty());
        for path in ["b/x", "a", "b", "b/x"] {
            names.add(path.as_bytes()).unwrap();
        }
        assert_eq!(names.len(), 3);
        assert!(names.contains(b"b/x") && !names.contains(b"b/y") && !names.contains(b"c"));
        names.add_whole(b"b").unwrap();
        assert!(names.contains(b"b/y/z") && !names.contains(b"c"));
        let root: Vec<_> = names.below(0).map(|(name, _)| name.to_owned()).collect();
        assert_eq!(root, [c"a".to_owned(), c"b".to_owned()]);
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["..", "a/../b", "/a", "a/", "a//b", ".", "a\0"] {
            let refused = ChangedNames::new().add(path.as_bytes()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{path}");
        }
    }

    #[test]
    fn links_below_a_directory_are_those_of_this_one_only() {
        let mut names = ChangedNames::new();
        for path in ["d/a", "d/b/c", "d.e", "da/x", "d-/x"] {
            names.add_link(path.as_bytes()).unwrap();
        }
        let below: Vec<_> = names.links_below(b"d".to_vec()).collect();
        assert_eq!(below, [&b"a"[..], b"b/c"]);
    }
}
