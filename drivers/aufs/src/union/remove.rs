//! Taking names away.

use super::copyup::Upper;
use super::listing;
use super::lookup::{Top, pseudo_link, shows_below, top};
use super::names;
use super::node::{Directory, Node, Other};
use super::place::{Place, is_directory};
use super::state::{Union, part_in};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::ffi::CStr;
use std::sync::Arc;

/// A name that is about to go, in a directory that stands in the branch where that is written
/// down.
pub(crate) struct Leaving {
    pub(crate) upper: Upper,
    pub(crate) top: Top,
    /// The name stands in the branch itself.
    pub(crate) in_upper: bool,
    /// It would show from a branch below.
    pub(crate) below: bool,
}

impl Union {
    /// Finds a name that is to go, and makes its directory where that is to be written down.
    pub(crate) fn leaving(&self, parent: &Arc<Node>, name: &CStr) -> Result<Leaving, Errno> {
        names::check(name)?;
        let branch = {
            let directory = parent.directory()?;
            let top = top(&directory, 0, name)?.ok_or(Errno::NOENT)?;
            self.nearest_above(&directory.parts[top.part].branch)?
        };
        let upper = self.upper_in(parent, &branch)?;
        let directory = parent.directory()?;
        let top = top(&directory, 0, name)?.ok_or(Errno::NOENT)?;
        let in_upper = Arc::ptr_eq(&directory.parts[top.part].branch, &branch);
        let below = !in_upper || shows_below(&directory, top.part, name)?;
        Ok(Leaving {
            upper,
            top,
            in_upper,
            below,
        })
    }

    /// Whites a name out in the branch.
    pub(crate) fn hide(directory: &Directory, upper: &Upper, name: &CStr) -> Result<(), Errno> {
        let part = part_in(directory, &upper.branch).ok_or(Errno::NOENT)?;
        part.marks.hide(&part.branch, &part.directory, name)
    }

    /// Takes a whiteout away that was made for nothing.
    pub(crate) fn unhide(directory: &Directory, upper: &Upper, name: &CStr) {
        let part = part_in(directory, &upper.branch);
        if let Some(part) = part
            && let Err(error) = part.marks.show(&part.directory, name)
        {
            tracing::warn!(%error, "a whiteout is left behind");
        }
    }

    pub(crate) fn remove_name(&self, parent: &Arc<Node>, name: &CStr) -> Result<(), Errno> {
        let leaving = self.leaving(parent, name)?;
        if is_directory(&leaving.top.stat) {
            return Err(Errno::ISDIR);
        }
        let directory = parent.directory()?;
        let borrowed = self.borrow(parent, &directory, name, &leaving.top)?;
        let mut other = borrowed.node.other_mut()?;
        if leaving.below {
            Self::hide(&directory, &leaving.upper, name)?;
        }
        Self::prepare_loss(&mut other, &leaving, name)?;
        if leaving.in_upper {
            let gone = rustix::fs::unlinkat(&*leaving.upper.directory, name, AtFlags::empty());
            if let Err(error) = gone {
                if leaving.below {
                    Self::unhide(&directory, &leaving.upper, name);
                }
                return Err(error);
            }
        }
        self.account_loss(&borrowed.node, &mut other, &leaving)
    }

    /// Before the name goes: what is still in use afterwards is held.
    pub(crate) fn prepare_loss(
        other: &mut Other,
        leaving: &Leaving,
        name: &CStr,
    ) -> Result<(), Errno> {
        let named = *other.place.name == *name && {
            let by_name = if leaving.in_upper {
                other.place.is_named(&leaving.upper.directory, name)
            } else {
                // In use is what stands below, not a copy that was made by another name.
                !Arc::ptr_eq(&other.branch, &leaving.upper.branch)
            };
            by_name && !other.place.is_held()
        };
        if named {
            other.place = Place::held(other.place.hold()?);
            other.home = None;
        }
        other.unmade = None;
        Ok(())
    }

    /// After the name is gone: names that are left are counted, and the last one takes the
    /// pseudo-link with it.
    pub(crate) fn account_loss(
        &self,
        node: &Arc<Node>,
        other: &mut Other,
        leaving: &Leaving,
    ) -> Result<(), Errno> {
        let several = leaving.top.stat.stx_nlink > 1;
        if !self.options.plink {
            return Ok(());
        }
        if !leaving.in_upper && several {
            if !other.branch.is_writable() {
                let branch = &leaving.upper.branch;
                let gone = Self::gone(branch, node) + 1;
                return branch.numbers()?.set_gone(node.number(), gone);
            }
            other.pending = other.pending.saturating_sub(1);
        }
        if !other.linked {
            return Ok(());
        }
        let branch = other.branch.clone();
        let writable = branch.writable()?;
        let stat = other.place.stat()?;
        if other.pending == 0 && stat.stx_nlink <= 1 {
            let link = pseudo_link(node.number(), stat.stx_ino);
            if !other.place.is_held() {
                other.place = Place::held(other.place.hold()?);
            }
            match rustix::fs::unlinkat(writable.pseudo_links()?, &*link, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
            other.linked = false;
        }
        let numbers = branch.numbers()?;
        numbers.update(stat.stx_ino, other.pending, other.linked)
    }

    pub(crate) fn remove_directory(&self, parent: &Arc<Node>, name: &CStr) -> Result<(), Errno> {
        let leaving = self.leaving_if_empty(parent, name)?;
        let directory = parent.directory()?;
        let borrowed = self.borrow(parent, &directory, name, &leaving.top)?;
        let mut inside = borrowed.node.directory_mut()?;
        if !listing::is_empty(&inside)? {
            return Err(Errno::NOTEMPTY);
        }
        if leaving.below {
            Self::hide(&directory, &leaving.upper, name)?;
        }
        if leaving.in_upper
            && let Err(error) = Self::remove_emptied(&leaving.upper, name)
        {
            if leaving.below {
                Self::unhide(&directory, &leaving.upper, name);
            }
            return Err(error);
        }
        inside.removed = true;
        inside.home = None;
        Ok(())
    }

    /// Nothing is made ready for a directory that is refused.
    fn leaving_if_empty(&self, parent: &Arc<Node>, name: &CStr) -> Result<Leaving, Errno> {
        names::check(name)?;
        {
            let directory = parent.directory()?;
            let top = top(&directory, 0, name)?.ok_or(Errno::NOENT)?;
            if !is_directory(&top.stat) {
                return Err(Errno::NOTDIR);
            }
            if !self.is_written() {
                return Err(Errno::ROFS);
            }
            let borrowed = self.borrow(parent, &directory, name, &top)?;
            if !listing::is_empty(&*borrowed.node.directory()?)? {
                return Err(Errno::NOTEMPTY);
            }
        }
        self.leaving(parent, name)
    }

    /// Removes a directory of a branch that holds marks at most.
    pub(crate) fn remove_emptied(upper: &Upper, name: &CStr) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&*upper.directory, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            other => return other,
        }
        let writable = upper.branch.writable()?;
        let temporary = writable.temporary();
        rustix::fs::renameat(&*upper.directory, name, &writable.orphans, &*temporary)?;
        if let Err(error) = writable.discard(&temporary) {
            // It is out of sight; the next mount tries again.
            tracing::warn!(%error, "a removed directory is left behind");
        }
        Ok(())
    }
}
