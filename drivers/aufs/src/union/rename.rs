//! Moving names.

use super::branch::Branch;
use super::copyup::Upper;
use super::listing;
use super::lookup::{Borrowed, Top, merges_below, shows_below, top};
use super::names;
use super::node::{Directory, Node, home};
use super::place::{Place, is_directory};
use super::remove::Leaving;
use super::state::{Union, part_in};
use rustix::fs::RenameFlags as Kernel;
use rustix::io::Errno;
use std::ffi::CStr;
use std::sync::Arc;
use strata_fuse::RenameFlags;

/// One end of a rename.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'a> {
    pub(crate) parent: &'a Arc<Node>,
    pub(crate) name: &'a CStr,
}

impl End<'_> {
    fn find(&self, directory: &Directory) -> Result<Option<Top>, Errno> {
        top(directory, 0, self.name)
    }
}

impl Union {
    pub(crate) fn move_name(
        &self,
        from: End<'_>,
        to: End<'_>,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        if flags.whiteout {
            return Err(Errno::INVAL);
        }
        names::check(from.name)?;
        names::check(to.name)?;
        if flags.exchange {
            return self.exchange(from, to);
        }
        let (source, branch) = self.movable(from)?;
        let source = &source.node;
        let replaced = self.replaceable(to, source, flags)?;
        let branch = self.branch_to_show(to.parent, to.name, branch)?;
        Self::refuse_merged(source, &branch)?;
        let there = self.upper_in(to.parent, &branch)?;
        let here = self.ready(source, from, &branch)?;
        self.rename_ready(source, (from, &here), (to, &there), replaced.is_some())
    }

    /// The node under a name, and the branch where it can be renamed.
    fn movable(&self, end: End<'_>) -> Result<(Borrowed<'_>, Arc<Branch>), Errno> {
        let directory = end.parent.directory()?;
        let top = end.find(&directory)?.ok_or(Errno::NOENT)?;
        let found = &directory.parts[top.part].branch;
        let borrowed = self.borrow(end.parent, &directory, end.name, &top)?;
        let branch = match borrowed.node.other() {
            Err(_) => self.nearest_above(found)?,
            Ok(other) if other.branch.is_writable() => other.branch.clone(),
            Ok(_) => self.branch_for_copy(found, &directory.parts)?,
        };
        Self::refuse_merged(&borrowed.node, &branch)?;
        Ok((borrowed, branch))
    }

    /// A directory that shows names of branches below cannot leave its place: `EXDEV`, on which
    /// mv(1) copies.
    fn refuse_merged(node: &Arc<Node>, branch: &Arc<Branch>) -> Result<(), Errno> {
        if !node.is_directory() {
            return Ok(());
        }
        let inside = node.directory()?;
        let mut parts = inside.parts.iter();
        let own = parts.position(|part| Arc::ptr_eq(&part.branch, branch));
        let below = own.map_or(0, |own| own + 1);
        if below < inside.parts.len() && listing::shows_from_below(&inside, below)? {
            return Err(Errno::XDEV);
        }
        Ok(())
    }

    /// What stands under the new name, if it may be replaced.
    fn replaceable(
        &self,
        to: End<'_>,
        source: &Arc<Node>,
        flags: RenameFlags,
    ) -> Result<Option<Borrowed<'_>>, Errno> {
        let directory = to.parent.directory()?;
        let Some(top) = to.find(&directory)? else {
            return Ok(None);
        };
        if flags.no_replace {
            return Err(Errno::EXIST);
        }
        match (source.is_directory(), is_directory(&top.stat)) {
            (true, false) => return Err(Errno::NOTDIR),
            (false, true) => return Err(Errno::ISDIR),
            _ => {}
        }
        let borrowed = self.borrow(to.parent, &directory, to.name, &top)?;
        if borrowed.node.is_directory() && !listing::is_empty(&*borrowed.node.directory()?)? {
            return Err(Errno::NOTEMPTY);
        }
        Ok(Some(borrowed))
    }

    /// Makes the name stand in the branch.
    fn ready(&self, node: &Arc<Node>, end: End<'_>, branch: &Arc<Branch>) -> Result<Upper, Errno> {
        if node.is_directory() {
            self.upper_in(node, branch)?;
        } else {
            self.copy_into(node, branch)?;
            self.materialize(node)?;
        }
        self.upper_in(end.parent, branch)
    }

    fn rename_ready(
        &self,
        source: &Arc<Node>,
        (from, here): (End<'_>, &Upper),
        (to, there): (End<'_>, &Upper),
        replaces: bool,
    ) -> Result<(), Errno> {
        let from_directory = from.parent.directory()?;
        let to_directory = if Arc::ptr_eq(from.parent, to.parent) {
            None
        } else {
            Some(to.parent.directory()?)
        };
        let to_directory = to_directory.as_ref().unwrap_or(&from_directory);
        let leaving = Leaving {
            upper: here.clone(),
            top: from.find(&from_directory)?.ok_or(Errno::NOENT)?,
            in_upper: true,
            below: shows_under(&from_directory, here, from.name)?,
        };
        let old = to.find(to_directory)?;
        let to_part = part_in(to_directory, &there.branch).ok_or(Errno::NOENT)?;
        let covered = to_part.marks.hides(&to_part.directory, to.name)?;
        let over = covered || shows_under(to_directory, there, to.name)?;
        if source.is_directory() && over {
            let inside = source.directory()?;
            let part = part_in(&inside, &there.branch).ok_or(Errno::NOENT)?;
            part.marks.cut(&part.branch, &part.directory)?;
        }
        let lost = match (&old, replaces) {
            (Some(top), true) => Some(self.borrow(to.parent, to_directory, to.name, top)?),
            _ => None,
        };
        let losing = old.map(|top| Leaving {
            upper: there.clone(),
            in_upper: Arc::ptr_eq(&to_directory.parts[top.part].branch, &there.branch),
            below: false,
            top,
        });
        if let (Some(lost), Some(losing)) = (&lost, &losing)
            && !lost.node.is_directory()
        {
            let mut other = lost.node.other_mut()?;
            Self::prepare_loss(&mut other, losing, to.name)?;
        }
        if leaving.below {
            Self::hide(&from_directory, here, from.name)?;
        }
        if let Err(error) = Self::rename_in_branch(here, from.name, there, to.name) {
            if leaving.below {
                Self::unhide(&from_directory, here, from.name);
            }
            return Err(error);
        }
        to_part.marks.show(&to_part.directory, to.name)?;
        Self::moved(source, to, there)?;
        if let (Some(lost), Some(losing)) = (&lost, &losing) {
            if lost.node.is_directory() {
                let mut inside = lost.node.directory_mut()?;
                inside.removed = true;
                inside.home = None;
            } else {
                let mut other = lost.node.other_mut()?;
                self.account_loss(&lost.node, &mut other, losing)?;
            }
        }
        Ok(())
    }

    /// Renames within a branch; a directory in the way holds marks at most.
    fn rename_in_branch(here: &Upper, from: &CStr, there: &Upper, to: &CStr) -> Result<(), Errno> {
        match rustix::fs::renameat(&*here.directory, from, &*there.directory, to) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            other => return other,
        }
        let (old, new) = (&*here.directory, &*there.directory);
        rustix::fs::renameat_with(old, from, new, to, Kernel::EXCHANGE)?;
        Self::remove_emptied(here, from)
    }

    /// The node stands under another name from now on. A directory that was moved shows nothing
    /// of branches below.
    fn moved(node: &Arc<Node>, to: End<'_>, there: &Upper) -> Result<(), Errno> {
        if node.is_directory() {
            let mut inside = node.directory_mut()?;
            inside.home = Some(home(to.parent, to.name));
            inside
                .parts
                .retain(|part| Arc::ptr_eq(&part.branch, &there.branch));
            return Ok(());
        }
        let mut other = node.other_mut()?;
        other.home = Some(home(to.parent, to.name));
        other.place = Place::named(there.directory.clone(), to.name);
        other.unmade = None;
        Ok(())
    }

    fn exchange(&self, one: End<'_>, two: End<'_>) -> Result<(), Errno> {
        let (first, branch) = self.movable(one)?;
        let (second, other_branch) = self.movable(two)?;
        let branch = self.higher(branch, other_branch);
        let (first, second) = (&first.node, &second.node);
        Self::refuse_merged(first, &branch)?;
        Self::refuse_merged(second, &branch)?;
        self.exchange_ready((one, first), (two, second), &branch)
    }

    fn exchange_ready(
        &self,
        (one, first): (End<'_>, &Arc<Node>),
        (two, second): (End<'_>, &Arc<Node>),
        branch: &Arc<Branch>,
    ) -> Result<(), Errno> {
        let here = self.ready(first, one, branch)?;
        let there = self.ready(second, two, branch)?;
        {
            let here_directory = one.parent.directory()?;
            let there_directory = if Arc::ptr_eq(one.parent, two.parent) {
                None
            } else {
                Some(two.parent.directory()?)
            };
            let there_directory = there_directory.as_ref().unwrap_or(&here_directory);
            Self::cut_if_over(first, there_directory, &there, two.name)?;
            Self::cut_if_over(second, &here_directory, &here, one.name)?;
        }
        let (old, new) = (&*here.directory, &*there.directory);
        rustix::fs::renameat_with(old, one.name, new, two.name, Kernel::EXCHANGE)?;
        Self::moved(first, two, &there)?;
        Self::moved(second, one, &here)
    }

    /// A directory that comes to where a branch below has something is made opaque.
    fn cut_if_over(
        node: &Arc<Node>,
        directory: &Directory,
        upper: &Upper,
        name: &CStr,
    ) -> Result<(), Errno> {
        let mut parts = directory.parts.iter();
        let own = parts.position(|part| Arc::ptr_eq(&part.branch, &upper.branch));
        let own = own.ok_or(Errno::NOENT)?;
        if node.is_directory() && merges_below(directory, own, name)? {
            let inside = node.directory()?;
            let part = part_in(&inside, &upper.branch).ok_or(Errno::NOENT)?;
            part.marks.cut(&part.branch, &part.directory)?;
        }
        Ok(())
    }
}

/// Whether a name would show from below if the branch did not have it.
fn shows_under(directory: &Directory, upper: &Upper, name: &CStr) -> Result<bool, Errno> {
    let mut parts = directory.parts.iter();
    let part = parts.position(|part| Arc::ptr_eq(&part.branch, &upper.branch));
    shows_below(directory, part.ok_or(Errno::NOENT)?, name)
}
