//! Whiteouts and opaque marks: they hide what lies below, and never an entry of this layer.
//!
//! Where a mark stands among the entries does not matter. What this layer has written is on
//! record, so a mark that comes late removes the rest, and one that comes early has done so before
//! the entries arrive.

use super::Applier;
use super::error::{OPERATION, Step as _};
use super::parents::{DIRECTORY, Found, Missing, undescribed};
use super::placement::{Below, Purpose};
use super::record::{Name, join, split};
use crate::error::Result;
use crate::tree::{self, Budget};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, BorrowedFd};
use strata_sys::SysError;
use strata_sys::dir::DirectoryReader;

impl Applier<'_> {
    /// `directory/.wh.name`: what lies below has no such name any more.
    pub(super) fn whiteout(&mut self, directory: &[u8], name: &[u8]) -> Result<()> {
        match self.find(directory, Missing::Look)? {
            Found::Directory(parent) => {
                let path = join(&parent.path, name);
                if self.record.is_of_layer(&path) {
                    return self.hide_behind_own(&path);
                }
                if self.record.is_sealed(&parent.path) {
                    // All that is left there is of this layer, or the mark that hides the name.
                    return Ok(());
                }
                self.clear_name(parent.directory.as_fd(), &path)?;
                self.hide_below(&path)
            }
            Found::Missing(directory) => self.hide_below(&join(&directory, name)),
            // Nothing can be below what is no directory.
            Found::NotDirectory => Ok(()),
        }
    }

    /// `directory/.wh..wh..opq`: nothing from below shows in the directory.
    pub(super) fn opaque(&mut self, directory: &[u8]) -> Result<()> {
        match self.find(directory, Missing::Look)? {
            Found::Directory(parent) => self.seal(parent.directory.as_fd(), &parent.path),
            Found::Missing(path) => {
                let hidden = self.record.is_sealed(&path);
                if hidden {
                    return Ok(());
                }
                let below = self.placement.below(&path, Purpose::Seal)?;
                if !matches!(below, Below::Directory(_)) {
                    return Ok(());
                }
                let parent = self.parent(&path)?;
                self.seal(parent.directory.as_fd(), &parent.path)
            }
            Found::NotDirectory => Ok(()),
        }
    }

    /// Hides `path` in the layers below; the root has nothing there.
    fn hide_below(&mut self, path: &[u8]) -> Result<()> {
        let (directory, _) = split(path);
        if self.record.is_sealed(directory)
            || self.placement.below(path, Purpose::Hide)? == Below::Nothing
        {
            return Ok(());
        }
        let parent = self.parent(directory)?;
        self.placement.hide(parent.directory.as_fd(), path)
    }

    /// Hides what lies below a name that is of this layer: the name stays, and a directory shows
    /// nothing from below.
    fn hide_behind_own(&mut self, path: &[u8]) -> Result<()> {
        let name = self.record.name(path);
        if matches!(name, Some(Name::Symlink | Name::Other)) {
            return Ok(());
        }
        let Found::Directory(parent) = self.find(path, Missing::Look)? else {
            return Ok(());
        };
        self.seal(parent.directory.as_fd(), path)?;
        if name.is_none() {
            // The directory whose attributes it had is hidden too.
            self.placement.describe(path);
            self.set_directory_attributes(parent.directory.as_fd(), path, &undescribed())?;
        }
        Ok(())
    }

    /// Puts a new directory in front of whatever lies below.
    pub(super) fn cover(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        self.placement.hide_all(directory, path)?;
        self.record.seal(path);
        Ok(())
    }

    /// Takes everything that is not of this layer out of a directory and the directories below it,
    /// and hides the rest of what lies below.
    fn seal(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        if self.record.is_sealed(path) {
            return Ok(());
        }
        self.remove_others(directory, path)?;
        for inner in self.record.directories_of_layer(path) {
            let Found::Directory(parent) = self.find(&inner, Missing::Look)? else {
                continue;
            };
            self.remove_others(parent.directory.as_fd(), &inner)?;
            if self.record.name(&inner).is_none() {
                let attributes = undescribed();
                self.set_directory_attributes(parent.directory.as_fd(), &inner, &attributes)?;
            }
        }
        self.cover(directory, path)
    }

    /// Removes the names of one directory that are not of this layer.
    fn remove_others(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        // A descriptor of its own, since the place in a directory belongs to the open file.
        let opened = rustix::fs::openat(directory, ".", DIRECTORY, Mode::empty())
            .step("cannot open the directory")?;
        let mut others = Vec::new();
        DirectoryReader::new()
            .read(opened, |entry| {
                let path = join(path, entry.name_bytes());
                if !self.record.is_of_layer(&path) {
                    others.push(path);
                }
                Ok::<_, SysError>(())
            })
            .step("cannot read the directory")?;
        others
            .iter()
            .try_for_each(|other| self.clear_name(directory, other))
    }

    /// Removes whatever stands at `path`, whose last component is in `directory`.
    pub(super) fn clear_name(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let (_, name) = split(path);
        let mut was_on_the_way = self.record.name(path) == Some(Name::Symlink);
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR) => {
                was_on_the_way = true;
                tree::remove(directory, name, Budget::Unlimited)
                    .map(drop)
                    .map_err(|error| error.during(OPERATION))?;
            }
            other => other.step("cannot remove what stood there")?,
        }
        if was_on_the_way {
            self.parents.clear();
        }
        self.record.forget(path);
        Ok(())
    }
}
