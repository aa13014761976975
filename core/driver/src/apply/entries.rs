//! Making what an entry says: files, links, directories, devices, pipes.

use super::Applier;
use super::attributes::{Subject, mtime};
use super::content::ContentWriter;
use super::error::{Step as _, kernel, refused};
use super::parents::{DIRECTORY, Found, Missing, Parent, directory_state};
use super::placement::DirectoryAttributes;
use super::record::{Name, is_at_or_below, join, split};
use crate::changeset::{Entry, EntryKind, EntryPath, Metadata};
use crate::error::Result;
use rustix::fs::{AtFlags, Dev, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, OwnedFd};

const SPECIAL_BITS: u32 = 0o7000;

/// A new file whose content is on its way.
pub(super) struct OpenFile {
    entry: Entry,
    file: OwnedFd,
    content: ContentWriter,
    /// The bits that it was made with.
    mode: u32,
    owner_differs: bool,
    inherits: bool,
}

impl OpenFile {
    /// Writes a part of the content.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.content.write(&self.file, offset, bytes)
    }
}

/// The place of an entry: the open directory, the real path, the last component.
struct Spot<'a> {
    parent: &'a Parent,
    path: &'a [u8],
    name: &'a [u8],
}

impl Applier<'_> {
    fn refuse_long_names(&self, path: &[u8]) -> Result<()> {
        let longest = self.placement.longest_name();
        let mut names = path.split(|byte| *byte == b'/');
        match names.find(|name| name.len() > longest) {
            None => Ok(()),
            Some(name) => Err(refused(format!(
                "a name has {} bytes, and a layer of this driver holds at most {longest}",
                name.len()
            ))
            .with("path", path.escape_ascii())),
        }
    }

    /// Makes what `entry` says. A file is complete only after [`finish_file`](Self::finish_file).
    pub(super) fn entry(&mut self, entry: Entry) -> Result<Option<OpenFile>> {
        if entry.path.is_root() {
            return self.root_entry(&entry).map(|()| None);
        }
        self.refuse_long_names(entry.path.as_bytes())?;
        let (directory, name) = split(entry.path.as_bytes());
        let parent = self.parent(directory)?;
        let path = join(&parent.path, name);
        let was_hidden = self.placement.uncover(parent.directory.as_fd(), &path)?;
        let spot = Spot {
            parent: &parent,
            path: &path,
            name,
        };
        let kind = match &entry.kind {
            EntryKind::File { size } => {
                let size = *size;
                let file = self.file(&spot, &entry)?;
                self.record.add(path, Name::Other);
                let (file, mode) = file;
                return Ok(Some(OpenFile {
                    file,
                    content: ContentWriter::new(size),
                    mode,
                    owner_differs: self.owner_differs(&parent, &entry.metadata),
                    inherits: parent.bequeaths,
                    entry,
                }));
            }
            EntryKind::HardLink { target } => self.hard_link(&spot, target)?,
            EntryKind::Symlink { target } => self.symlink(&spot, &entry, target)?,
            EntryKind::Directory => self.directory(&spot, &entry, was_hidden)?,
            EntryKind::CharDevice { major, minor } => {
                let device = rustix::fs::makedev(*major, *minor);
                self.node(&spot, &entry, (FileType::CharacterDevice, device))?
            }
            EntryKind::BlockDevice { major, minor } => {
                let device = rustix::fs::makedev(*major, *minor);
                self.node(&spot, &entry, (FileType::BlockDevice, device))?
            }
            EntryKind::Fifo => self.node(&spot, &entry, (FileType::Fifo, 0))?,
        };
        self.record.add(path, kind);
        Ok(None)
    }

    /// Whether a new name in `parent` has another owner than the entry.
    fn owner_differs(&self, parent: &Parent, metadata: &Metadata) -> bool {
        // A new name has the group of the process or, by a set-group-id bit or a mount option,
        // that of its directory: certain only where the two are the same.
        let certain = parent.gid == self.process.gid;
        !certain || (metadata.uid, metadata.gid) != (self.process.uid, self.process.gid)
    }

    /// Makes a name with `make`; what stands there goes first.
    fn make<T>(
        &mut self,
        spot: &Spot<'_>,
        purpose: &'static str,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T> {
        match make() {
            Err(Errno::EXIST) => {
                self.clear_name(spot.parent.directory.as_fd(), spot.path)?;
                make().step(purpose)
            }
            outcome => outcome.step(purpose),
        }
    }

    fn file(&mut self, spot: &Spot<'_>, entry: &Entry) -> Result<(OwnedFd, u32)> {
        // Attributes can be set by whoever is not root only while the file is writable.
        let mode = if entry.xattrs.is_empty() {
            entry.metadata.mode & 0o777
        } else {
            0o600
        };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.make(spot, "cannot make the file", || {
            rustix::fs::openat(
                &spot.parent.directory,
                spot.name,
                flags,
                Mode::from_raw_mode(mode),
            )
        })?;
        Ok((file, mode))
    }

    /// Sets a file's length and attributes, when all its content is there.
    pub(super) fn finish_file(&mut self, open: OpenFile) -> Result<()> {
        open.content.finish(&open.file)?;
        let metadata = &open.entry.metadata;
        let subject = Subject::Open(open.file.as_fd());
        if open.owner_differs {
            subject.set_owner(metadata.uid, metadata.gid)?;
        }
        if open.inherits {
            subject.remove_other_xattrs(&open.entry.xattrs)?;
        }
        subject.set_early_xattrs(&open.entry.xattrs)?;
        if open.mode != metadata.mode || open.inherits || !self.process.exact_modes {
            subject.set_mode(metadata.mode)?;
        }
        subject.set_mtime(mtime(metadata))?;
        subject.set_late_xattrs(&open.entry.xattrs)
    }

    fn symlink(&mut self, spot: &Spot<'_>, entry: &Entry, target: &[u8]) -> Result<Name> {
        self.make(spot, "cannot make the symbolic link", || {
            rustix::fs::symlinkat(target, &spot.parent.directory, spot.name)
        })?;
        let metadata = &entry.metadata;
        let subject = Subject::Name(spot.parent.directory.as_fd(), spot.name);
        if self.owner_differs(spot.parent, metadata) {
            subject.set_owner(metadata.uid, metadata.gid)?;
        }
        subject.set_early_xattrs(&entry.xattrs)?;
        subject.set_late_xattrs(&entry.xattrs)?;
        subject.set_mtime(mtime(metadata))?;
        Ok(Name::Symlink)
    }

    fn node(
        &mut self,
        spot: &Spot<'_>,
        entry: &Entry,
        (kind, device): (FileType, Dev),
    ) -> Result<Name> {
        let metadata = &entry.metadata;
        let mode = Mode::from_raw_mode(metadata.mode & 0o777);
        self.make(spot, "cannot make the device or pipe", || {
            rustix::fs::mknodat(&spot.parent.directory, spot.name, kind, mode, device)
        })?;
        let subject = Subject::Name(spot.parent.directory.as_fd(), spot.name);
        if self.owner_differs(spot.parent, metadata) {
            subject.set_owner(metadata.uid, metadata.gid)?;
        }
        let inherits = spot.parent.bequeaths;
        if inherits {
            subject.remove_other_xattrs(&entry.xattrs)?;
        }
        subject.set_early_xattrs(&entry.xattrs)?;
        if inherits || metadata.mode & SPECIAL_BITS != 0 || !self.process.exact_modes {
            subject.set_mode(metadata.mode)?;
        }
        subject.set_late_xattrs(&entry.xattrs)?;
        subject.set_mtime(mtime(metadata))?;
        Ok(Name::Other)
    }

    fn hard_link(&mut self, spot: &Spot<'_>, target: &EntryPath) -> Result<Name> {
        let missing =
            || refused("the hard link's target is no file of this layer").with("target", target);
        let (directory, target_name) = split(target.as_bytes());
        let Found::Directory(target_parent) = self.find(directory, Missing::Look)? else {
            return Err(missing());
        };
        let target_path = join(&target_parent.path, target_name);
        let kind = match self.record.name(&target_path) {
            Some(kind @ (Name::Other | Name::Symlink)) => kind,
            Some(Name::Directory) | None => return Err(missing()),
        };
        if target_path == spot.path {
            return Ok(kind);
        }
        if is_at_or_below(&target_path, spot.path) {
            // Making the link would first remove its target.
            return Err(missing());
        }
        self.make(spot, "cannot make the hard link", || {
            rustix::fs::linkat(
                &target_parent.directory,
                target_name,
                &spot.parent.directory,
                spot.name,
                AtFlags::empty(),
            )
        })?;
        Ok(kind)
    }

    /// `was_hidden`: a mark of an earlier layer hid what is below.
    fn directory(&mut self, spot: &Spot<'_>, entry: &Entry, was_hidden: bool) -> Result<Name> {
        let metadata = &entry.metadata;
        let parent = &spot.parent.directory;
        // Whoever is not root can make names only in a directory that lets its owner.
        let mode = metadata.mode & 0o777 | 0o700;
        let make = || rustix::fs::mkdirat(parent, spot.name, Mode::from_raw_mode(mode));
        let open = || rustix::fs::openat(parent, spot.name, DIRECTORY, Mode::empty());
        match make() {
            Ok(()) => {
                self.new_directory(spot, entry)?;
                if was_hidden || self.placement.looks_past(spot.path)? {
                    let directory = open().step("cannot open the directory")?;
                    self.cover(directory.as_fd(), spot.path)?;
                }
            }
            Err(Errno::EXIST) => match open() {
                Ok(directory) => {
                    let attributes = described(entry);
                    self.set_directory_attributes(directory.as_fd(), spot.path, &attributes)?;
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    self.clear_name(parent.as_fd(), spot.path)?;
                    make().step("cannot make the directory")?;
                    self.new_directory(spot, entry)?;
                    let directory = open().step("cannot open the directory")?;
                    self.cover(directory.as_fd(), spot.path)?;
                }
                Err(errno) => return Err(kernel("cannot open the directory", errno)),
            },
            Err(errno) => return Err(kernel("cannot make the directory", errno)),
        }
        self.placement.describe(spot.path);
        Ok(Name::Directory)
    }

    /// Gives a directory that has just been made the attributes of its entry.
    fn new_directory(&mut self, spot: &Spot<'_>, entry: &Entry) -> Result<()> {
        let metadata = &entry.metadata;
        let plain = entry.xattrs.is_empty()
            && !spot.parent.bequeaths
            && self.process.exact_modes
            && metadata.mode & SPECIAL_BITS == 0;
        if !plain {
            let opened =
                rustix::fs::openat(&spot.parent.directory, spot.name, DIRECTORY, Mode::empty());
            let directory = opened.step("cannot open the directory")?;
            let attributes = described(entry);
            return self.set_directory_attributes(directory.as_fd(), spot.path, &attributes);
        }
        if self.owner_differs(spot.parent, metadata) {
            Subject::Name(spot.parent.directory.as_fd(), spot.name)
                .set_owner(metadata.uid, metadata.gid)?;
        }
        let state = directory_state(metadata.mode, metadata.gid, mtime(metadata), &[]);
        self.record.set_directory(spot.path, state);
        Ok(())
    }

    /// The entry of the root: attributes only, and its time does not count.
    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        let root = self.duplicate_root()?;
        self.placement.describe(b"");
        let state = self.note_directory(b"", root.as_fd())?;
        let attributes = DirectoryAttributes {
            mtime: state.mtime,
            ..described(entry)
        };
        self.set_directory_attributes(root.as_fd(), b"", &attributes)?;
        self.record.add(Vec::new(), Name::Directory);
        Ok(())
    }

    /// Sets what directories have only when all is done: their times, and modes that would have
    /// been in the way. Deepest first, since none of this changes a parent.
    pub(super) fn finish_directories(&mut self) -> Result<()> {
        for (path, state) in self.record.directories() {
            let settled = self.finish_directory(&path, state.mtime, state.final_mode);
            settled.map_err(|error| error.with("entry", path.escape_ascii()))?;
        }
        Ok(())
    }

    fn finish_directory(
        &mut self,
        path: &[u8],
        mtime: (i64, u32),
        mode: Option<u32>,
    ) -> Result<()> {
        if path.is_empty() {
            let root = Subject::Open(self.root.as_fd());
            mode.map_or(Ok(()), |mode| root.set_mode(mode))?;
            return root.set_mtime(mtime);
        }
        let (directory, name) = split(path);
        let parent = self.parent(directory)?;
        let subject = Subject::Name(parent.directory.as_fd(), name);
        mode.map_or(Ok(()), |mode| subject.set_mode(mode))?;
        subject.set_mtime(mtime)
    }
}

fn described(entry: &Entry) -> DirectoryAttributes {
    DirectoryAttributes {
        mode: entry.metadata.mode,
        uid: entry.metadata.uid,
        gid: entry.metadata.gid,
        mtime: mtime(&entry.metadata),
        xattrs: entry.xattrs.clone(),
    }
}
