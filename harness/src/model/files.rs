//! The tree of inodes, and how a path leads through it.

use super::inode::{Body, Inode, InodeId, Mtime};
use super::operation::Answer;
use super::quirks::NameRules;
use crate::tree::TreePath;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};

/// Symbolic links on one way before it is `ELOOP`; `path_resolution(7)`.
const MOST_LINKS: usize = 40;

/// What an operation of the model gives.
pub type Outcome = Result<Answer, Errno>;

/// A file system in memory. Inodes stay until the next snapshot, whether they have names or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub(super) names: NameRules,
    inodes: BTreeMap<InodeId, Inode>,
    next: InodeId,
}

/// Where a path leads.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The directory; none if the path is the root.
    pub(super) directory: Option<InodeId>,
    /// The name in it.
    pub(super) name: Vec<u8>,
    /// What has that name.
    pub(super) inode: Option<InodeId>,
}

impl Place {
    /// What is there, or `ENOENT`.
    pub(super) fn existing(&self) -> Result<InodeId, Errno> {
        self.inode.ok_or(Errno::NOENT)
    }
}

/// The root's number.
pub const ROOT: InodeId = 0;

impl Files {
    /// An empty snapshot: 0755, 0:0, time 0.
    pub fn empty() -> Self {
        let mut root = Inode::new(Body::Directory(BTreeMap::new()), 0o755);
        root.mtime = Mtime::At(0);
        Self {
            names: NameRules::default(),
            inodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
        }
    }

    /// Likewise, with such names only.
    pub(super) fn empty_with(names: NameRules) -> Self {
        Self {
            names,
            ..Self::empty()
        }
    }

    /// An inode that is known to be there.
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[&id]
    }

    /// The same, to change it.
    pub(super) fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).expect("inodes stay")
    }

    /// All inodes, also those without a name.
    pub(super) fn inodes_mut(&mut self) -> impl Iterator<Item = (InodeId, &mut Inode)> {
        self.inodes.iter_mut().map(|(id, inode)| (*id, inode))
    }

    /// Takes an inode in, which has no name yet.
    pub(super) fn add(&mut self, inode: Inode) -> InodeId {
        let id = self.next;
        self.next += 1;
        self.inodes.insert(id, inode);
        id
    }

    /// Every path with its inode, a directory before what is in it.
    pub fn paths(&self) -> Vec<(TreePath, InodeId)> {
        let mut paths = vec![(TreePath::root(), ROOT)];
        let mut next = 0;
        while let Some((path, id)) = paths.get(next).cloned() {
            let names = self.inode(id).names().into_iter().flatten();
            paths.extend(names.map(|(name, inode)| (path.join(name), *inode)));
            next += 1;
        }
        paths.sort();
        paths
    }

    /// How many names an inode has.
    pub(super) fn names_of(&self, id: InodeId) -> usize {
        let directories = self.inodes.values().filter_map(Inode::names);
        let names = directories.flat_map(BTreeMap::values);
        names.filter(|named| **named == id).count()
    }

    /// What `path` is, no link followed at its end.
    pub fn at(&self, path: &TreePath) -> Result<InodeId, Errno> {
        self.place(path)?.existing()
    }

    /// Where `path` leads, no link followed at its end.
    pub(super) fn place(&self, path: &TreePath) -> Result<Place, Errno> {
        self.walk(path.as_bytes(), false)
    }

    /// Where `path` leads, links followed at its end too.
    pub(super) fn place_followed(&self, path: &TreePath) -> Result<Place, Errno> {
        self.walk(path.as_bytes(), true)
    }

    /// Walks by the rules of `path_resolution(7)`, with the mount as root.
    fn walk(&self, path: &[u8], follow: bool) -> Result<Place, Errno> {
        let components = |path: &[u8]| -> Vec<Vec<u8>> {
            let parts = path.split(|byte| *byte == b'/');
            let mut parts: Vec<_> = parts
                .filter(|part| !part.is_empty() && *part != b".")
                .map(<[u8]>::to_vec)
                .collect();
            parts.reverse();
            parts
        };
        let mut rest = components(path);
        // The directories on the way, for `..`.
        let mut above: Vec<InodeId> = Vec::new();
        let mut here = ROOT;
        let mut links = 0;
        loop {
            let Some(name) = rest.pop() else {
                return Ok(Place {
                    directory: above.last().copied(),
                    name: Vec::new(),
                    inode: Some(here),
                });
            };
            let Body::Directory(names) = &self.inode(here).body else {
                return Err(Errno::NOTDIR);
            };
            if name == b".." {
                here = above.pop().unwrap_or(ROOT);
                continue;
            }
            self.names.check(&name)?;
            let found = names.get(&name).copied();
            let last = rest.is_empty();
            if let Some(id) = found
                && let Body::Symlink(target) = &self.inode(id).body
                && (!last || follow)
            {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP);
                }
                if target.first() == Some(&b'/') {
                    (here, above) = (ROOT, Vec::new());
                }
                rest.extend(components(target));
                continue;
            }
            if last {
                return Ok(Place {
                    directory: Some(here),
                    name,
                    inode: found,
                });
            }
            above.push(here);
            here = found.ok_or(Errno::NOENT)?;
        }
    }

    /// Gives `inode` a name that is free.
    pub(super) fn link(&mut self, place: &Place, inode: InodeId) {
        let directory = place.directory.expect("a free name is in a directory");
        let directory = self.inode_mut(directory);
        if let Body::Directory(names) = &mut directory.body {
            names.insert(place.name.clone(), inode);
        }
        directory.mtime = Mtime::Now;
    }

    /// Takes a name away.
    pub(super) fn unlink(&mut self, place: &Place) {
        let directory = place.directory.expect("the root is never taken away");
        let directory = self.inode_mut(directory);
        if let Body::Directory(names) = &mut directory.body {
            names.remove(&place.name);
        }
        directory.mtime = Mtime::Now;
    }

    /// A new object under a free name: it inherits what its directory hands on.
    pub(super) fn make(&mut self, place: &Place, mut inode: Inode) -> InodeId {
        const SET_GROUP: u32 = 0o2000;
        let directory = place.directory.expect("a free name is in a directory");
        let directory = self.inode(directory);
        if directory.mode & SET_GROUP != 0 {
            inode.gid = directory.gid;
            if inode.is_directory() {
                inode.mode |= SET_GROUP;
            }
        }
        inode.inherit(directory.default);
        let id = self.add(inode);
        self.link(place, id);
        id
    }

    /// Whether `inner` is `outer` or below it.
    pub(super) fn is_within(&self, inner: InodeId, outer: InodeId) -> bool {
        if inner == outer {
            return true;
        }
        let names = self.inode(outer).names().into_iter().flatten();
        names
            .filter(|(_, id)| self.inode(**id).is_directory())
            .any(|(_, id)| self.is_within(inner, *id))
    }

    /// The inodes whose time is to be learned, each with its first path; those without a path are
    /// left out.
    pub fn unlearned(&self) -> Vec<(TreePath, InodeId)> {
        let mut known = BTreeSet::new();
        let mut paths = self.paths();
        paths.retain(|(_, id)| {
            let is_known = matches!(self.inode(*id).mtime, Mtime::At(_) | Mtime::Learned(_));
            !is_known && known.insert(*id)
        });
        paths
    }

    /// Tells the time of an inode.
    pub fn learn(&mut self, id: InodeId, mtime: i128) {
        self.inode_mut(id).mtime = Mtime::Learned(mtime);
    }

    /// Forgets all inodes but these.
    pub(super) fn keep(&mut self, wanted: impl Fn(InodeId) -> bool) {
        self.inodes.retain(|id, _| wanted(*id));
    }

    pub(super) fn list(&self, path: &TreePath) -> Outcome {
        let id = self.at(path)?;
        let names = self.inode(id).names().ok_or(Errno::NOTDIR)?;
        Ok(Answer::Names(names.keys().cloned().collect()))
    }

    pub(super) fn read_link(&self, path: &TreePath) -> Outcome {
        match &self.inode(self.at(path)?).body {
            Body::Symlink(target) => Ok(Answer::Target(target.clone())),
            _ => Err(Errno::INVAL),
        }
    }
}
