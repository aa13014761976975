//! Copying up: from a branch that is not written into one that is.

use super::branch::Branch;
use super::lookup::{open_path, pseudo_link};
use super::marks::Marks;
use super::node::{Directory, Identity, Mode, Node, Other, Part};
use super::place::{Place, file_type, statx_at, times_of};
use super::state::{Union, part_in};
use rustix::fs::{FileType, Mode as Bits, OFlags, RenameFlags, Statx};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

/// How much of the content is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    All,
    /// It is about to be cut to nothing.
    None,
}

/// A directory of a branch that is written.
#[derive(Clone, Debug)]
pub(crate) struct Upper {
    pub(crate) branch: Arc<Branch>,
    pub(crate) directory: Arc<OwnedFd>,
}

/// Something new in the directory of orphans; removed unless it is moved away.
struct Draft<'a> {
    branch: &'a Branch,
    name: std::ffi::CString,
    moved: bool,
}

impl<'a> Draft<'a> {
    fn new(branch: &'a Branch) -> Result<Self, Errno> {
        Ok(Self {
            branch,
            name: branch.writable()?.temporary(),
            moved: false,
        })
    }

    /// Moves it to a name that nobody has, and puts the times of that directory back.
    fn place(mut self, upper: &Upper, name: &CStr) -> Result<(), Errno> {
        let before = statx_at(upper.directory.as_fd(), c"")?;
        let orphans = &self.branch.writable()?.orphans;
        let flags = RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(orphans, &*self.name, &*upper.directory, name, flags)?;
        self.moved = true;
        Place::named(upper.directory.clone(), c"").set_times(&times_of(&before))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.moved
            && let Ok(writable) = self.branch.writable()
            && let Err(error) = writable.discard(&self.name)
            && error != Errno::NOENT
        {
            tracing::warn!(%error, "a copy that failed is left behind");
        }
    }
}

impl Union {
    /// The directory in `branch`; made there, with its parents, if it is not.
    pub(crate) fn upper_in(&self, node: &Arc<Node>, branch: &Arc<Branch>) -> Result<Upper, Errno> {
        let home = {
            let directory = node.directory()?;
            if let Some(part) = part_in(&directory, branch) {
                return Ok(upper(part));
            }
            directory.home.clone().ok_or(Errno::NOENT)?
        };
        let above = self.upper_in(&home.0, branch)?;
        let mut directory = node.directory_mut()?;
        if let Some(part) = part_in(&directory, branch) {
            return Ok(upper(part));
        }
        let (_, name) = directory.home.clone().ok_or(Errno::NOENT)?;
        let made = self.copy_directory(node, &mut directory, &above, &name)?;
        self.changed_unasked(&home.0);
        Ok(made)
    }

    fn copy_directory(
        &self,
        node: &Arc<Node>,
        directory: &mut Directory,
        above: &Upper,
        name: &CStr,
    ) -> Result<Upper, Errno> {
        let branch = &above.branch;
        let writable = branch.writable()?;
        let draft = Draft::new(branch)?;
        rustix::fs::mkdirat(&writable.orphans, &*draft.name, Bits::RWXU)?;
        let source = (directory.parts[0].directory.as_fd(), c"");
        let target = (writable.orphans.as_fd(), &*draft.name);
        self.copier.attributes(source, target, 0o700)?;
        let stat = statx_at(writable.orphans.as_fd(), &draft.name)?;
        branch.numbers()?.set(&stat, node.number(), 0, false)?;
        let opened = Arc::new(open_path(&writable.orphans, &draft.name)?);
        draft.place(above, name)?;
        self.table
            .also(node, Identity::from(Branch::identity(&stat)));
        let part = Part {
            branch: branch.clone(),
            directory: opened,
            marks: Marks::none(self.keeps_marks(branch)),
        };
        let made = upper(&part);
        self.insert_part(directory, part);
        Ok(made)
    }

    /// Parts stand in the order of branches.
    pub(crate) fn insert_part(&self, directory: &mut Directory, part: Part) {
        let branches = self.branches();
        let rank = |part: &Part| {
            let mut all = branches.iter();
            all.position(|branch| Arc::ptr_eq(branch, &part.branch))
        };
        let own = rank(&part);
        let parts = &directory.parts;
        let at = parts.iter().position(|one| rank(one) > own);
        directory.parts.insert(at.unwrap_or(parts.len()), part);
    }

    /// The directory in the branch where a new name goes.
    pub(crate) fn upper_for_name(&self, node: &Arc<Node>, name: &CStr) -> Result<Upper, Errno> {
        let branch = {
            let directory = node.directory()?;
            if directory.removed {
                return Err(Errno::NOENT);
            }
            self.branch_for_name(&directory.parts)?
        };
        let branch = self.branch_to_show(node, name, branch)?;
        self.upper_in(node, &branch)
    }

    /// The directory itself, where it may be changed.
    pub(crate) fn upper_of(&self, node: &Arc<Node>) -> Result<Upper, Errno> {
        let (branch, removed) = {
            let directory = node.directory()?;
            let top = &directory.parts[0];
            if top.branch.is_writable() {
                return Ok(upper(top));
            }
            (top.branch.clone(), directory.removed)
        };
        if removed {
            return self.copy_removed_directory(node, &branch);
        }
        let branch = self.nearest_above(&branch)?;
        self.upper_in(node, &branch)
    }

    /// A directory that has no name any more but is in use: a copy without a name either.
    fn copy_removed_directory(
        &self,
        node: &Arc<Node>,
        branch: &Arc<Branch>,
    ) -> Result<Upper, Errno> {
        let branch = self.nearest_above(branch)?;
        let writable = branch.writable()?;
        let mut directory = node.directory_mut()?;
        let draft = Draft::new(&branch)?;
        rustix::fs::mkdirat(&writable.orphans, &*draft.name, Bits::RWXU)?;
        let source = (directory.parts[0].directory.as_fd(), c"");
        let target = (writable.orphans.as_fd(), &*draft.name);
        self.copier.attributes(source, target, 0o700)?;
        let part = Part {
            directory: Arc::new(open_path(&writable.orphans, &draft.name)?),
            branch: branch.clone(),
            marks: Marks::none(false),
        };
        let made = upper(&part);
        directory.parts = vec![part];
        Ok(made)
    }

    /// Copies a file, link or device up, if it is not where it may be changed.
    pub(crate) fn copy_up(&self, node: &Arc<Node>, content: Content) -> Result<(), Errno> {
        self.copy_where(node, None, content)
    }

    /// Likewise, but into this branch, and from one that is written as well. `EXDEV` for a file
    /// there that is open or has several names: those would go on with the original.
    pub(crate) fn copy_into(&self, node: &Arc<Node>, branch: &Arc<Branch>) -> Result<(), Errno> {
        self.copy_where(node, Some(branch), Content::All)
    }

    fn copy_where(
        &self,
        node: &Arc<Node>,
        wanted: Option<&Arc<Branch>>,
        content: Content,
    ) -> Result<(), Errno> {
        let stands = |other: &Other| match wanted {
            Some(branch) => Arc::ptr_eq(&other.branch, branch),
            None => other.branch.is_writable(),
        };
        loop {
            let (home, branch) = {
                let other = node.other()?;
                if stands(&other) {
                    return Ok(());
                }
                (other.home.clone(), other.branch.clone())
            };
            let Some((parent, name)) = home else {
                if branch.is_writable() {
                    return Err(Errno::XDEV);
                }
                return self.copy_orphan(node, content);
            };
            let target = match wanted {
                Some(branch) => branch.clone(),
                None => self.branch_for_copy(&branch, &parent.directory()?.parts)?,
            };
            let upper = self.upper_in(&parent, &target)?;
            let mut other = node.other_mut()?;
            if stands(&other) {
                return Ok(());
            }
            if other.branch.is_writable()
                && (other.mode != Mode::Closed || other.place.stat()?.stx_nlink > 1)
            {
                return Err(Errno::XDEV);
            }
            let still = other
                .home
                .as_ref()
                .is_some_and(|(now, same)| Arc::ptr_eq(now, &parent) && *same == name);
            if still {
                self.copy_to(node, &mut other, &upper, &name, content)?;
                drop(other);
                self.changed_unasked(&parent);
                return Ok(());
            }
        }
    }

    fn copy_to(
        &self,
        node: &Arc<Node>,
        other: &mut Other,
        upper: &Upper,
        name: &CStr,
        content: Content,
    ) -> Result<(), Errno> {
        let writable = upper.branch.writable()?;
        let draft = Draft::new(&upper.branch)?;
        let source = other.place.stat()?;
        self.make_copy(other, &source, &writable.orphans, &draft.name, content)?;
        let stat = statx_at(writable.orphans.as_fd(), &draft.name)?;
        let several = source.stx_nlink > 1;
        let mut pending = 0;
        if several && self.options.plink {
            pending = (source.stx_nlink - 1).saturating_sub(Self::gone(&upper.branch, node));
            Self::link_pseudo(upper, node.number(), &stat, &draft.name)?;
        } else if several {
            // The other names go on with the old number.
            node.set_number(upper.branch.raw_number(stat.stx_ino));
        }
        let linked = several && self.options.plink;
        let numbers = upper.branch.numbers()?;
        numbers.set(&stat, node.number(), pending, linked)?;
        draft.place(upper, name)?;
        self.settle(node, other, upper, name, &stat);
        other.pending = pending;
        other.linked = linked;
        Ok(())
    }

    /// The node stands for its copy from now on.
    fn settle(
        &self,
        node: &Arc<Node>,
        other: &mut Other,
        upper: &Upper,
        name: &CStr,
        stat: &Statx,
    ) {
        other.branch = upper.branch.clone();
        other.place = Place::named(upper.directory.clone(), name);
        other.reader = None;
        other.writer = None;
        other.refuses_passthrough = false;
        if matches!(other.mode, Mode::Passthrough(..)) {
            // The kernel reads the original until it closes it, and takes no other file for this
            // node: whoever opens the name gets another node.
            other.superseded = true;
            self.table.disown(node);
        } else {
            self.table
                .also(node, Identity::from(Branch::identity(stat)));
        }
    }

    /// The kernel may know attributes of a node that an operation on another has changed.
    pub(crate) fn changed_unasked(&self, node: &Node) {
        if let Some(kernel) = self.kernel()
            && let Err(error) = kernel.notifier.inval_inode(node.id, -1, 0)
        {
            tracing::debug!(%error, "the kernel was not told of a change");
        }
    }

    /// Likewise, of a file in a branch below.
    pub(crate) fn gone_below(&self, branch: &Arc<Branch>, node: &Node) -> u32 {
        self.nearest_above(branch)
            .map_or(0, |above| Self::gone(&above, node))
    }

    /// Names of a file below that are removed already.
    pub(crate) fn gone(branch: &Branch, node: &Node) -> u32 {
        let numbers = branch.numbers.as_ref();
        numbers.map_or(0, |numbers| numbers.gone(node.number()))
    }

    fn link_pseudo(upper: &Upper, number: u64, stat: &Statx, draft: &CStr) -> Result<(), Errno> {
        let writable = upper.branch.writable()?;
        let link = pseudo_link(number, stat.stx_ino);
        let flags = rustix::fs::AtFlags::empty();
        let (drafts, links) = (&writable.orphans, writable.pseudo_links()?);
        match rustix::fs::linkat(drafts, draft, links, &*link, flags) {
            Err(Errno::EXIST) => {
                // Of an inode that had the number before, and is gone.
                rustix::fs::unlinkat(links, &*link, flags)?;
                rustix::fs::linkat(drafts, draft, links, &*link, flags)
            }
            other => other,
        }
    }

    /// Makes a pseudo-link of a file that was copied without one.
    pub(crate) fn link_pseudo_later(node: &Arc<Node>, other: &mut Other) -> Result<(), Errno> {
        let branch = other.branch.clone();
        let writable = branch.writable()?;
        let stat = other.place.stat()?;
        let link = pseudo_link(node.number(), stat.stx_ino);
        match other.place.link_to(writable.pseudo_links()?.as_fd(), &link) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let numbers = branch.numbers()?;
        numbers.set(&stat, node.number(), other.pending, true)?;
        other.linked = true;
        Ok(())
    }

    /// Makes the name by which a copy was found last, if it does not stand in the branch yet.
    pub(crate) fn materialize(&self, node: &Arc<Node>) -> Result<(), Errno> {
        let (unmade, branch) = {
            let other = node.other()?;
            if other.unmade.is_none() || !other.branch.is_writable() {
                return Ok(());
            }
            (other.unmade.clone(), other.branch.clone())
        };
        let Some((parent, name)) = unmade else {
            return Ok(());
        };
        let upper = self.upper_in(&parent, &branch)?;
        let mut other = node.other_mut()?;
        let still = other
            .unmade
            .take_if(|(now, same)| Arc::ptr_eq(now, &parent) && *same == name);
        if still.is_none() || other.pending == 0 {
            return Ok(());
        }
        let before = statx_at(upper.directory.as_fd(), c"")?;
        match other.place.link_to(upper.directory.as_fd(), &name) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(error) => return Err(error),
        }
        Place::named(upper.directory, c"").set_times(&times_of(&before))?;
        other.pending -= 1;
        let copy = other.place.stat()?.stx_ino;
        branch.numbers()?.update(copy, other.pending, other.linked)
    }

    /// A file that has no name that we know but is in use: a copy without a name either, or with a
    /// pseudo-link by which its other names find it.
    fn copy_orphan(&self, node: &Arc<Node>, content: Content) -> Result<(), Errno> {
        let mut other = node.other_mut()?;
        if other.branch.is_writable() {
            return Ok(());
        }
        let branch = self.nearest_above(&other.branch)?;
        let writable = branch.writable()?;
        let draft = Draft::new(&branch)?;
        let source = other.place.stat()?;
        self.make_copy(&other, &source, &writable.orphans, &draft.name, content)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::openat(&writable.orphans, &*draft.name, flags, Bits::empty())?;
        let names = source.stx_nlink.saturating_sub(Self::gone(&branch, node));
        if self.options.plink && source.stx_nlink > 1 && names > 0 {
            let stat = statx_at(held.as_fd(), c"")?;
            let upper = Upper {
                branch: branch.clone(),
                directory: Arc::new(held.try_clone().map_err(|_| Errno::MFILE)?),
            };
            Self::link_pseudo(&upper, node.number(), &stat, &draft.name)?;
            branch.numbers()?.set(&stat, node.number(), names, true)?;
            other.pending = names;
            other.linked = true;
            self.table
                .also(node, Identity::from(Branch::identity(&stat)));
        }
        drop(draft);
        other.branch = branch;
        other.place = Place::held(held);
        other.reader = None;
        other.writer = None;
        if matches!(other.mode, Mode::Passthrough(..)) {
            other.superseded = true;
        }
        Ok(())
    }

    /// Makes a copy with all attributes under a name in the directory of orphans.
    fn make_copy(
        &self,
        other: &Other,
        stat: &Statx,
        directory: &OwnedFd,
        name: &CStr,
        content: Content,
    ) -> Result<(), Errno> {
        let kind = file_type(stat);
        let mut made = 0o600;
        match kind {
            FileType::RegularFile => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
                let bits = Bits::RUSR | Bits::WUSR;
                let copy = rustix::fs::openat(directory, name, flags, bits)?;
                if content == Content::All && stat.stx_size > 0 {
                    let source = other.place.open(OFlags::RDONLY)?;
                    let stat = rustix::fs::fstat(&source)?;
                    self.copier.content(source.as_fd(), copy.as_fd(), &stat)?;
                }
            }
            FileType::Symlink => {
                let target = other.place.readlink()?;
                rustix::fs::symlinkat(target.as_slice(), directory, name)?;
                made = 0o777;
            }
            _ => {
                let device = rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
                let bits = Bits::RUSR | Bits::WUSR;
                rustix::fs::mknodat(directory, name, kind, bits, device)?;
            }
        }
        let source = (other.place.directory.as_fd(), &*other.place.name);
        self.copier
            .attributes(source, (directory.as_fd(), name), made)
    }
}

fn upper(part: &Part) -> Upper {
    Upper {
        branch: part.branch.clone(),
        directory: part.directory.clone(),
    }
}
