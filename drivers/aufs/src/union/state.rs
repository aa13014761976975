//! The union: its branches, nodes and open directories, and what all operations use of them.

use super::branch::Branch;
use super::listing::Reading;
use super::node::{Body, Directory, Node, Part, Table};
use super::options::{Coherence, CreatePolicy, Udba, UnionOptions, Xino};
use super::place::{attr, statx_at};
use rustix::fs::Statx;
use rustix::io::Errno;
use std::collections::HashMap;
use std::hash::RandomState;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};
use strata_driver::tree::InodeCopier;
use strata_fuse::{Attr, AttrReply, Entry, Handle, NodeId, Notifier, Ttl};

/// For ever, as far as a mount lives.
const KEEP: Ttl = Duration::from_hours(24);
const LOOK_AGAIN: Ttl = Duration::ZERO;

/// A mounted union.
#[derive(Debug)]
pub(crate) struct Union {
    pub(crate) options: UnionOptions,
    branches: RwLock<Vec<Arc<Branch>>>,
    /// Devices of all branches that there were: their places are in inode numbers.
    pub(crate) devices: Mutex<Vec<(u32, u32)>>,
    pub(crate) table: Table,
    pub(crate) root: Arc<Node>,
    pub(crate) copier: InodeCopier,
    session: OnceLock<Kernel>,
    directories: Mutex<HashMap<u64, Arc<Reading>>>,
    /// By which names have their places in listings.
    pub(crate) places: RandomState,
    next_handle: AtomicU64,
    round: AtomicUsize,
    most_free: Mutex<Option<(Instant, usize)>>,
}

/// The kernel's side of the mount.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) notifier: Notifier,
    pub(crate) passthrough: bool,
}

impl Union {
    /// Opens the branches.
    pub(crate) fn open(options: UnionOptions) -> Result<Self, (PathBuf, Errno)> {
        let mut devices = Vec::new();
        let mut branches = Vec::new();
        for option in &options.branches {
            let written = options.writes(option);
            let first = if written {
                !branches
                    .iter()
                    .any(|branch: &Arc<Branch>| branch.is_writable())
            } else {
                // Of a branch that was written before, and is only read now.
                branches.is_empty() && matches!(&options.xino, Xino::At(file) if file.exists())
            };
            let xino = match &options.xino {
                Xino::At(path) if first => Some(path.clone()),
                Xino::Beside | Xino::At(_) if written => beside(&option.path),
                _ => None,
            };
            let branch = Branch::open(&options, option, xino.as_deref(), &mut devices)
                .map_err(|error| (option.path.clone(), error))?;
            branches.push(Arc::new(branch));
        }
        let keep = options.udba == Udba::None;
        let parts = root_parts(&branches, |branch| keep || !branch.is_writable());
        let number = branches.first().map_or(Ok(1), |branch| {
            let stat = statx_at(branch.root.as_fd(), c"");
            stat.map(|stat| branch.number(&stat))
        });
        let number = number.map_err(|error| (options.branches[0].path.clone(), error))?;
        let directory = Directory::new(None, parts);
        let (table, root) = Table::new(directory, number);
        Ok(Self {
            options,
            branches: RwLock::new(branches),
            devices: Mutex::new(devices),
            table,
            root,
            copier: InodeCopier::default(),
            session: OnceLock::new(),
            directories: Mutex::default(),
            places: RandomState::new(),
            next_handle: AtomicU64::new(1),
            round: AtomicUsize::new(0),
            most_free: Mutex::new(None),
        })
    }

    /// Tells how the kernel is reached; once, before the first request.
    pub(crate) fn connect(&self, kernel: Kernel) {
        let _already = self.session.set(kernel);
    }

    pub(crate) fn kernel(&self) -> Option<&Kernel> {
        self.session.get()
    }

    /// The branches, top first.
    pub(crate) fn branches(&self) -> Vec<Arc<Branch>> {
        let branches = self.branches.read().unwrap_or_else(PoisonError::into_inner);
        branches.clone()
    }

    pub(crate) fn replace_branches(&self, branches: Vec<Arc<Branch>>) {
        *self
            .branches
            .write()
            .unwrap_or_else(PoisonError::into_inner) = branches;
    }

    pub(crate) fn rank(&self, branch: &Arc<Branch>) -> Option<usize> {
        let branches = self.branches.read().unwrap_or_else(PoisonError::into_inner);
        branches.iter().position(|one| Arc::ptr_eq(one, branch))
    }

    /// Whether a branch is written at all.
    pub(crate) fn is_written(&self) -> bool {
        let branches = self.branches.read().unwrap_or_else(PoisonError::into_inner);
        branches.iter().any(|branch| branch.is_writable())
    }

    /// Whether marks of this branch are known without looking each time.
    pub(crate) fn keeps_marks(&self, branch: &Branch) -> bool {
        self.options.udba == Udba::None || !branch.is_writable()
    }

    /// Whether directories are read without being opened: nobody else changes a branch, and
    /// nothing is copied up for being opened.
    pub(crate) fn keeps_listings(&self) -> bool {
        let copied = |option: &super::options::BranchOption| {
            option.copy_up_on_open == super::options::CopyUpOnOpen::All
        };
        self.options.udba == Udba::None && !self.options.branches.iter().any(copied)
    }

    pub(crate) fn strict(&self) -> bool {
        self.options.coherence == Coherence::Strict
    }

    /// Where a new name in a directory with these parts goes: aufs(5), "Policies".
    pub(crate) fn branch_for_name(&self, parts: &[Part]) -> Result<Arc<Branch>, Errno> {
        let branches = self.branches();
        let writable: Vec<_> = branches.iter().filter(|b| b.is_writable()).collect();
        match (&writable[..], self.options.create) {
            ([], _) => Err(Errno::ROFS),
            ([only], _) => Ok((*only).clone()),
            (_, CreatePolicy::TopDownParent) => {
                let has = parts.iter().find(|part| part.branch.is_writable());
                has.map_or_else(
                    || self.nearest_above(&parts[0].branch),
                    |part| Ok(part.branch.clone()),
                )
            }
            (_, CreatePolicy::RoundRobin) => {
                let turn = self.round.fetch_add(1, Ordering::Relaxed);
                Ok(writable[turn % writable.len()].clone())
            }
            (_, CreatePolicy::MostFree(every)) => {
                Ok(writable[self.most_free(&writable, every)].clone())
            }
        }
    }

    fn most_free(&self, writable: &[&Arc<Branch>], every: Duration) -> usize {
        let mut last = self
            .most_free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((when, which)) = *last
            && when.elapsed() < every
            && which < writable.len()
        {
            return which;
        }
        let free = |branch: &&Arc<Branch>| {
            rustix::fs::fstatvfs(&*branch.root).map_or(0, |stat| stat.f_bavail * stat.f_frsize)
        };
        let frees = writable.iter().map(free).enumerate();
        let which = frees.max_by_key(|(index, free)| (*free, usize::MAX - index));
        let which = which.map_or(0, |(index, _)| index);
        *last = Some((Instant::now(), which));
        which
    }

    /// The branch that takes copies of what stands in `branch`: itself if it is written, else the
    /// nearest one above that is.
    pub(crate) fn nearest_above(&self, branch: &Arc<Branch>) -> Result<Arc<Branch>, Errno> {
        let branches = self.branches();
        let rank = self
            .rank(branch)
            .unwrap_or(branches.len().saturating_sub(1));
        let above = branches[..=rank].iter().rev();
        let mut above = above.filter(|branch| branch.is_writable());
        above.next().cloned().ok_or(Errno::ROFS)
    }

    /// The branch that takes a copy of what stands in `branch`, in a directory with these parts.
    pub(crate) fn branch_for_copy(
        &self,
        branch: &Arc<Branch>,
        parts: &[Part],
    ) -> Result<Arc<Branch>, Errno> {
        use super::options::CopyUpPolicy;
        let nearest = self.nearest_above(branch)?;
        if self.options.copy_up == CopyUpPolicy::BottomUp {
            return Ok(nearest);
        }
        let rank = self.rank(branch).unwrap_or(usize::MAX);
        let above = |part: &&Part| {
            let is_above = self.rank(&part.branch).is_some_and(|one| one <= rank);
            part.branch.is_writable() && is_above
        };
        let with_parent = match self.options.copy_up {
            CopyUpPolicy::TopDownParent => parts.iter().find(above),
            _ => parts.iter().rev().find(above),
        };
        Ok(with_parent.map_or(nearest, |part| part.branch.clone()))
    }

    /// How long a name in a directory is good.
    pub(crate) fn name_ttl(&self, directory: &Directory) -> Ttl {
        let changes = self.options.udba != Udba::None
            && directory.parts.iter().any(|part| part.branch.is_writable());
        if changes { LOOK_AGAIN } else { KEEP }
    }

    fn attr_ttl(&self, branch: &Branch) -> Ttl {
        if self.options.udba != Udba::None && branch.is_writable() {
            LOOK_AGAIN
        } else {
            KEEP
        }
    }

    /// Attributes of a node. `known` is what was just read of where it stands, if it was.
    pub(crate) fn attributes(
        &self,
        node: &Node,
        known: Option<&Statx>,
    ) -> Result<AttrReply, Errno> {
        let (attr, ttl) = match &node.body {
            Body::Directory { .. } => {
                let directory = node.directory()?;
                let top = &directory.parts[0];
                let stat = match known {
                    Some(stat) => *stat,
                    None => statx_at(top.directory.as_fd(), c"")?,
                };
                let mut attr = attr(&stat, node.number());
                attr.nlink = links_of(&directory, attr);
                (attr, self.attr_ttl(&top.branch))
            }
            Body::Other(_) => {
                let other = node.other()?;
                let stat = match known {
                    Some(stat) => *stat,
                    None => other.place.stat()?,
                };
                let mut attr = attr(&stat, node.number());
                if other.linked {
                    attr.nlink = attr.nlink.saturating_sub(1) + other.pending;
                } else if attr.nlink > 1 && !other.branch.is_writable() {
                    attr.nlink = attr
                        .nlink
                        .saturating_sub(self.gone_below(&other.branch, node));
                }
                (attr, self.attr_ttl(&other.branch))
            }
        };
        Ok(AttrReply { attr, ttl })
    }

    /// The answer that gives a node to the kernel.
    pub(crate) fn entry(
        &self,
        node: &Node,
        known: Option<&Statx>,
        name_ttl: Ttl,
    ) -> Result<Entry, Errno> {
        let reply = self.attributes(node, known)?;
        Ok(Entry {
            node: node.id,
            generation: 0,
            attr: reply.attr,
            entry_ttl: name_ttl,
            attr_ttl: reply.ttl,
        })
    }

    pub(crate) fn no_entry(name_ttl: Ttl) -> Entry {
        Entry {
            node: NodeId(0),
            generation: 0,
            attr: Attr::default(),
            entry_ttl: name_ttl,
            attr_ttl: LOOK_AGAIN,
        }
    }

    pub(crate) fn open_directory(&self, directory: Reading) -> Handle {
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.opened().insert(handle, Arc::new(directory));
        Handle(handle)
    }

    pub(crate) fn opened_directory(&self, handle: Handle) -> Result<Arc<Reading>, Errno> {
        self.opened().get(&handle.0).cloned().ok_or(Errno::BADF)
    }

    pub(crate) fn close_directory(&self, handle: Handle) {
        self.opened().remove(&handle.0);
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Reading>>> {
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each part counts its own subdirectories; a file system that does not count says 1.
fn links_of(directory: &Directory, top: Attr) -> u32 {
    let mut links = top.nlink;
    for part in &directory.parts[1..] {
        let Ok(stat) = statx_at(part.directory.as_fd(), c"") else {
            continue;
        };
        if links < 2 || stat.stx_nlink < 2 {
            return 1;
        }
        links += stat.stx_nlink - 2;
    }
    links
}

/// `.NAME.xino` in the directory of the branch.
pub(crate) fn beside(branch: &std::path::Path) -> Option<PathBuf> {
    let branch = fs_err::canonicalize(branch).ok()?;
    let name = branch.file_name()?;
    let mut file = std::ffi::OsString::from(".");
    file.push(name);
    file.push(".xino");
    Some(branch.with_file_name(file))
}

/// The parts of the root: all branches, down to one that is opaque.
pub(crate) fn root_parts(branches: &[Arc<Branch>], keeps: impl Fn(&Branch) -> bool) -> Vec<Part> {
    let mut parts = Vec::new();
    for branch in branches {
        let part = Part {
            marks: super::marks::Marks::unread(keeps(branch)),
            directory: branch.root.clone(),
            branch: branch.clone(),
        };
        let cut = branch.whiteouts && part.marks.opaque(&part.directory).unwrap_or(false);
        parts.push(part);
        if cut {
            break;
        }
    }
    parts
}

/// The part of a directory that lies in `branch`.
pub(crate) fn part_in<'a>(directory: &'a Directory, branch: &Arc<Branch>) -> Option<&'a Part> {
    let mut parts = directory.parts.iter();
    parts.find(|part| Arc::ptr_eq(&part.branch, branch))
}
