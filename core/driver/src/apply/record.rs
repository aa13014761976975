//! What this apply has written so far, by real path: names, directories and their times.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What an entry of this layer put at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Directory,
    Symlink,
    /// A file, a device, a pipe.
    Other,
}

/// What must be known of a directory in which something is made or removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirectoryState {
    /// The time that it has when all is done.
    pub(super) mtime: (i64, u32),
    /// The mode that it has when all is done, if it is narrower than work inside it allows.
    pub(super) final_mode: Option<u32>,
    /// Its group, which new names may get.
    pub(super) gid: u32,
    /// Whether new names get its group or ACL by a set-group-id bit or a default ACL.
    pub(super) bequeaths: bool,
}

/// The paths are real ones: no component is a symbolic link.
#[derive(Debug, Default)]
pub(super) struct Record {
    names: BTreeMap<Box<[u8]>, Name>,
    directories: BTreeMap<Box<[u8]>, DirectoryState>,
    sealed: BTreeMap<Box<[u8]>, ()>,
}

impl Record {
    /// Notes an entry of this layer.
    pub(super) fn add(&mut self, path: Vec<u8>, name: Name) {
        self.names.insert(path.into_boxed_slice(), name);
    }

    /// What an entry of this layer put at `path`.
    pub(super) fn name(&self, path: &[u8]) -> Option<Name> {
        self.names.get(path).copied()
    }

    /// Whether `path` is of this layer: an entry, or a directory on the way to one.
    pub(super) fn is_of_layer(&self, path: &[u8]) -> bool {
        self.names.contains_key(path) || below(&self.names, path).next().is_some()
    }

    /// The directories of this layer below `path`, itself left out: entries and directories on
    /// the way to one.
    pub(super) fn directories_of_layer(&self, path: &[u8]) -> BTreeSet<Vec<u8>> {
        let mut found = BTreeSet::new();
        let top = if path.is_empty() { 0 } else { path.len() + 1 };
        for (name, kind) in below(&self.names, path) {
            let ends = (top..name.len()).filter(|&at| name[at] == b'/').rev();
            for end in ends {
                if !found.insert(name[..end].to_vec()) {
                    break;
                }
            }
            if *kind == Name::Directory {
                found.insert(name.to_vec());
            }
        }
        found
    }

    /// Forgets `path` and all below it: it is gone from the root.
    pub(super) fn forget(&mut self, path: &[u8]) {
        self.names.remove(path);
        self.directories.remove(path);
        self.sealed.remove(path);
        remove_below(&mut self.names, path);
        remove_below(&mut self.directories, path);
        remove_below(&mut self.sealed, path);
    }

    /// The state of a directory that is known already.
    pub(super) fn directory(&self, path: &[u8]) -> Option<DirectoryState> {
        self.directories.get(path).copied()
    }

    /// Notes the state of a directory.
    pub(super) fn set_directory(&mut self, path: &[u8], state: DirectoryState) {
        self.directories.insert(path.into(), state);
    }

    /// All directories whose times are to be set, an ancestor after what is below it.
    pub(super) fn take_directories(&mut self) -> impl Iterator<Item = (Box<[u8]>, DirectoryState)> + use<> {
        std::mem::take(&mut self.directories).into_iter().rev()
    }

    /// Notes that nothing from below shows in the directory at `path` any more.
    pub(super) fn seal(&mut self, path: &[u8]) {
        self.sealed.insert(path.into(), ());
    }

    /// Whether nothing from below can show inside the directory at `path`.
    pub(super) fn is_sealed(&self, path: &[u8]) -> bool {
        if self.sealed.is_empty() {
            return false;
        }
        let mut path = path;
        loop {
            if self.sealed.contains_key(path) {
                return true;
            }
            if path.is_empty() {
                return false;
            }
            path = split(path).0;
        }
    }
}

/// Directory and last component of a path that is not the root.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// A path with one more component.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    if !directory.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Whether `path` is `directory` or lies below it.
pub(super) fn is_at_or_below(path: &[u8], directory: &[u8]) -> bool {
    match path.strip_prefix(directory) {
        Some(rest) => directory.is_empty() || rest.is_empty() || rest[0] == b'/',
        None => false,
    }
}

/// First and last bound of the keys strictly below `path`.
fn bounds(path: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    if path.is_empty() {
        return (Bound::Excluded(Vec::new()), Bound::Unbounded);
    }
    let with = |byte| {
        let mut bound = path.to_vec();
        bound.push(byte);
        bound
    };
    (Bound::Excluded(with(b'/')), Bound::Excluded(with(b'/' + 1)))
}

fn below<'a, T>(
    map: &'a BTreeMap<Box<[u8]>, T>,
    path: &[u8],
) -> impl Iterator<Item = (&'a Box<[u8]>, &'a T)> {
    let (first, last) = bounds(path);
    map.range::<[u8], _>((
        first.as_ref().map(Vec::as_slice),
        last.as_ref().map(Vec::as_slice),
    ))
}

fn remove_below<T>(map: &mut BTreeMap<Box<[u8]>, T>, path: &[u8]) {
    let gone: Vec<Box<[u8]>> = below(map, path).map(|(key, _)| key.clone()).collect();
    for key in gone {
        map.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_is_by_component_not_by_prefix() {
        let mut record = Record::default();
        for path in ["a", "a-b", "a/b/c", "a0"] {
            record.add(path.into(), Name::Other);
        }
        let found = record.directories_of_layer(b"");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [b"a".to_vec(), b"a/b".to_vec()]);
        assert!(record.is_of_layer(b"a/b"));
        record.forget(b"a");
        assert!(!record.is_of_layer(b"a/b"));
        assert!(record.is_of_layer(b"a-b") && record.is_of_layer(b"a0"));
    }

    #[test]
    fn sealed_holds_for_everything_inside() {
        let mut record = Record::default();
        record.seal(b"a/b");
        assert!(record.is_sealed(b"a/b") && record.is_sealed(b"a/b/c/d"));
        assert!(!record.is_sealed(b"a") && !record.is_sealed(b"a/bc"));
    }
}
