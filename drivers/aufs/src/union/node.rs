//! What the kernel calls inodes, and the table that finds them.

use super::branch::Branch;
use super::listing::Reading;
use super::marks::Marks;
use super::place::Place;
use rustix::fs::FileType;
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use strata_fuse::{Backing, NodeId};

/// What tells a node from all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// Device and inode number in a branch.
    Inode(u64, u64),
    /// A name of a lower file with several, where those do not stay together.
    Name(NodeId, CString),
}

impl From<(u64, u64)> for Identity {
    fn from((device, inode): (u64, u64)) -> Self {
        Self::Inode(device, inode)
    }
}

/// A directory of one branch, part of a directory of the union.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) branch: Arc<Branch>,
    pub(crate) directory: Arc<OwnedFd>,
    pub(crate) marks: Marks,
}

/// What a directory is made of.
#[derive(Debug)]
pub(crate) struct Directory {
    /// None for the root, and for one that was removed.
    pub(crate) home: Option<(Arc<Node>, CString)>,
    /// Top first, never empty.
    pub(crate) parts: Vec<Part>,
    /// It has no name any more, and nothing can be made in it.
    pub(crate) removed: bool,
    /// Whether what is made in it inherits an ACL, once that is known.
    pub(crate) default_acl: AtomicU8,
}

impl Directory {
    pub(crate) fn new(home: Option<(Arc<Node>, CString)>, parts: Vec<Part>) -> Self {
        Self {
            home,
            parts,
            removed: false,
            default_acl: AtomicU8::new(0),
        }
    }
}

/// Which way the kernel reads and writes an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Closed,
    Cached(u32),
    Passthrough(Backing, u32),
}

/// A file, link, device or the like.
#[derive(Debug)]
pub(crate) struct Other {
    pub(crate) branch: Arc<Branch>,
    pub(crate) place: Place,
    /// Where it stands in the union; none once it has no name that we know.
    pub(crate) home: Option<(Arc<Node>, CString)>,
    pub(crate) mode: Mode,
    /// Open while the kernel has it open.
    pub(crate) reader: Option<Arc<OwnedFd>>,
    pub(crate) writer: Option<Arc<OwnedFd>>,
    /// The kernel takes no backing of it.
    pub(crate) refuses_passthrough: bool,
    /// Names of the original that do not stand in the branch.
    pub(crate) pending: u32,
    /// Whether it has a pseudo-link.
    pub(crate) linked: bool,
    /// The name by which it was found last, if that does not stand in the branch yet.
    pub(crate) unmade: Option<(Arc<Node>, CString)>,
    /// What the kernel reads of it is not what stands here: a copy made after it was opened.
    pub(crate) superseded: bool,
}

impl Other {
    pub(crate) fn new(branch: Arc<Branch>, place: Place) -> Self {
        Self {
            branch,
            place,
            home: None,
            mode: Mode::Closed,
            reader: None,
            writer: None,
            refuses_passthrough: false,
            pending: 0,
            linked: false,
            unmade: None,
            superseded: false,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Body {
    Directory {
        inside: RwLock<Directory>,
        /// Who reads it without having opened it.
        reading: Reading,
    },
    Other(RwLock<Other>),
}

impl From<Directory> for Body {
    fn from(directory: Directory) -> Self {
        Self::Directory {
            inside: RwLock::new(directory),
            reading: Reading::default(),
        }
    }
}

impl From<Other> for Body {
    fn from(other: Other) -> Self {
        Self::Other(RwLock::new(other))
    }
}

#[derive(Debug)]
struct References {
    /// How many the kernel holds.
    count: u64,
    /// Forgotten: found no more.
    dead: bool,
    identities: Vec<Identity>,
}

/// An inode as the kernel knows it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    number: AtomicU64,
    pub(crate) kind: FileType,
    /// It has no capabilities (`security.capability`), for which the kernel asks at each change.
    pub(crate) plain: AtomicBool,
    references: Mutex<References>,
    pub(crate) body: Body,
}

impl Node {
    /// The number that callers see.
    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    pub(crate) fn set_number(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
    }

    pub(crate) fn directory(&self) -> Result<RwLockReadGuard<'_, Directory>, Errno> {
        match &self.body {
            Body::Directory { inside, .. } => {
                Ok(inside.read().unwrap_or_else(PoisonError::into_inner))
            }
            Body::Other(_) => Err(Errno::NOTDIR),
        }
    }

    pub(crate) fn directory_mut(&self) -> Result<RwLockWriteGuard<'_, Directory>, Errno> {
        match &self.body {
            Body::Directory { inside, .. } => {
                Ok(inside.write().unwrap_or_else(PoisonError::into_inner))
            }
            Body::Other(_) => Err(Errno::NOTDIR),
        }
    }

    pub(crate) fn other(&self) -> Result<RwLockReadGuard<'_, Other>, Errno> {
        match &self.body {
            Body::Other(other) => Ok(other.read().unwrap_or_else(PoisonError::into_inner)),
            Body::Directory { .. } => Err(Errno::ISDIR),
        }
    }

    pub(crate) fn other_mut(&self) -> Result<RwLockWriteGuard<'_, Other>, Errno> {
        match &self.body {
            Body::Other(other) => Ok(other.write().unwrap_or_else(PoisonError::into_inner)),
            Body::Directory { .. } => Err(Errno::ISDIR),
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory { .. })
    }

    fn references(&self) -> MutexGuard<'_, References> {
        self.references
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hasher for numbers that are spread already.
#[derive(Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;
const SHARDS: usize = 64;

/// Finds nodes by what the kernel calls them, and by identity.
#[derive(Debug)]
pub(crate) struct Table {
    next: AtomicU64,
    by_id: Vec<RwLock<Map<u64, Arc<Node>>>>,
    by_identity: Vec<Mutex<Map<Identity, Arc<Node>>>>,
}

impl Table {
    pub(crate) fn new(root: Directory, number: u64) -> (Self, Arc<Node>) {
        let table = Self {
            next: AtomicU64::new(NodeId::ROOT.0 + 1),
            by_id: (0..SHARDS).map(|_| RwLock::default()).collect(),
            by_identity: (0..SHARDS).map(|_| Mutex::default()).collect(),
        };
        let body = Body::from(root);
        let root = Arc::new(Node {
            id: NodeId::ROOT,
            number: AtomicU64::new(number),
            kind: FileType::Directory,
            plain: AtomicBool::new(false),
            references: Mutex::new(References {
                count: 1,
                dead: false,
                identities: Vec::new(),
            }),
            body,
        });
        table.ids(NodeId::ROOT).insert(NodeId::ROOT.0, root.clone());
        (table, root)
    }

    fn ids(&self, id: NodeId) -> RwLockWriteGuard<'_, Map<u64, Arc<Node>>> {
        let shard = &self.by_id[id.0 as usize % SHARDS];
        shard.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn identities(&self, identity: &Identity) -> MutexGuard<'_, Map<Identity, Arc<Node>>> {
        let mut hasher = Spread::default();
        identity.hash(&mut hasher);
        let shard = &self.by_identity[hasher.finish() as usize >> 8 & (SHARDS - 1)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node that the kernel names. It knows only what it has a reference to.
    pub(crate) fn get(&self, id: NodeId) -> Result<Arc<Node>, Errno> {
        let shard = &self.by_id[id.0 as usize % SHARDS];
        let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
        shard.get(&id.0).cloned().ok_or(Errno::STALE)
    }

    /// The node of that identity, if the kernel has one; counts no reference.
    pub(crate) fn peek(&self, identity: &Identity) -> Option<Arc<Node>> {
        let node = self.identities(identity).get(identity).cloned()?;
        let dead = node.references().dead;
        (!dead).then_some(node)
    }

    /// The node of that identity and kind, with one more reference.
    pub(crate) fn find(&self, identity: &Identity, kind: FileType) -> Option<Arc<Node>> {
        let node = self.identities(identity).get(identity).cloned()?;
        if node.kind != kind {
            return None;
        }
        let mut references = node.references();
        if references.dead {
            return None;
        }
        references.count += 1;
        drop(references);
        Some(node)
    }

    /// [`find`](Self::find), or a new node.
    pub(crate) fn find_or_make(
        &self,
        identity: &Identity,
        kind: FileType,
        number: u64,
        body: impl FnOnce() -> Body,
    ) -> Arc<Node> {
        let mut shard = self.identities(identity);
        if let Some(node) = shard.get(identity)
            && node.kind == kind
        {
            let mut references = node.references();
            if !references.dead {
                references.count += 1;
                drop(references);
                return node.clone();
            }
        }
        let node = self.make(identity.clone(), kind, number, body());
        shard.insert(identity.clone(), node.clone());
        node
    }

    fn make(&self, identity: Identity, kind: FileType, number: u64, body: Body) -> Arc<Node> {
        let id = NodeId(self.next.fetch_add(1, Ordering::Relaxed));
        let node = Arc::new(Node {
            id,
            number: AtomicU64::new(number),
            kind,
            plain: AtomicBool::new(false),
            references: Mutex::new(References {
                count: 1,
                dead: false,
                identities: vec![identity],
            }),
            body,
        });
        self.ids(id).insert(id.0, node.clone());
        node
    }

    /// One more reference to a node that is in use.
    pub(crate) fn again(node: &Node) {
        node.references().count += 1;
    }

    /// One more identity by which the node is found.
    pub(crate) fn also(&self, node: &Arc<Node>, identity: Identity) {
        let mut shard = self.identities(&identity);
        let mut references = node.references();
        if !references.dead && !references.identities.contains(&identity) {
            references.identities.push(identity.clone());
        }
        drop(references);
        shard.insert(identity, node.clone());
    }

    /// The node is found by none of its identities any more; the kernel may go on to use it.
    pub(crate) fn disown(&self, node: &Arc<Node>) {
        let identities = std::mem::take(&mut node.references().identities);
        self.remove_identities(node, &identities);
    }

    fn remove_identities(&self, node: &Arc<Node>, identities: &[Identity]) {
        for identity in identities {
            let mut shard = self.identities(identity);
            if shard
                .get(identity)
                .is_some_and(|known| Arc::ptr_eq(known, node))
            {
                shard.remove(identity);
            }
        }
    }

    /// The kernel drops so many references.
    pub(crate) fn forget(&self, id: NodeId, count: u64) {
        if id == NodeId::ROOT {
            return;
        }
        let Ok(node) = self.get(id) else {
            return;
        };
        let mut references = node.references();
        references.count = references.count.saturating_sub(count);
        if references.count > 0 {
            return;
        }
        references.dead = true;
        let identities = std::mem::take(&mut references.identities);
        drop(references);
        self.remove_identities(&node, &identities);
        self.ids(id).remove(&id.0);
    }

    /// All nodes.
    pub(crate) fn all(&self) -> Vec<Arc<Node>> {
        let mut nodes = Vec::new();
        for shard in &self.by_id {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            nodes.extend(shard.values().cloned());
        }
        nodes
    }
}

/// A name in a directory of the union.
pub(crate) type Home = (Arc<Node>, CString);

pub(crate) fn home(parent: &Arc<Node>, name: &CStr) -> Home {
    (parent.clone(), name.to_owned())
}
