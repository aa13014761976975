//! How "hide what lies below" is stored: the one thing in which drivers differ when they apply.

use super::attributes::read_xattrs;
use super::error::Step as _;
use crate::error::Result;
use std::os::fd::BorrowedFd;

/// The strategy of a driver for what the layers below its root show and how that is hidden.
///
/// Two kinds of driver exist. In one, the root is the whole tree, and hiding is removing: that is
/// [`PlainPlacement`]. In the other, the root is a thin layer over directories that cannot be
/// changed, and hiding is a mark in the root.
///
/// [`apply`](super::apply) does the removing for both: before it asks for a mark it has taken
/// everything out of the root that this layer did not write, older marks included. So a
/// placement only ever adds marks, and what the root says on disk is the whole state.
///
/// Paths are relative to the root, components joined by `/`, without a leading or trailing slash,
/// never through a symbolic link; the root is the empty path.
pub trait Placement: Send {
    /// What the layers below show at `path`, seen through what the root already hides.
    ///
    /// [`Below::Nothing`] if the layers below have no such name, if one of their directories on
    /// the way is no directory (a symbolic link is none), or if `path` or an ancestor of it is
    /// hidden by a mark in the root or covered there by something that is no directory.
    ///
    /// Called for marks, and for directories that the layer names in a path without an entry of
    /// their own and the root lacks: seldom. The root has nothing at `path`.
    fn below(&mut self, path: &[u8], purpose: Purpose) -> Result<Below>;

    /// Takes note that the directory at `path` has the attributes that the layer gives it, and
    /// none from below any more: an entry for it came, or a mark that hides the lower one.
    fn describe(&mut self, path: &[u8]);

    /// Hides the name at `path` in the layers below.
    ///
    /// Called when [`below`](Self::below) has just shown something there and the root has nothing
    /// by that name. `parent` is the open directory of the root that holds the last component.
    fn hide(&mut self, parent: BorrowedFd<'_>, path: &[u8]) -> Result<()>;

    /// Hides everything that the layers below have inside the directory at `path`.
    ///
    /// `directory` is that directory, open in the root; it may be the root itself. It may hold
    /// entries of this layer, with more of them below; those stay, and none of them may get
    /// anything from below any more. Called again for the same directory, nothing more happens.
    fn hide_all(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()>;

    /// Whether the layers below show something at `path` that is no directory, past which they
    /// would look for directories to show in the new one that the root has there: it is to be
    /// sealed then. Never true where what is no directory ends a merge by itself.
    fn looks_past(&mut self, path: &[u8]) -> Result<bool>;

    /// Takes away the mark by which the root hides `path`, if that mark stands beside the name and
    /// not in its place, and says whether there was one. The name is about to be made.
    fn uncover(&mut self, parent: BorrowedFd<'_>, path: &[u8]) -> Result<bool>;

    /// Bytes of the longest name that the root can hold; the kernel's own limit is the kernel's
    /// business.
    fn longest_name(&self) -> usize;
}

/// What somebody asks the layers below for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To hide what they have there: a whiteout.
    Hide,
    /// To hide what they have in the directory there: an opaque mark.
    Seal,
    /// To make a directory like the one there.
    Inherit,
}

/// What the layers below show at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Below {
    /// No such name.
    Nothing,
    /// Something that is no directory.
    Other,
    /// A directory. If the root needs one there too, it is made with these attributes.
    Directory(Box<DirectoryAttributes>),
}

/// Everything about a directory that counts, but its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryAttributes {
    /// The twelve permission bits.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Time of last modification: seconds since 1970, rounded down, and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes that layers carry, ACLs among them, name and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl DirectoryAttributes {
    /// Reads them from an open directory (not one opened with `O_PATH`).
    pub fn read(directory: BorrowedFd<'_>) -> Result<Self> {
        let stat = rustix::fs::fstat(directory).step("cannot read a directory's attributes")?;
        Ok(Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
            xattrs: read_xattrs(directory)?,
        })
    }
}

/// The root is the whole tree: there is nothing below, and removing hides.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainPlacement;

impl Placement for PlainPlacement {
    fn below(&mut self, _path: &[u8], _purpose: Purpose) -> Result<Below> {
        Ok(Below::Nothing)
    }

    fn describe(&mut self, _path: &[u8]) {}

    fn hide(&mut self, _parent: BorrowedFd<'_>, _path: &[u8]) -> Result<()> {
        Ok(())
    }

    fn hide_all(&mut self, _directory: BorrowedFd<'_>, _path: &[u8]) -> Result<()> {
        Ok(())
    }

    fn looks_past(&mut self, _path: &[u8]) -> Result<bool> {
        Ok(false)
    }

    fn uncover(&mut self, _parent: BorrowedFd<'_>, _path: &[u8]) -> Result<bool> {
        Ok(false)
    }

    fn longest_name(&self) -> usize {
        usize::MAX
    }
}
