//! Whiteouts and opaque marks of one directory of one branch.

use super::branch::{Branch, SysErrorOnly};
use super::names::{self, Meaning, OPAQUE};
use super::place::{errno, find_at, statx_at, times_of};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};
use strata_sys::dir::DirectoryReader;

/// What is known of them. Nothing where somebody else may change the branch.
#[derive(Debug)]
pub(crate) struct Marks {
    /// None: looked up each time, or not read yet.
    known: Mutex<Option<Known>>,
    keep: bool,
}

#[derive(Debug, Default)]
struct Known {
    whiteouts: HashSet<Box<[u8]>>,
    opaque: bool,
}

impl Marks {
    /// Marks that are read when they are first asked for, and kept if `keep`.
    pub(crate) fn unread(keep: bool) -> Self {
        Self {
            known: Mutex::new(None),
            keep,
        }
    }

    /// Those of a directory that was just made.
    pub(crate) fn none(keep: bool) -> Self {
        Self {
            known: Mutex::new(keep.then(Known::default)),
            keep,
        }
    }

    fn with<T>(
        &self,
        directory: &OwnedFd,
        ask: impl FnOnce(&Known) -> T,
    ) -> Result<Option<T>, Errno> {
        if !self.keep {
            return Ok(None);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            let mut found = Known::default();
            let open = super::listing::open_to_look(directory)?;
            DirectoryReader::new()
                .read(&open, |entry| -> Result<(), SysErrorOnly> {
                    match names::meaning(entry.name) {
                        Meaning::Whiteout(name) => {
                            found.whiteouts.insert(name.into());
                        }
                        Meaning::Opaque => found.opaque = true,
                        Meaning::Name | Meaning::Reserved => {}
                    }
                    Ok(())
                })
                .map_err(|error| errno(&error.0))?;
            *known = Some(found);
        }
        Ok(known.as_ref().map(ask))
    }

    /// Whether `name` is whited out here.
    pub(crate) fn hides(&self, directory: &OwnedFd, name: &CStr) -> Result<bool, Errno> {
        let ask = |known: &Known| known.whiteouts.contains(name.to_bytes());
        match self.with(directory, ask)? {
            Some(hidden) => Ok(hidden),
            None => Ok(find_at(directory.as_fd(), &names::whiteout(name))?.is_some()),
        }
    }

    /// Whether nothing below shows through.
    pub(crate) fn opaque(&self, directory: &OwnedFd) -> Result<bool, Errno> {
        // A single look is cheaper than reading the directory for it.
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.opaque);
        }
        drop(known);
        Ok(find_at(directory.as_fd(), OPAQUE)?.is_some())
    }

    /// What a reading of the whole directory found.
    pub(crate) fn learn(&self, whiteouts: impl Iterator<Item = Box<[u8]>>, opaque: bool) {
        if !self.keep {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = Some(Known {
                whiteouts: whiteouts.collect(),
                opaque,
            });
        }
    }

    /// Whites out `name`.
    pub(crate) fn hide(
        &self,
        branch: &Branch,
        directory: &OwnedFd,
        name: &CStr,
    ) -> Result<(), Errno> {
        let mark = names::whiteout(name);
        branch.writable()?.mark(&branch.root, directory, &mark)?;
        self.change(|known| {
            known.whiteouts.insert(name.to_bytes().into());
        });
        Ok(())
    }

    /// Takes the whiteout of `name` away, if there is one.
    pub(crate) fn show(&self, directory: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        if !self.hides(directory, name)? {
            return Ok(());
        }
        match rustix::fs::unlinkat(directory, &*names::whiteout(name), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        self.change(|known| {
            known.whiteouts.remove(name.to_bytes());
        });
        Ok(())
    }

    /// Marks the directory opaque, which is no change of its content.
    pub(crate) fn cut(&self, branch: &Branch, directory: &OwnedFd) -> Result<(), Errno> {
        let before = statx_at(directory.as_fd(), c"")?;
        branch.writable()?.mark(&branch.root, directory, OPAQUE)?;
        rustix::fs::utimensat(directory, c"", &times_of(&before), AtFlags::EMPTY_PATH)?;
        self.change(|known| known.opaque = true);
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &mut *known {
            change(known);
        }
    }
}
