//! Operations that make, move and remove names.

use super::content::Content;
use super::files::{Files, Outcome, Place, ROOT};
use super::inode::{Body, Inode, InodeId, Mtime};
use super::operation::{Answer, Data, RenameHow, Special};
use super::quirks::Bent;
use crate::tree::TreePath;
use rustix::io::Errno;
use std::collections::BTreeMap;
use strata_driver::Quirk;

impl Files {
    /// A name that is free, for a new object.
    fn free(&self, path: &TreePath) -> Result<Place, Errno> {
        let place = self.place(path)?;
        match place.inode {
            Some(_) => Err(Errno::EXIST),
            None => Ok(place),
        }
    }

    pub(super) fn create(&mut self, path: &TreePath, mode: u32) -> Outcome {
        if path.is_root() {
            return Err(Errno::ISDIR);
        }
        let place = self.free(path)?;
        self.make(
            &place,
            Inode::new(Body::File(Content::default()), mode & 0o7777),
        );
        Ok(Answer::Done)
    }

    pub(super) fn mkdir(&mut self, path: &TreePath, mode: u32) -> Outcome {
        let place = self.free(path)?;
        // mkdir(2) takes the permission bits and the sticky bit only.
        let directory = Inode::new(Body::Directory(BTreeMap::new()), mode & 0o1777);
        self.make(&place, directory);
        Ok(Answer::Done)
    }

    pub(super) fn symlink(&mut self, target: &[u8], path: &TreePath) -> Outcome {
        if target.is_empty() {
            return Err(Errno::NOENT);
        }
        let place = self.free(path)?;
        let id = self.make(&place, Inode::new(Body::Symlink(target.to_vec()), 0o777));
        self.inode_mut(id).mode = 0o777;
        Ok(Answer::Done)
    }

    pub(super) fn mknod(
        &mut self,
        path: &TreePath,
        (special, mode): (Special, u32),
        bent: &mut Bent,
    ) -> Outcome {
        let place = self.free(path)?;
        if special == Special::Character(0, 0) && bent.by(Quirk::DeviceZeroRefused) {
            return Err(Errno::PERM);
        }
        self.make(&place, Inode::new(Body::Special(special), mode & 0o7777));
        Ok(Answer::Done)
    }

    pub(super) fn tmpfile(&mut self, path: &TreePath, mode: u32, data: Data) -> Outcome {
        let place = self.free(path)?;
        let mut content = Content::default();
        content.write(0, &data.bytes());
        self.make(&place, Inode::new(Body::File(content), mode & 0o7777));
        Ok(Answer::Done)
    }

    pub(super) fn hard_link(&mut self, from: &TreePath, to: &TreePath, bent: &mut Bent) -> Outcome {
        let id = self.place(from)?.existing()?;
        let place = self.free(to)?;
        if self.inode(id).is_directory() {
            return Err(Errno::PERM);
        }
        self.touch(id, bent);
        self.link(&place, id);
        Ok(Answer::Done)
    }

    pub(super) fn remove_directory(&mut self, path: &TreePath) -> Outcome {
        if path.is_root() {
            return Err(Errno::INVAL);
        }
        let place = self.place(path)?;
        match self.inode(place.existing()?).names() {
            None => Err(Errno::NOTDIR),
            Some(names) if !names.is_empty() => Err(Errno::NOTEMPTY),
            Some(_) => {
                self.unlink(&place);
                Ok(Answer::Done)
            }
        }
    }

    pub(super) fn remove_name(&mut self, path: &TreePath) -> Outcome {
        let place = self.place(path)?;
        if self.inode(place.existing()?).is_directory() {
            return Err(Errno::ISDIR);
        }
        self.unlink(&place);
        Ok(Answer::Done)
    }

    pub(super) fn remove_tree(&mut self, path: &TreePath) -> Outcome {
        if path.is_root() {
            return Err(Errno::INVAL);
        }
        let place = self.place(path)?;
        place.existing()?;
        self.unlink(&place);
        Ok(Answer::Done)
    }

    /// As `do_renameat2` and `vfs_rename` have it, in their order.
    pub(super) fn rename(
        &mut self,
        (from, to): (&TreePath, &TreePath),
        how: RenameHow,
        bent: &mut Bent,
    ) -> Outcome {
        let exchange = how == RenameHow::Exchange;
        let (old, new) = (self.parent_of(from)?, self.parent_of(to)?);
        let (Some(old), Some(new)) = (old, new) else {
            return Err(Errno::BUSY);
        };
        let old = self.look_up(old)?;
        let source = old.existing()?;
        let new = self.look_up(new)?;
        match how {
            RenameHow::NoReplace if new.inode.is_some() => return Err(Errno::EXIST),
            RenameHow::Exchange if new.inode.is_none() => return Err(Errno::NOENT),
            _ => {}
        }
        let (old_directory, new_directory) = (old.directory, new.directory);
        if self.is_within(new_directory.unwrap_or(ROOT), source) {
            return Err(Errno::INVAL);
        }
        if let Some(target) = new.inode
            && self.is_within(old_directory.unwrap_or(ROOT), target)
        {
            return Err(if exchange {
                Errno::INVAL
            } else {
                Errno::NOTEMPTY
            });
        }
        if new.inode == Some(source) {
            // The same object under both names: nothing happens, rename(2). A union that has parted
            // them replaces one.
            self.meets_split(source, bent);
            return Ok(Answer::Done);
        }
        let is_directory = self.inode(source).is_directory();
        let target_is_directory = new.inode.map(|target| self.inode(target).is_directory());
        match target_is_directory {
            Some(true) if !is_directory && !exchange => return Err(Errno::ISDIR),
            Some(false) if is_directory && !exchange => return Err(Errno::NOTDIR),
            _ => {}
        }
        let from_below = |id: InodeId| self.inode(id).is_directory() && self.inode(id).below;
        let moved = [Some(source), new.inode.filter(|_| exchange)];
        if moved.into_iter().flatten().any(from_below) && bent.by(Quirk::DirectoryRenameExdev) {
            return Err(Errno::XDEV);
        }
        let shows_below = |id: InodeId| {
            let inode = self.inode(id);
            let names = inode.names().into_iter().flatten();
            let mut names = names.map(|(name, _)| name);
            inode.below && names.any(|name| inode.holds_below.contains(name))
        };
        let merged = moved.into_iter().flatten().any(shows_below);
        if merged && bent.by(Quirk::MergedDirectoryRenameExdev) {
            return Err(Errno::XDEV);
        }
        if let Some(target) = new.inode
            && !exchange
            && self
                .inode(target)
                .names()
                .is_some_and(|names| !names.is_empty())
        {
            if let Some(directory) = old_directory
                && bent.by(Quirk::RefusedRenameTouches)
            {
                let directory = self.inode_mut(directory);
                directory.mtime = directory.mtime.or_now();
            }
            return Err(Errno::NOTEMPTY);
        }
        for id in moved.into_iter().flatten() {
            self.touch(id, bent);
        }
        for id in moved.into_iter().flatten() {
            // It has left what is below.
            self.inode_mut(id).holds_below.clear();
        }
        self.unlink(&old);
        if new.inode.is_some() {
            self.unlink(&new);
        }
        self.link(&new, source);
        if exchange && let Some(target) = new.inode {
            self.link(&old, target);
            if old_directory != new_directory {
                // xfs takes the new `..` of a directory for a change of its content.
                for id in [source, target] {
                    let inode = self.inode_mut(id);
                    if inode.is_directory() {
                        inode.mtime = inode.mtime.or_now();
                    }
                }
            }
        }
        Ok(Answer::Done)
    }

    /// Where the last name of `path` would be; none for the root.
    fn parent_of(&self, path: &TreePath) -> Result<Option<(InodeId, Vec<u8>)>, Errno> {
        let Some(parent) = path.parent() else {
            return Ok(None);
        };
        let directory = self.place_followed(&parent)?.existing()?;
        if !self.inode(directory).is_directory() {
            return Err(Errno::NOTDIR);
        }
        Ok(Some((directory, path.name().to_vec())))
    }

    fn look_up(&self, (directory, name): (InodeId, Vec<u8>)) -> Result<Place, Errno> {
        self.names.check(&name)?;
        let names = self.inode(directory).names().into_iter().flatten();
        let inode = names
            .filter(|(known, _)| **known == name)
            .map(|(_, inode)| *inode)
            .next();
        Ok(Place {
            directory: Some(directory),
            name,
            inode,
        })
    }

    /// Notes that an inode is written or gets a name: a union copies it up.
    pub(super) fn touch(&mut self, id: InodeId, bent: &mut Bent) {
        self.meets_split(id, bent);
        self.inode_mut(id).touch();
    }

    /// Notes that an inode is written or moved of which a union may part the names.
    fn meets_split(&self, id: InodeId, bent: &mut Bent) {
        let inode = self.inode(id);
        let may_part = inode.below && inode.names_below > 1 && !inode.is_directory();
        if may_part && bent.avoids() && self.names_of(id) > 1 {
            bent.by(Quirk::HardLinkSplits);
        }
    }

    /// Notes a new content.
    pub(super) fn written(&mut self, id: InodeId) {
        let inode = self.inode_mut(id);
        inode.mtime = Mtime::Now;
        inode.drop_capability();
    }
}
