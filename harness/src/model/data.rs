//! Operations on what files hold, by path and through what is held.

use super::content::Content;
use super::files::{Files, Outcome};
use super::inode::{Body, Inode, InodeId};
use super::operation::{Answer, Data, HoldHow};
use super::quirks::Bent;
use crate::tree::TreePath;
use rustix::io::Errno;
use strata_driver::Quirk;

/// A held descriptor or mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    inode: InodeId,
    how: HoldHow,
    /// Bytes that are mapped.
    length: u64,
    /// What a mapping of a file from below goes on showing, where a quirk says so.
    kept: Option<Content>,
}

impl Files {
    /// The file at `path`, links followed. A directory is `EISDIR`; a device, fifo or socket is
    /// never opened, `ENXIO`.
    fn file(&self, path: &TreePath) -> Result<InodeId, Errno> {
        let id = self.place_followed(path)?.existing()?;
        match self.inode(id).body {
            Body::File(_) => Ok(id),
            Body::Directory(_) => Err(Errno::ISDIR),
            Body::Special(_) | Body::Symlink(_) => Err(Errno::NXIO),
        }
    }

    /// The same, opened for writing.
    fn file_to_write(&mut self, path: &TreePath, bent: &mut Bent) -> Result<InodeId, Errno> {
        let id = self.file(path)?;
        self.touch(id, bent);
        Ok(id)
    }

    fn content(&self, id: InodeId) -> &Content {
        match &self.inode(id).body {
            Body::File(content) => content,
            _ => unreachable!("only files are opened"),
        }
    }

    fn content_mut(&mut self, id: InodeId) -> &mut Content {
        match &mut self.inode_mut(id).body {
            Body::File(content) => content,
            _ => unreachable!("only files are opened"),
        }
    }

    pub(super) fn read(&self, path: &TreePath) -> Outcome {
        let id = self.file(path)?;
        Ok(Answer::Content(self.content(id).bytes()))
    }

    fn put(&mut self, id: InodeId, at: u64, data: Data) {
        if data.length > 0 {
            self.content_mut(id).write(at, &data.bytes());
            self.written(id);
        }
    }

    pub(super) fn write(
        &mut self,
        path: &TreePath,
        (at, data): (u64, Data),
        bent: &mut Bent,
    ) -> Outcome {
        let id = self.file_to_write(path, bent)?;
        self.put(id, at, data);
        Ok(Answer::Done)
    }

    pub(super) fn append(&mut self, path: &TreePath, data: Data, bent: &mut Bent) -> Outcome {
        let id = self.file_to_write(path, bent)?;
        let end = self.content(id).size();
        self.put(id, end, data);
        Ok(Answer::Done)
    }

    pub(super) fn rewrite(&mut self, path: &TreePath, data: Data, bent: &mut Bent) -> Outcome {
        let place = self.place_followed(path)?;
        let id = if place.inode.is_some() {
            let id = self.file_to_write(path, bent)?;
            self.content_mut(id).resize(0);
            self.written(id);
            id
        } else {
            self.make(&place, Inode::new(Body::File(Content::default()), 0o644))
        };
        self.put(id, 0, data);
        Ok(Answer::Done)
    }

    /// The time moves only where the size does: truncate(2) on some file systems, on all others too.
    pub(super) fn truncate(&mut self, path: &TreePath, size: u64, bent: &mut Bent) -> Outcome {
        let id = self.file_to_write(path, bent)?;
        let same = self.content(id).size() == size;
        self.content_mut(id).resize(size);
        let before = self.inode(id).mtime;
        self.written(id);
        if same {
            self.inode_mut(id).mtime = before.or_now();
        }
        Ok(Answer::Done)
    }

    pub(super) fn allocate(
        &mut self,
        path: &TreePath,
        (at, length): (u64, u64),
        bent: &mut Bent,
    ) -> Outcome {
        let id = self.file_to_write(path, bent)?;
        if length == 0 {
            return Err(Errno::INVAL);
        }
        self.content_mut(id).allocate(at, length);
        let before = self.inode(id).mtime;
        self.written(id);
        self.inode_mut(id).mtime = before.or_now();
        Ok(Answer::Done)
    }

    pub(super) fn punch(
        &mut self,
        path: &TreePath,
        (at, length): (u64, u64),
        bent: &mut Bent,
    ) -> Outcome {
        let id = self.file_to_write(path, bent)?;
        if length == 0 {
            return Err(Errno::INVAL);
        }
        self.content_mut(id).punch(at, length);
        let before = self.inode(id).mtime;
        self.written(id);
        self.inode_mut(id).mtime = before.or_now();
        Ok(Answer::Done)
    }

    /// What is written through a mapping drops no capability, and some file systems do not see it
    /// as a change of the time.
    pub(super) fn map_write(
        &mut self,
        path: &TreePath,
        (at, data): (u64, Data),
        bent: &mut Bent,
    ) -> Outcome {
        let id = self.file_to_write(path, bent)?;
        let room = self.content(id).size().saturating_sub(at);
        let mut bytes = data.bytes();
        bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        if !bytes.is_empty() {
            self.content_mut(id).write(at, &bytes);
            let inode = self.inode_mut(id);
            inode.mtime = inode.mtime.or_now();
        }
        Ok(Answer::Done)
    }

    /// Opens a file to hold it.
    pub(super) fn hold(
        &mut self,
        path: &TreePath,
        how: HoldHow,
        bent: &mut Bent,
    ) -> Result<Held, Errno> {
        let id = match how {
            HoldHow::Write => self.file_to_write(path, bent)?,
            HoldHow::Read | HoldHow::Map => self.file(path)?,
        };
        let length = self.content(id).size();
        if how == HoldHow::Map && length == 0 {
            return Err(Errno::INVAL);
        }
        let keeps = how == HoldHow::Map && self.inode(id).below;
        Ok(Held {
            inode: id,
            how,
            length,
            kept: keeps.then(|| self.content(id).clone()),
        })
    }

    pub(super) fn held_read(&self, held: &Held, bent: &mut Bent) -> Answer {
        let now = self.content(held.inode);
        let mut bytes = now.bytes();
        if held.how == HoldHow::Map {
            bytes.truncate(held.length as usize);
            if let Some(kept) = &held.kept
                && !self.inode(held.inode).below
                && bent.by(Quirk::HeldMapKeepsOldData)
            {
                let length = bytes.len();
                bytes = kept.bytes();
                bytes.truncate(length);
            }
        }
        Answer::Content(bytes)
    }

    pub(super) fn held_write(&mut self, held: &Held, at: u64, data: Data) -> Outcome {
        match held.how {
            HoldHow::Write => self.put(held.inode, at, data),
            HoldHow::Read | HoldHow::Map => return Err(Errno::BADF),
        }
        Ok(Answer::Done)
    }

    pub(super) fn held_truncate(&mut self, held: &Held, size: u64) -> Outcome {
        match held.how {
            HoldHow::Write => {}
            HoldHow::Read => return Err(Errno::INVAL),
            HoldHow::Map => return Err(Errno::BADF),
        }
        self.content_mut(held.inode).resize(size);
        self.written(held.inode);
        Ok(Answer::Done)
    }
}
