//! Writing a comparison as a canonical changeset.

use super::compare::Comparison;
use super::links::leader;
use super::node::{NONE, Node, State};
use super::same::open;
use super::xattrs::{self, Xattrs};
use crate::changeset::{
    END_MARK, Entry, EntryKind, EntryPath, Metadata, Timestamp, encode_entry, encode_whiteout,
    padding,
};
use crate::error::{Error, ErrorKind, Result};
use crate::options::DiffOptions;
use crate::snapshot::Bytes;
use crate::tree::inode::Inode;
use crate::tree::trail::shown;
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Bytes gathered before they are handed on, and read at once.
const BUFFER: usize = 512 * 1024;

/// What [`Comparison::write`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Entries and whiteouts.
    pub entries: u64,
    /// Length of the changeset.
    pub size: Bytes,
}

impl Comparison {
    /// Writes the canonical changeset (`docs/formats.md`, section 1) in large pieces.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for what a changeset cannot carry,
    /// [`Other`](ErrorKind::Other) for a file that changed since it was compared; what the kernel
    /// or `out` refuses. The changeset is then incomplete.
    pub fn write(&self, out: &mut dyn Write, options: &DiffOptions) -> Result<Written> {
        let mut writer = Writer {
            comparison: self,
            clamp: options.clamp_mtime,
            out,
            buffer: Vec::with_capacity(BUFFER + BUFFER / 2),
            handed_on: 0,
            path: EntryPath::root(),
            open: Vec::new(),
            names: Vec::new(),
            xattrs: Xattrs::new(),
        };
        if self.root_changed {
            writer.entry(0)?;
        }
        for index in 1..self.nodes.len() {
            writer.node(index as u32)?;
        }
        writer.buffer.extend_from_slice(&END_MARK);
        writer.hand_on()?;
        Ok(Written {
            entries: self.len() as u64,
            size: Bytes(writer.handed_on),
        })
    }
}

struct Writer<'a> {
    comparison: &'a Comparison,
    clamp: Option<i64>,
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
    handed_on: u64,
    /// The path of the node at work.
    path: EntryPath,
    /// The directories from below the root to the node at work, opened when needed.
    open: Vec<(u32, Option<OwnedFd>)>,
    names: Vec<u8>,
    xattrs: Xattrs,
}

impl Writer<'_> {
    fn node(&mut self, index: u32) -> Result<()> {
        let node = &self.comparison.nodes[index as usize];
        while let Some((directory, _)) = self.open.last()
            && *directory != node.parent
        {
            self.open.pop();
            self.path.pop();
        }
        let name = self.comparison.name(node);
        if node.state == State::Deleted {
            let name = &name[crate::changeset::entry::WHITEOUT_PREFIX.len()..];
            return encode_whiteout(&self.path, name, &mut self.buffer)
                .map_err(refused)
                .and_then(|()| self.hand_on_if_full());
        }
        self.path.push(name).map_err(|rule| {
            let path = shown(&self.comparison.path(index));
            refused(rule).with("path", path)
        })?;
        self.entry(index)?;
        if Comparison::is_directory(node) {
            self.open.push((index, None));
        } else {
            self.path.pop();
        }
        self.hand_on_if_full()
    }

    fn entry(&mut self, index: u32) -> Result<()> {
        let comparison = self.comparison;
        let node = &comparison.nodes[index as usize];
        if let Some(first) = leader(node) {
            let mut target = EntryPath::root();
            for name in comparison.path(first).split(|byte| *byte == b'/') {
                target.push(name).map_err(refused)?;
            }
            return self.header(node, EntryKind::HardLink { target }, Xattrs::new());
        }
        let mut names = std::mem::take(&mut self.names);
        let mut xattrs = std::mem::take(&mut self.xattrs);
        self.open_directories()?;
        let found = self.examine(index, &mut names, &mut xattrs);
        self.names = names;
        let (kind, file) = found?;
        self.header(node, kind, xattrs)?;
        match file {
            Some(file) => self.content(&file, node.size),
            None => Ok(()),
        }
    }

    /// What a node is, its attributes that travel, and the open file if it has content.
    fn examine(
        &self,
        index: u32,
        names: &mut Vec<u8>,
        xattrs: &mut Xattrs,
    ) -> Result<(EntryKind, Option<OwnedFd>)> {
        let node = &self.comparison.nodes[index as usize];
        let directory = self.directory();
        if index == 0 {
            self.read_xattrs(Inode::Open(directory), names, xattrs)?;
            return Ok((EntryKind::Directory, None));
        }
        let name = CString::new(self.comparison.name(node)).expect("a file name has no NUL");
        let (major, minor) = node.device;
        let kind = match node.file_type() {
            FileType::RegularFile if node.size > 0 => {
                let file = open(directory, &name, OFlags::NONBLOCK)
                    .map_err(|errno| self.error("open the file", errno))?;
                self.read_xattrs(Inode::Open(file.as_fd()), names, xattrs)?;
                return Ok((EntryKind::File { size: node.size }, Some(file)));
            }
            FileType::RegularFile => EntryKind::File { size: 0 },
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, &*name, Vec::new())
                    .map_err(|errno| self.error("read the link", errno))?;
                EntryKind::Symlink {
                    target: target.into_bytes(),
                }
            }
            FileType::CharacterDevice => EntryKind::CharDevice { major, minor },
            FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket | FileType::Unknown => {
                return Err(self.error("write a file of unknown type", Errno::OPNOTSUPP));
            }
        };
        self.read_xattrs(Inode::Named(directory, &name), names, xattrs)?;
        Ok((kind, None))
    }

    fn header(&mut self, node: &Node, kind: EntryKind, xattrs: Xattrs) -> Result<()> {
        let mut mtime = Timestamp {
            seconds: node.seconds,
            nanoseconds: node.nanoseconds,
        };
        if let Some(latest) = self.clamp {
            mtime = mtime.min(Timestamp {
                seconds: latest,
                nanoseconds: 0,
            });
        }
        if node.parent == NONE {
            mtime = Timestamp::default(); // the root's time never counts
        }
        let entry = Entry {
            path: std::mem::take(&mut self.path),
            metadata: Metadata {
                mode: match kind {
                    EntryKind::Symlink { .. } => 0o777,
                    _ if node.file_type() == FileType::Symlink => 0o777,
                    _ => node.mode & 0o7777,
                },
                uid: node.uid,
                gid: node.gid,
                mtime,
            },
            kind,
            xattrs,
        };
        let encoded = encode_entry(&entry, &mut self.buffer).map_err(refused);
        self.path = entry.path;
        self.xattrs = entry.xattrs;
        encoded
    }

    /// Reads the attributes of `inode` that travel.
    fn read_xattrs(
        &self,
        inode: Inode<'_>,
        names: &mut Vec<u8>,
        xattrs: &mut Xattrs,
    ) -> Result<()> {
        xattrs::read(inode, names, xattrs)
            .map_err(|errno| self.error("read the extended attributes", errno))?;
        if self.comparison.whole {
            for name in strata_sys::xattr::names(names) {
                if crate::changeset::is_overlay_mark(name.to_bytes()) {
                    tracing::warn!(
                        path = %self.path, attribute = %name.to_string_lossy(),
                        "an attribute of overlay file systems is left out of the changeset"
                    );
                }
            }
        }
        Ok(())
    }

    /// Writes the content of `file`, which must still have `size` bytes.
    fn content(&mut self, file: &OwnedFd, size: u64) -> Result<()> {
        let mut left = size;
        loop {
            self.hand_on_if_full()?;
            let room = self.buffer.capacity() - self.buffer.len();
            let got = match rustix::io::read(file, spare_capacity(&mut self.buffer)) {
                Ok(got) => got,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(self.error("read the file", errno)),
            };
            if got as u64 > left || (got == 0 && left > 0) {
                let changed = Error::new(ErrorKind::Other, "diff");
                return Err(changed
                    .because("the file changed its size while it was read")
                    .with("path", &self.path)
                    .with("size", size));
            }
            left -= got as u64;
            // A regular file gives less than asked for only at its end.
            if got == 0 || (left == 0 && got < room) {
                break;
            }
        }
        self.buffer.extend_from_slice(padding(size));
        Ok(())
    }

    /// The directory of the node at work; see [`open_directories`](Self::open_directories).
    fn directory(&self) -> BorrowedFd<'_> {
        let open = self.open.last().and_then(|(_, open)| open.as_ref());
        open.unwrap_or(&self.comparison.root).as_fd()
    }

    /// Opens the directories down to the node at work that are not open yet.
    fn open_directories(&mut self) -> Result<()> {
        for depth in 0..self.open.len() {
            let (directory, None) = &self.open[depth] else {
                continue;
            };
            let node = &self.comparison.nodes[*directory as usize];
            let above = match depth
                .checked_sub(1)
                .and_then(|above| self.open[above].1.as_ref())
            {
                Some(above) => above,
                None => &self.comparison.root,
            };
            let opened = open(
                above.as_fd(),
                &CString::new(self.comparison.name(node)).expect("a name has no NUL"),
                OFlags::DIRECTORY,
            );
            let opened = opened.map_err(|errno| self.error("open the directory", errno))?;
            self.open[depth].1 = Some(opened);
        }
        Ok(())
    }

    fn hand_on_if_full(&mut self) -> Result<()> {
        if self.buffer.len() < BUFFER {
            return Ok(());
        }
        self.hand_on()
    }

    fn hand_on(&mut self) -> Result<()> {
        let write = self.out.write_all(&self.buffer);
        write.map_err(|error| {
            Error::io("diff", error).because("the changeset cannot be handed on")
        })?;
        self.handed_on += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn error(&self, step: &str, errno: Errno) -> Error {
        Error::io("diff", errno.into())
            .because(format!("cannot {step}"))
            .with("path", &self.path)
    }
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::InvalidInput, "diff")
        .because(error.to_string())
        .caused_by(error)
}
