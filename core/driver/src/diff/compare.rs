//! Comparing two trees.

use super::links;
use super::marks::{Mark, Marks, UpperEntry};
use super::names::ChangedNames;
use super::node::{NONE, NameRef, Node, Share, State};
use super::same::{Comparer, Side, Step};
use super::walk::{Job, Pair, Shared, View, Walker};
use crate::counters::Counters;
use crate::error::Result;
use crate::snapshot::{Change, ChangeKind};
use crate::tree::CopyRecord;
use crate::tree::queue::work_off;
use crate::tree::trail::Trail;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use std::ffi::CString;
use std::num::NonZeroUsize;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};

/// The newer of two trees.
#[derive(Clone, Copy)]
pub enum Upper<'a> {
    /// A directory that holds the whole tree: what it lacks is deleted.
    Whole(BorrowedFd<'a>),
    /// A union's upper directory: what it lacks is as in the lower tree.
    Partial {
        /// The directory.
        root: BorrowedFd<'a>,
        /// Tells deletions in it.
        marks: &'a dyn Marks,
    },
    /// A directory that holds the whole tree, which began as a copy of the lower one and differs
    /// from it in these names at most.
    Named {
        /// The directory.
        root: BorrowedFd<'a>,
        /// The names that are looked at.
        names: &'a ChangedNames,
    },
}

impl std::fmt::Debug for Upper<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(root) => f.debug_tuple("Whole").field(root).finish(),
            Self::Partial { root, .. } => f.debug_tuple("Partial").field(root).finish(),
            Self::Named { root, names } => f
                .debug_struct("Named")
                .field("root", root)
                .field("names", &names.len())
                .finish(),
        }
    }
}

/// Options of [`compare`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CompareOptions<'a> {
    /// Threads that walk.
    pub threads: NonZeroUsize,
    /// Made when the upper tree was copied from the lower one, which has not changed since. Not
    /// used for an upper tree of which not all is walked.
    pub record: Option<&'a CopyRecord>,
}

impl Default for CompareOptions<'_> {
    /// As many threads as processors (at most eight), no record.
    fn default() -> Self {
        Self {
            threads: crate::tree::CopyOptions::default().threads,
            record: None,
        }
    }
}

impl<'a> CompareOptions<'a> {
    /// Walks with `threads` threads.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// Trusts `record` of what is unchanged.
    #[must_use]
    pub fn with_record(mut self, record: &'a CopyRecord) -> Self {
        self.record = Some(record);
        self
    }
}

/// What [`compare`] found.
#[derive(Debug)]
pub enum Outcome {
    /// The difference.
    Compared(Comparison),
    /// What was looked at does not tell: compare whole trees (as the union shows them, if the upper
    /// directory is one's).
    NeedsWholeTrees,
}

/// The difference of two trees, to be listed or written. Neither may be changed meanwhile.
#[derive(Debug)]
pub struct Comparison {
    pub(super) root: OwnedFd,
    /// The root, then everything that is written, in canonical order.
    pub(super) nodes: Vec<Node>,
    pub(super) arenas: Vec<Vec<u8>>,
    /// Whether the root itself is an entry.
    pub(super) root_changed: bool,
    /// Whether overlay's attributes in the tree are somebody's data, not the driver's marks.
    pub(super) whole: bool,
}

/// Compares `upper` with `lower`, or with the empty directory (0755, 0:0, no attributes).
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a name that a changeset cannot carry; what
/// the kernel refuses. Both name the path.
pub fn compare(
    lower: Option<BorrowedFd<'_>>,
    upper: Upper<'_>,
    options: &CompareOptions<'_>,
    counters: &Counters,
) -> Result<Outcome> {
    let trail = Trail::root("diff");
    let blame = |(step, errno)| trail.error(step, c"", errno);
    let (root, marks, names) = match upper {
        Upper::Whole(root) => (root, None, None),
        Upper::Partial { root, marks } => (root, Some(marks), None),
        Upper::Named { root, names } => (root, None, Some(names)),
    };
    let stat_upper = stat(root).map_err(blame)?;
    let stat_lower = lower.map(stat).transpose().map_err(blame)?;
    let view = match (marks, lower) {
        (_, None) => View::Alone,
        (None, Some(_)) => match names {
            Some(names) if !names.is_whole(0) => View::Named(0),
            _ => View::Whole,
        },
        (Some(marks), Some(_)) => {
            let entry = UpperEntry {
                directory: root,
                name: c"",
                stat: &stat_upper,
            };
            match marks.classify(&entry)? {
                Mark::Elsewhere => return Ok(Outcome::NeedsWholeTrees),
                Mark::OpaqueDirectory => View::Whole,
                _ => View::Merged,
            }
        }
    };
    let changed =
        root_differs((root, &stat_upper), lower.zip(stat_lower.as_ref())).map_err(blame)?;
    let pair = Pair {
        trail: Arc::clone(&trail),
        upper: reopen(root).map_err(blame)?,
        lower: lower.map(reopen).transpose().map_err(blame)?,
    };
    let shared = Shared {
        marks,
        record: match upper {
            Upper::Whole(_) => options.record,
            _ => None,
        },
        names: names.filter(|_| lower.is_some()),
        devices: (stat_upper.st_dev, stat_lower.map_or(0, |stat| stat.st_dev)),
        folders: AtomicU32::new(1),
        undecided: AtomicBool::new(false),
    };
    let first = Job {
        folder: 0,
        above: Arc::new(pair),
        name: CString::default(),
        view,
    };
    let numbers = AtomicU16::new(0);
    let mut walkers = work_off(options.threads, first, || {
        Ok(Walker::new(
            &shared,
            numbers.fetch_add(1, Ordering::Relaxed),
        ))
    })?;
    counters.add_entries_walked(walkers.iter().map(|walker| walker.walked).sum());
    if shared.undecided.load(Ordering::Relaxed) {
        return Ok(Outcome::NeedsWholeTrees);
    }
    // Workers come in the order of their threads, names count them in the order they began.
    walkers.sort_by_key(|walker| walker.number);
    let (mut seen, mut seen_upper) = (Vec::new(), Vec::new());
    let mut found = Vec::new();
    for walker in walkers {
        seen.extend(walker.seen);
        seen_upper.extend(walker.seen_upper);
        found.push(walker.share);
    }
    let mut root_node = Node::new(EMPTY, State::Same, &stat_upper);
    root_node.below = 0;
    let (mut nodes, mut rows) = assemble(root_node, &mut found, shared.folders.into_inner());
    let mut written: Vec<bool> = nodes.iter().map(|node| node.state != State::Same).collect();
    let surviving = links::resolve(&mut rows, &mut nodes, &mut written);
    let counts = marks.is_some() || shared.names.is_some();
    if counts && !links::all_seen(surviving, &seen) {
        return Ok(Outcome::NeedsWholeTrees);
    }
    if !links::all_seen(seen_upper.iter().map(|(key, _)| *key), &seen_upper) {
        return Ok(Outcome::NeedsWholeTrees);
    }
    Ok(Outcome::Compared(Comparison {
        root: reopen(root).map_err(blame)?,
        nodes: keep_written(nodes, written),
        arenas: found.into_iter().map(|share| share.arena).collect(),
        root_changed: changed,
        whole: marks.is_none(),
    }))
}

/// The name of a root.
const EMPTY: NameRef = NameRef {
    offset: 0,
    length: 0,
    worker: 0,
};

fn stat(directory: BorrowedFd<'_>) -> Step<Stat> {
    rustix::fs::fstat(directory).map_err(|errno| ("read the attributes", errno))
}

/// A descriptor of its own for the same directory.
fn reopen(directory: BorrowedFd<'_>) -> Step<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, c".", flags, Mode::empty())
        .map_err(|errno| ("open the directory", errno))
}

fn root_differs(
    (upper, stat_upper): (BorrowedFd<'_>, &Stat),
    lower: Option<(BorrowedFd<'_>, &Stat)>,
) -> Step<bool> {
    let mut comparer = Comparer::default();
    let side = |directory, stat| Side {
        directory,
        name: c"",
        stat,
    };
    if let Some((lower, stat_lower)) = lower {
        let same = comparer.same(&side(upper, stat_upper), &side(lower, stat_lower))?;
        return Ok(!same);
    }
    let plain =
        stat_upper.st_mode & 0o7777 == 0o755 && (stat_upper.st_uid, stat_upper.st_gid) == (0, 0);
    Ok(!plain || comparer.has_xattrs(upper)?)
}

/// Puts the shares of all workers in canonical order: a directory before what is in it.
fn assemble(
    root: Node,
    shares: &mut [Share],
    folders: u32,
) -> (Vec<Node>, Vec<super::node::LinkRow>) {
    let mut places = vec![(0_u32, 0_u32, 0_u32); folders as usize];
    for (worker, share) in shares.iter().enumerate() {
        for (folder, start, end) in &share.folders {
            places[*folder as usize] = (worker as u32, *start, *end);
        }
    }
    let total = shares.iter().map(|share| share.nodes.len()).sum::<usize>();
    let mut nodes = Vec::with_capacity(total + 1);
    let mut rows = Vec::new();
    nodes.push(root);
    let mut open = vec![(places[0], 0_u32)];
    while let Some(((worker, next, end), parent)) = open.last_mut() {
        if next == end {
            open.pop();
            continue;
        }
        let share = &shares[*worker as usize];
        let mut node = share.nodes[*next as usize];
        *next += 1;
        node.parent = *parent;
        let index = nodes.len() as u32;
        if node.link != NONE {
            let mut row = share.links[node.link as usize];
            row.node = index;
            rows.push(row);
        }
        if node.below != NONE {
            open.push((places[node.below as usize], index));
            node.below = NONE;
        }
        nodes.push(node);
    }
    for share in shares {
        share.nodes = Vec::new();
    }
    (nodes, rows)
}

/// Adds the ancestors of what is written, and leaves out the rest.
fn keep_written(nodes: Vec<Node>, mut written: Vec<bool>) -> Vec<Node> {
    written[0] = true;
    for index in (1..nodes.len()).rev() {
        if written[index] {
            written[nodes[index].parent as usize] = true;
        }
    }
    let mut new = vec![NONE; nodes.len()];
    let mut kept = Vec::with_capacity(written.iter().filter(|written| **written).count());
    for (index, mut node) in nodes.into_iter().enumerate() {
        if !written[index] {
            continue;
        }
        new[index] = kept.len() as u32;
        if node.parent != NONE {
            node.parent = new[node.parent as usize];
        }
        if node.below != NONE {
            node.below = new[node.below as usize];
        }
        kept.push(node);
    }
    kept
}

impl Comparison {
    /// The changed paths, in the order of the changeset.
    pub fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::with_capacity(self.nodes.len());
        if self.root_changed {
            changes.push(Change {
                path: Vec::new(),
                kind: ChangeKind::Modified,
            });
        }
        for node in &self.nodes[1..] {
            let mut path = self.path(node.parent);
            if !path.is_empty() {
                path.push(b'/');
            }
            let name = self.name(node);
            let kind = match node.state {
                State::Deleted => ChangeKind::Deleted,
                State::Added => ChangeKind::Added,
                State::Modified | State::Same => ChangeKind::Modified,
            };
            path.extend_from_slice(match kind {
                ChangeKind::Deleted => &name[crate::changeset::entry::WHITEOUT_PREFIX.len()..],
                _ => name,
            });
            changes.push(Change { path, kind });
        }
        changes
    }

    /// How many entries and whiteouts the changeset has.
    pub fn len(&self) -> usize {
        self.nodes.len() - usize::from(!self.root_changed)
    }

    /// Whether the trees are the same.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn name(&self, node: &Node) -> &[u8] {
        let start = node.name.offset as usize;
        let arena = self.arenas.get(usize::from(node.name.worker));
        arena.map_or(b"", |arena| {
            &arena[start..start + usize::from(node.name.length)]
        })
    }

    /// The path of a node, from the root, without a slash at either end.
    pub(super) fn path(&self, index: u32) -> Vec<u8> {
        let mut names = Vec::new();
        let mut node = &self.nodes[index as usize];
        while node.parent != NONE {
            names.push(self.name(node));
            node = &self.nodes[node.parent as usize];
        }
        names.reverse();
        names.join(&b'/')
    }

    pub(super) fn is_directory(node: &Node) -> bool {
        node.state != State::Deleted && node.file_type() == FileType::Directory
    }
}
