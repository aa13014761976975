//! Performs operations on a directory by system calls.
//!
//! The directory is the root: absolute links and `..` end inside, as in a container. What does not
//! follow its last component gets a descriptor of the directory above and a name in it; what
//! follows it is looked at first, so that nothing but files and directories is ever opened.
//!
//! The root itself has the name `.`, and what the kernel answers there is the answer: `EEXIST` where
//! a name would be made, `EINVAL` for `rmdir`, `EISDIR` for `unlink`. Three answers are given
//! without the call, since the kernel's would be another or come too late: `create` is `EISDIR`, a
//! rename from or to it is `EBUSY` however it is done, `remove-tree` is `EINVAL`.
//!
//! A path whose last component is `..` or no name at all is `EINVAL`: it may lead out.

mod held;
mod look;

use crate::model::Outcome;
use crate::model::operation::{
    Acl, AclKind, Answer, Data, FileOperation, RenameHow, Slot, Special,
};
use crate::tree::TreePath;
use anyhow::Context as _;
use held::Held;
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use strata_sys::map::SharedMap;
use strata_sys::mount::descriptor_path;

/// Performs operations, and keeps what they hold.
///
/// Its descriptors keep a mount busy: drop it before an unmount. The umask is the process's; what
/// a script means, it means under 022.
#[derive(Debug)]
pub struct Performer {
    root: OwnedFd,
    held: BTreeMap<Slot, Held>,
}

/// A name, and the directory that it is in.
struct Place<'a> {
    directory: OwnedFd,
    name: &'a [u8],
}

impl Place<'_> {
    /// For calls that take paths only, and do not follow the last component.
    fn path(&self) -> PathBuf {
        descriptor_path(self.directory.as_fd()).join(OsStr::from_bytes(self.name))
    }

    fn open(&self, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, self.name, flags, mode)
    }

    fn unlink(&self, flags: AtFlags) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.directory, self.name, flags)
    }

    fn file_type(&self) -> Result<FileType, Errno> {
        let stat = rustix::fs::statat(&self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }
}

impl Performer {
    /// Opens the directory that is to be the root.
    pub fn new(root: &Path) -> anyhow::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(root, flags, Mode::empty());
        Ok(Self {
            root: opened.with_context(|| format!("open `{}`", root.display()))?,
            held: BTreeMap::new(),
        })
    }

    /// Lets go of all that is held.
    pub fn release_all(&mut self) {
        self.held.clear();
    }

    /// Performs an operation.
    pub fn perform(&mut self, operation: &FileOperation) -> Outcome {
        match operation {
            FileOperation::Read { path } => {
                let file = self.open_file(path, OFlags::RDONLY)?;
                Ok(Answer::Content(read_all(&file)?))
            }
            FileOperation::List { path } => {
                let entries = self.list(path)?;
                let names = entries.into_iter().map(|(name, _)| name);
                Ok(Answer::Names(names.collect()))
            }
            FileOperation::ReadLink { path } => {
                let at = self.place(path)?;
                let target = rustix::fs::readlinkat(&at.directory, at.name, Vec::new())?;
                Ok(Answer::Target(target.into_bytes()))
            }
            FileOperation::Hold { slot, path, how } => {
                self.held.remove(slot);
                let held = self.hold(path, *how)?;
                self.held.insert(*slot, held);
                Ok(Answer::Done)
            }
            FileOperation::HeldRead { slot } => Ok(Answer::Content(self.held(*slot)?.read()?)),
            other => {
                self.change(other)?;
                Ok(Answer::Done)
            }
        }
    }

    /// What only changes something.
    fn change(&mut self, operation: &FileOperation) -> Result<(), Errno> {
        match operation {
            FileOperation::Create { path, mode } => self.create(path, *mode),
            FileOperation::Write { path, at, data } => {
                write_at(&self.open_file(path, OFlags::WRONLY)?, *at, *data)
            }
            FileOperation::Append { path, data } => write_on(
                &self.open_file(path, OFlags::WRONLY | OFlags::APPEND)?,
                *data,
            ),
            FileOperation::Rewrite { path, data } => self.rewrite(path, *data),
            FileOperation::Truncate { path, size } => self.truncate(path, *size),
            FileOperation::Allocate { path, at, length } => {
                self.allocate(path, FallocateFlags::empty(), (*at, *length))
            }
            FileOperation::Punch { path, at, length } => self.punch(path, (*at, *length)),
            FileOperation::MapWrite { path, at, data } => self.map_write(path, *at, *data),
            FileOperation::Mkdir { path, mode } => {
                let at = self.place(path)?;
                rustix::fs::mkdirat(&at.directory, at.name, Mode::from_raw_mode(*mode))
            }
            FileOperation::Rmdir { path } => self.place(path)?.unlink(AtFlags::REMOVEDIR),
            FileOperation::Unlink { path } => self.place(path)?.unlink(AtFlags::empty()),
            FileOperation::RemoveTree { path } if path.is_root() => Err(Errno::INVAL),
            FileOperation::RemoveTree { path } => remove_tree(&self.place(path)?),
            FileOperation::Link { from, to } => self.link(from, to),
            FileOperation::Symlink { target, path } => self.symlink(target, path),
            FileOperation::Rename { from, to, how } => self.rename(from, to, *how),
            FileOperation::Mknod {
                path,
                special,
                mode,
            } => self.mknod(path, *special, *mode),
            FileOperation::Tmpfile { path, mode, data } => self.tmpfile(path, *mode, *data),
            FileOperation::Chmod { path, mode } => {
                let file = self.open(path, OFlags::PATH, Mode::empty())?;
                rustix::fs::chmod(descriptor_path(file.as_fd()), Mode::from_raw_mode(*mode))
            }
            FileOperation::Chown { path, uid, gid } => self.chown(path, *uid, *gid),
            FileOperation::Utimens { path, mtime } => self.utimens(path, *mtime),
            FileOperation::SetXattr { path, key, value } => self.set_xattr(path, key, value),
            FileOperation::RemoveXattr { path, key } => self.remove_xattr(path, key),
            FileOperation::SetAcl { path, kind, acl } => self.set_acl(path, *kind, *acl),
            FileOperation::HeldWrite { slot, at, data } => self.held(*slot)?.write(*at, *data),
            FileOperation::HeldTruncate { slot, size } => self.held(*slot)?.truncate(*size),
            FileOperation::Release { slot } => self.held.remove(slot).map(drop).ok_or(Errno::BADF),
            FileOperation::Read { .. }
            | FileOperation::List { .. }
            | FileOperation::ReadLink { .. }
            | FileOperation::Hold { .. }
            | FileOperation::HeldRead { .. } => unreachable!("performed by `perform`"),
        }
    }

    /// Opens within the root. The last component is followed unless `flags` say otherwise.
    fn open(&self, path: &TreePath, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let name = if path.is_root() {
            b"."
        } else {
            path.as_bytes()
        };
        with_errno(strata_sys::file::open_in_root(
            &self.root, name, flags, mode,
        ))
    }

    fn place<'a>(&self, path: &'a TreePath) -> Result<Place<'a>, Errno> {
        const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
        let Some(parent) = path.parent() else {
            let directory = self.open(path, DIRECTORY, Mode::empty())?;
            return Ok(Place {
                directory,
                name: b".",
            });
        };
        let name = path.name();
        if matches!(name, b"" | b"." | b"..") {
            return Err(Errno::INVAL);
        }
        let directory = self.open(&parent, DIRECTORY, Mode::empty())?;
        Ok(Place { directory, name })
    }

    /// What the path leads to, known to be a file, but not open: `O_PATH`.
    fn file(&self, path: &TreePath) -> Result<OwnedFd, Errno> {
        let found = self.open(path, OFlags::PATH, Mode::empty())?;
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::RegularFile => Ok(found),
            FileType::Directory => Err(Errno::ISDIR),
            _ => Err(Errno::NXIO),
        }
    }

    fn open_file(&self, path: &TreePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.file(path)?;
        self.open(path, flags, Mode::empty())
    }

    fn create(&self, path: &TreePath, mode: u32) -> Result<(), Errno> {
        if path.is_root() {
            return Err(Errno::ISDIR);
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
        self.place(path)?.open(flags, Mode::from_raw_mode(mode))?;
        Ok(())
    }

    fn rewrite(&self, path: &TreePath, data: Data) -> Result<(), Errno> {
        match self.file(path) {
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        write_on(&self.open(path, flags, Mode::from_raw_mode(0o644))?, data)
    }

    fn truncate(&self, path: &TreePath, size: u64) -> Result<(), Errno> {
        let file = self.file(path)?;
        // By path, as truncate(2): one through a descriptor may set times otherwise.
        let cut = nix::unistd::truncate(&descriptor_path(file.as_fd()), size as i64);
        cut.map_err(|errno| Errno::from_raw_os_error(errno as i32))
    }

    fn allocate(
        &self,
        path: &TreePath,
        flags: FallocateFlags,
        (at, length): (u64, u64),
    ) -> Result<(), Errno> {
        let file = self.open_file(path, OFlags::RDWR)?;
        rustix::io::retry_on_intr(|| rustix::fs::fallocate(&file, flags, at, length))
    }

    fn punch(&self, path: &TreePath, range: (u64, u64)) -> Result<(), Errno> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.allocate(path, flags, range)?;
        // Where there is a hole already, btrfs leaves them.
        let file = self.open_file(path, OFlags::RDWR)?;
        match rustix::fs::fremovexattr(&file, "security.capability") {
            Err(Errno::NODATA) => Ok(()),
            other => other,
        }
    }

    /// A file system without room for a hole that is written so ends the process with SIGBUS.
    fn map_write(&self, path: &TreePath, at: u64, data: Data) -> Result<(), Errno> {
        let file = self.open_file(path, OFlags::RDWR)?;
        let size = rustix::fs::fstat(&file)?.st_size as u64;
        let mut bytes = data.bytes();
        bytes.truncate(size.saturating_sub(at) as usize);
        if bytes.is_empty() {
            return Ok(());
        }
        let at = at as usize;
        let mut map = with_errno(SharedMap::writable(&file, at + bytes.len()))?;
        map.write(at, &bytes);
        with_errno(map.sync())
    }

    fn link(&self, from: &TreePath, to: &TreePath) -> Result<(), Errno> {
        let from = self.place(from)?;
        // linkat(2) says that there is no `from` before it looks for the directory of `to`.
        from.file_type()?;
        let to = self.place(to)?;
        let flags = AtFlags::empty();
        rustix::fs::linkat(&from.directory, from.name, &to.directory, to.name, flags)
    }

    fn symlink(&self, target: &[u8], path: &TreePath) -> Result<(), Errno> {
        if target.is_empty() {
            // As symlink(2), which does not look at the path any more.
            return Err(Errno::NOENT);
        }
        let at = self.place(path)?;
        rustix::fs::symlinkat(target, &at.directory, at.name)
    }

    fn rename(&self, from: &TreePath, to: &TreePath, how: RenameHow) -> Result<(), Errno> {
        let (old, new) = (self.place(from)?, self.place(to)?);
        if from.is_root() || to.is_root() {
            return Err(Errno::BUSY);
        }
        let flags = match how {
            RenameHow::Replace => RenameFlags::empty(),
            RenameHow::NoReplace => RenameFlags::NOREPLACE,
            RenameHow::Exchange => RenameFlags::EXCHANGE,
        };
        let renamed =
            rustix::fs::renameat_with(&old.directory, old.name, &new.directory, new.name, flags);
        match (renamed, how) {
            // rename(2): xfs says so of a directory that is not empty.
            (Err(Errno::EXIST), RenameHow::Replace) => Err(Errno::NOTEMPTY),
            (other, _) => other,
        }
    }

    fn mknod(&self, path: &TreePath, special: Special, mode: u32) -> Result<(), Errno> {
        let (kind, (major, minor)) = match special {
            Special::Character(major, minor) => (FileType::CharacterDevice, (major, minor)),
            Special::Block(major, minor) => (FileType::BlockDevice, (major, minor)),
            Special::Fifo => (FileType::Fifo, (0, 0)),
            Special::Socket => (FileType::Socket, (0, 0)),
        };
        let at = self.place(path)?;
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::mknodat(&at.directory, at.name, kind, mode, device)
    }

    fn tmpfile(&self, path: &TreePath, mode: u32, data: Data) -> Result<(), Errno> {
        let at = self.place(path)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR;
        let parent = path.parent().unwrap_or_default();
        let file = self.open(&parent, flags, Mode::from_raw_mode(mode))?;
        write_on(&file, data)?;
        let unnamed = descriptor_path(file.as_fd());
        let flags = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(rustix::fs::CWD, unnamed, &at.directory, at.name, flags)
    }

    fn chown(&self, path: &TreePath, uid: u32, gid: u32) -> Result<(), Errno> {
        let at = self.place(path)?;
        // chown(2): -1 leaves the owner.
        let uid = (uid != u32::MAX).then(|| Uid::from_raw(uid));
        let gid = (gid != u32::MAX).then(|| Gid::from_raw(gid));
        rustix::fs::chownat(&at.directory, at.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn utimens(&self, path: &TreePath, mtime: i64) -> Result<(), Errno> {
        const SECOND: i64 = 1_000_000_000;
        let at = self.place(path)?;
        let time = Timespec {
            tv_sec: mtime.div_euclid(SECOND),
            tv_nsec: mtime.rem_euclid(SECOND),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(&at.directory, at.name, &times, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn set_xattr(&self, path: &TreePath, key: &str, value: &[u8]) -> Result<(), Errno> {
        rustix::fs::lsetxattr(self.place(path)?.path(), key, value, XattrFlags::empty())
    }

    fn remove_xattr(&self, path: &TreePath, key: &str) -> Result<(), Errno> {
        rustix::fs::lremovexattr(self.place(path)?.path(), key)
    }

    fn set_acl(&self, path: &TreePath, kind: AclKind, acl: Option<Acl>) -> Result<(), Errno> {
        match acl {
            Some(acl) => self.set_xattr(path, kind.attribute(), &acl.encode()),
            // Where there is none, overlay says so for what lies below; others do not.
            None => match self.remove_xattr(path, kind.attribute()) {
                Err(Errno::NODATA) => Ok(()),
                other => other,
            },
        }
    }

    /// The names in a directory, sorted, with their inodes.
    fn list(&self, path: &TreePath) -> Result<Vec<(Vec<u8>, u64)>, Errno> {
        list(
            &self
                .place(path)?
                .open(OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?,
        )
    }
}

/// The kernel's errno, or that the call was not made.
fn with_errno<T>(result: strata_sys::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| error.errno().unwrap_or(Errno::INVAL))
}

fn list(directory: &OwnedFd) -> Result<Vec<(Vec<u8>, u64)>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.ino()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn remove_tree(at: &Place<'_>) -> Result<(), Errno> {
    if at.file_type()? != FileType::Directory {
        return at.unlink(AtFlags::empty());
    }
    let directory = at.open(OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let names = list(&directory)?;
    let mut below = Place {
        directory,
        name: b"",
    };
    for (name, _) in &names {
        below.name = name;
        remove_tree(&below)?;
    }
    at.unlink(AtFlags::REMOVEDIR)
}

/// All of a file, whatever its offset.
fn read_all(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    let mut content = Vec::new();
    let mut block = vec![0; 128 * 1024];
    loop {
        let at = content.len() as u64;
        match rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut block, at))? {
            0 => return Ok(content),
            length => content.extend_from_slice(&block[..length]),
        }
    }
}

fn write_at(file: impl AsFd, at: u64, data: Data) -> Result<(), Errno> {
    write_whole(data, |done, rest| {
        rustix::io::pwrite(&file, rest, at.saturating_add(done))
    })
}

/// Where the descriptor stands, or at the end of one that appends.
fn write_on(file: impl AsFd, data: Data) -> Result<(), Errno> {
    write_whole(data, |_, rest| rustix::io::write(&file, rest))
}

/// Writes once, and again where the kernel wrote less. Nothing is written as such.
fn write_whole(
    data: Data,
    write: impl Fn(u64, &[u8]) -> Result<usize, Errno>,
) -> Result<(), Errno> {
    let bytes = data.bytes();
    let mut done = 0;
    loop {
        let written = rustix::io::retry_on_intr(|| write(done as u64, &bytes[done..]))?;
        done += written;
        if done >= bytes.len() {
            return Ok(());
        }
        if written == 0 {
            return Err(Errno::IO);
        }
    }
}

#[cfg(test)]
mod tests;
