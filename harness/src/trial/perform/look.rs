//! Single looks at what is there, between operations.

use super::{Performer, Place};
use crate::tree::{Node, TreePath, read_node};
use anyhow::{Context as _, Result};
use rustix::fs::AtFlags;
use rustix::io::Errno;

/// Content of larger files is digested and not kept.
const MOST_KEPT: u64 = 4 << 20;

/// What a look at an inode tells beside its [`Node`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its number, `st_ino`.
    pub inode: u64,
    /// Space that it holds, in units of 512 bytes: `st_blocks`.
    pub blocks: u64,
}

impl Performer {
    /// What is at `path`, no link followed at its end, in the shape of the tree reader but without
    /// a link group; none where nothing is (`ENOENT`, `ENOTDIR`).
    pub fn look(&self, path: &TreePath) -> Result<Option<Node>> {
        let found = self.find(path)?;
        found
            .map(|(at, _)| read_node(&at.directory, at.name, path, MOST_KEPT))
            .transpose()
    }

    /// Inode and space of what is at `path`; none where nothing is.
    pub fn inode(&self, path: &TreePath) -> Result<Option<Facts>> {
        Ok(self.find(path)?.map(|(_, facts)| facts))
    }

    /// The names in a directory, sorted, with the inode numbers that the directory tells
    /// (`d_ino`).
    pub fn entries(&self, path: &TreePath) -> Result<Vec<(Vec<u8>, u64)>> {
        self.list(path).with_context(|| format!("list `{path}`"))
    }

    fn find<'a>(&self, path: &'a TreePath) -> Result<Option<(Place<'a>, Facts)>> {
        let found = self.place(path).and_then(|at| {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let stat = rustix::fs::statat(&at.directory, at.name, flags)?;
            let facts = Facts {
                inode: stat.st_ino,
                blocks: stat.st_blocks as u64,
            };
            Ok((at, facts))
        });
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Ok(None),
            // A name that the driver's marks are made of; nobody else is kept from looking.
            Err(Errno::PERM) if path.name().starts_with(b".wh.") => Ok(None),
            Err(errno) => Err(errno).with_context(|| format!("look at `{path}`")),
        }
    }
}
