//! From a name to a node: which branches have it, and which of them show.

use super::branch::Branch;
use super::names;
use super::node::{Body, Directory, Identity, Node, Other, Part, home};
use super::place::{Place, errno_is_absent, file_type, find_at, is_directory};
use super::state::Union;
use rustix::fs::{FileType, Mode, OFlags, Statx};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use strata_fuse::{Entry, Ttl};

/// Where a name is found first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Top {
    /// Index of the part.
    pub(crate) part: usize,
    pub(crate) stat: Statx,
}

/// The first part from `from` on that has `name`, unless one before it hides it.
pub(crate) fn top(directory: &Directory, from: usize, name: &CStr) -> Result<Option<Top>, Errno> {
    let last = directory.parts.len() - 1;
    for (index, part) in directory.parts.iter().enumerate().skip(from) {
        if let Some(stat) = find_at(part.directory.as_fd(), name)? {
            return Ok(Some(Top { part: index, stat }));
        }
        if index < last && part.branch.whiteouts && part.marks.hides(&part.directory, name)? {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Whether `name` would show in the parts below `part` if that part did not have it.
pub(crate) fn shows_below(directory: &Directory, part: usize, name: &CStr) -> Result<bool, Errno> {
    if part + 1 >= directory.parts.len() {
        return Ok(false);
    }
    Ok(top(directory, part + 1, name)?.is_some())
}

/// Whether a directory `name` of the parts below `part` would merge with one in that part.
pub(crate) fn merges_below(directory: &Directory, part: usize, name: &CStr) -> Result<bool, Errno> {
    let last = directory.parts.len() - 1;
    for (index, part) in directory.parts.iter().enumerate().skip(part + 1) {
        let found = find_at(part.directory.as_fd(), name)?;
        if found.is_some_and(|stat| is_directory(&stat)) {
            return Ok(true);
        }
        if index < last && part.branch.whiteouts && part.marks.hides(&part.directory, name)? {
            break;
        }
    }
    Ok(false)
}

/// Opens a directory to look things up in it.
pub(crate) fn open_path(directory: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

impl Union {
    /// The parts of the directory `name`, whose topmost is known. What is not a directory in
    /// between is passed over, as aufs does.
    pub(crate) fn merge(
        &self,
        parent: &Directory,
        name: &CStr,
        top: &Top,
    ) -> Result<Vec<Part>, Errno> {
        let last = parent.parts.len() - 1;
        let mut parts = Vec::new();
        for (index, part) in parent.parts.iter().enumerate().skip(top.part) {
            let there = index == top.part
                || find_at(part.directory.as_fd(), name)?.is_some_and(|stat| is_directory(&stat));
            let mut cut = false;
            if there {
                let directory = open_path(&part.directory, name)?;
                let marks = super::marks::Marks::unread(self.keeps_marks(&part.branch));
                if index < last && part.branch.whiteouts {
                    cut = marks.opaque(&directory)?;
                }
                parts.push(Part {
                    branch: part.branch.clone(),
                    directory: Arc::new(directory),
                    marks,
                });
            }
            if index < last && part.branch.whiteouts {
                cut = cut || part.marks.hides(&part.directory, name)?;
            }
            if cut {
                break;
            }
        }
        Ok(parts)
    }

    /// The node of a name that was found, with one more reference.
    pub(crate) fn node_of(
        &self,
        parent: &Arc<Node>,
        directory: &Directory,
        name: &CStr,
        top: &Top,
    ) -> Result<Arc<Node>, Errno> {
        let part = &directory.parts[top.part];
        let kind = file_type(&top.stat);
        let inode = Identity::from(Branch::identity(&top.stat));
        if kind == FileType::Directory {
            if let Some(node) = self.table.find(&inode, kind) {
                return Ok(node);
            }
            let parts = self.merge(directory, name, top)?;
            let number = part.branch.number(&top.stat);
            let body = || Body::from(Directory::new(Some(home(parent, name)), parts));
            return Ok(self.table.find_or_make(&inode, kind, number, body));
        }
        let several = top.stat.stx_nlink > 1;
        let lower = !part.branch.is_writable();
        if several && lower && !self.options.plink {
            let identity = Identity::Name(parent.id, name.to_owned());
            return Ok(self.make_other(&identity, parent, part, name, &top.stat));
        }
        if several && lower {
            return self.node_of_several(&inode, parent, directory, name, top);
        }
        Ok(self.make_other(&inode, parent, part, name, &top.stat))
    }

    fn make_other(
        &self,
        identity: &Identity,
        parent: &Arc<Node>,
        part: &Part,
        name: &CStr,
        stat: &Statx,
    ) -> Arc<Node> {
        let numbers = part.branch.numbers.as_ref();
        let record = numbers.and_then(|numbers| numbers.of(stat));
        let number = part.branch.number(stat);
        self.table
            .find_or_make(identity, file_type(stat), number, || {
                let place = Place::named(part.directory.clone(), name);
                let mut other = Other::new(part.branch.clone(), place);
                other.home = Some(home(parent, name));
                if let Some(record) = record {
                    other.pending = record.pending;
                    other.linked = record.linked;
                }
                Body::from(other)
            })
    }

    /// A lower file with several names: it may have been copied up by another of them.
    fn node_of_several(
        &self,
        identity: &Identity,
        parent: &Arc<Node>,
        directory: &Directory,
        name: &CStr,
        top: &Top,
    ) -> Result<Arc<Node>, Errno> {
        let part = &directory.parts[top.part];
        if self.table.peek(identity).is_none()
            && let Some(node) = self.copied_before(identity, part, &top.stat)?
        {
            node.other_mut()?.unmade = Some(home(parent, name));
            return Ok(node);
        }
        let node = self.make_other(identity, parent, part, name, &top.stat);
        let mut other = node.other_mut()?;
        if other.branch.is_writable() {
            other.unmade = Some(home(parent, name));
        }
        // A copy goes to the name by which it was found last.
        if Arc::ptr_eq(&other.branch, &part.branch) {
            other.place = Place::named(part.directory.clone(), name);
            other.home = Some(home(parent, name));
        }
        drop(other);
        Ok(node)
    }

    /// The node of a copy that an earlier mount made of this lower file.
    fn copied_before(
        &self,
        identity: &Identity,
        part: &Part,
        stat: &Statx,
    ) -> Result<Option<Arc<Node>>, Errno> {
        let number = part.branch.raw_number(stat.stx_ino);
        for branch in self.branches() {
            let Some(numbers) = &branch.numbers else {
                continue;
            };
            let Some((copy, record)) = numbers.copy_of(number) else {
                continue;
            };
            let link = pseudo_link_path(number, copy);
            let Some(there) = find_at(branch.root.as_fd(), &link)? else {
                continue;
            };
            if there.stx_ino != copy || numbers.of(&there) != Some(record) {
                continue;
            }
            let own = Identity::from(Branch::identity(&there));
            let node = self
                .table
                .find_or_make(&own, file_type(&there), number, || {
                    let place = Place::named(branch.root.clone(), &link);
                    let mut other = Other::new(branch.clone(), place);
                    other.pending = record.pending;
                    other.linked = true;
                    Body::from(other)
                });
            self.table.also(&node, identity.clone());
            return Ok(Some(node));
        }
        Ok(None)
    }

    /// Looks `name` up in `parent`.
    pub(crate) fn look_up(&self, parent: &Arc<Node>, name: &CStr) -> Result<Entry, Errno> {
        names::check(name)?;
        let directory = parent.directory()?;
        let ttl = self.name_ttl(&directory);
        if directory.removed {
            return Ok(Self::no_entry(ttl));
        }
        match top(&directory, 0, name)? {
            None => Ok(Self::no_entry(ttl)),
            Some(top) => self.entry_of(parent, &directory, name, &top, ttl),
        }
    }

    /// The answer for a name that was found.
    pub(crate) fn entry_of(
        &self,
        parent: &Arc<Node>,
        directory: &Directory,
        name: &CStr,
        top: &Top,
        ttl: Ttl,
    ) -> Result<Entry, Errno> {
        let node = self.node_of(parent, directory, name, top)?;
        let entry = self.entry_of_node(directory, &node, top, ttl);
        if entry.is_err() {
            self.table.forget(node.id, 1);
        }
        entry
    }

    fn entry_of_node(
        &self,
        directory: &Directory,
        node: &Arc<Node>,
        top: &Top,
        mut ttl: Ttl,
    ) -> Result<Entry, Errno> {
        let part = &directory.parts[top.part];
        let mut known = Some(&top.stat);
        if !node.is_directory() && top.stat.stx_nlink > 1 {
            let other = node.other()?;
            if !Arc::ptr_eq(&other.branch, &part.branch) {
                known = None;
            }
            // Each use of one of several names shall tell us which.
            if other.linked || !other.branch.is_writable() {
                ttl = Ttl::ZERO;
            }
        }
        match self.entry(node, known, ttl) {
            Err(error) if errno_is_absent(error) => {
                // It went away between two looks.
                Err(Errno::NOENT)
            }
            other => other,
        }
    }

    /// Holds what is found under a name for the time of an operation on it: no reference of the
    /// kernel's is counted for longer.
    pub(crate) fn borrow<'a>(
        &'a self,
        parent: &Arc<Node>,
        directory: &Directory,
        name: &CStr,
        top: &Top,
    ) -> Result<Borrowed<'a>, Errno> {
        let node = self.node_of(parent, directory, name, top)?;
        Ok(Borrowed { union: self, node })
    }
}

/// A node, for as long as an operation takes.
#[derive(Debug)]
pub(crate) struct Borrowed<'a> {
    union: &'a Union,
    pub(crate) node: Arc<Node>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.union.table.forget(self.node.id, 1);
    }
}

/// Where it is, from the root of its branch.
fn pseudo_link_path(number: u64, copy: u64) -> CString {
    let directory = names::PSEUDO_LINKS.to_string_lossy();
    CString::new(format!("{directory}/{number}.{copy}")).expect("digits have no NUL")
}

/// The name of the pseudo-link of a copy: `NUMBER.COPY`, as in aufs.
pub(crate) fn pseudo_link(number: u64, copy: u64) -> CString {
    CString::new(format!("{number}.{copy}")).expect("digits have no NUL")
}
