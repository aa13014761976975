//! Removing a directory tree.

use super::inode::errno;
use super::trail::shown;
use crate::error::{Error, ErrorKind, Result};
use rustix::fs::{AtFlags, FileType, IFlags, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;
use strata_sys::dir::DirectoryReader;
use strata_sys::{SysError, btrfs};

/// Directories held open at most; deeper ones are first moved up, since a tree may be deeper than
/// a process may have files open.
const DEPTH: usize = 64;

/// Directories that may be found filled again: somebody who removes the same tree does so a few
/// times, somebody who makes names in it for ever.
const REFILLS: u32 = 1000;

/// How many names one call of [`remove`] may delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// All of them.
    Unlimited,
    /// At most this many, or one.
    Entries(u64),
}

/// How far [`remove`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "something may be left"]
pub enum Removal {
    /// Nothing is left.
    Complete,
    /// The budget was used up; call again.
    Left,
}

/// Removes `name` in `parent` and everything below it; absent is removed. Several may remove the
/// same tree at once.
///
/// Immutable and append-only files and directories (chattr) lose those flags first, and subvolumes
/// of btrfs are made writable and emptied like directories. A mount inside the tree is not entered: [`Busy`](ErrorKind::Busy).
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) unless `name` is one component; what the kernel
/// refuses, naming the path.
pub fn remove(parent: BorrowedFd<'_>, name: &[u8], budget: Budget) -> Result<Removal> {
    let plain = !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/');
    let name = match CString::new(name) {
        Ok(name) if plain => name,
        _ => {
            let refused = Error::new(ErrorKind::InvalidInput, OPERATION);
            return Err(refused.because("not a file name").with("path", shown(name)));
        }
    };
    let mut remover = Remover {
        parent,
        open: Vec::new(),
        moved: 0,
        refilled: 0,
        left: match budget {
            Budget::Unlimited => u64::MAX,
            Budget::Entries(entries) => entries.max(1),
        },
    };
    match remover.run(name) {
        Ok(()) | Err(Stop::Gone) => Ok(Removal::Complete),
        Err(Stop::Filled) => Err(Error::io(OPERATION, Errno::NOTEMPTY.into())),
        Err(Stop::Budget) => Ok(Removal::Left),
        Err(Stop::Failed(error)) => Err(error),
    }
}

const OPERATION: &str = "remove tree";

/// Why a removal ends early.
enum Stop {
    Budget,
    /// The directory that is read is no more.
    Gone,
    /// A directory that was emptied has something in it.
    Filled,
    Failed(Error),
}

impl From<SysError> for Stop {
    fn from(error: SysError) -> Self {
        if error.is(Errno::NOENT) {
            return Self::Gone;
        }
        let failed = Error::io(OPERATION, errno(&error).into());
        Self::Failed(failed.because("cannot read the directory"))
    }
}

/// A directory that is being emptied.
struct Level {
    name: CString,
    directory: Rc<OwnedFd>,
    subfolders: Vec<CString>,
}

struct Remover<'a> {
    parent: BorrowedFd<'a>,
    /// From the outermost directory of the tree to the one being emptied.
    open: Vec<Level>,
    /// Directories moved up so far.
    moved: u64,
    /// Directories that had something in them again.
    refilled: u32,
    /// Names that may still be deleted.
    left: u64,
}

impl Remover<'_> {
    fn run(&mut self, name: CString) -> Result<(), Stop> {
        let found = rustix::fs::statat(self.parent, &*name, AtFlags::SYMLINK_NOFOLLOW);
        let file_type = match found {
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(self.stop("read the attributes", &name, errno)),
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        };
        if file_type != FileType::Directory {
            return self.unlink(&name, AtFlags::empty());
        }
        let mut reader = DirectoryReader::new();
        self.enter(name, &mut reader)?;
        while let Some(level) = self.open.last_mut() {
            if let Some(name) = level.subfolders.pop() {
                if self.open.len() < DEPTH || !self.move_up(&name)? {
                    self.enter(name, &mut reader)?;
                }
                continue;
            }
            let Some(level) = self.open.pop() else { break };
            drop(level.directory);
            if !self.unlink_directory(&level.name)? {
                self.enter(level.name, &mut reader)?;
            }
        }
        Ok(())
    }

    /// The directory that names are deleted from.
    fn here(&self) -> BorrowedFd<'_> {
        self.open
            .last()
            .map_or(self.parent, |level| level.directory.as_fd())
    }

    /// Opens the directory `name`, and deletes from it what is no directory.
    fn enter(&mut self, name: CString, reader: &mut DirectoryReader) -> Result<(), Stop> {
        let directory = match self.open_directory(&name) {
            Err(Errno::ACCESS) => {
                let owner = Mode::RWXU;
                rustix::fs::chmodat(self.here(), &*name, owner, AtFlags::empty())
                    .and_then(|()| self.open_directory(&name))
            }
            other => other,
        };
        if let Err(Errno::NOENT) = directory {
            return Ok(()); // somebody else removes the same tree
        }
        let directory = directory.map_err(|errno| match errno {
            Errno::XDEV => Stop::Failed(
                Error::new(ErrorKind::Busy, OPERATION)
                    .because("something is mounted in the tree")
                    .with("path", self.path_of(&name)),
            ),
            errno => self.stop("open the directory", &name, errno),
        })?;
        let directory = Rc::new(directory);
        self.open.push(Level {
            name,
            directory: Rc::clone(&directory),
            subfolders: Vec::new(),
        });
        let mut subfolders = Vec::new();
        let read = reader.read(&directory, |entry| {
            let file_type = match entry.file_type {
                FileType::Unknown => {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    let stat = rustix::fs::statat(&directory, entry.name, flags);
                    match stat {
                        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                        Err(Errno::NOENT) => return Ok(()),
                        Err(errno) => {
                            return Err(self.stop("read the attributes", entry.name, errno));
                        }
                    }
                }
                known => known,
            };
            if file_type == FileType::Directory {
                subfolders.push(entry.name.to_owned());
                return Ok(());
            }
            self.unlink(entry.name, AtFlags::empty())
        });
        match read {
            // What a directory answers that is removed while it is read.
            Ok(()) | Err(Stop::Gone) => {}
            Err(stop) => return Err(stop),
        }
        if let Some(level) = self.open.last_mut() {
            level.subfolders = subfolders;
        }
        Ok(())
    }

    fn open_directory(&self, name: &CStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // RESOLVE_NO_XDEV stops at mounts, also at those of the same file system.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        loop {
            match rustix::fs::openat2(self.here(), name, flags, Mode::empty(), resolve) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                other => return other,
            }
        }
    }

    /// Moves the directory `name` to the outermost one; false if it has to stay.
    fn move_up(&mut self, name: &CStr) -> Result<bool, Stop> {
        let Some(top) = self.open.first() else {
            return Ok(false);
        };
        let top = top.directory.as_fd();
        let mut moved = self.moved;
        let new = loop {
            moved += 1;
            let new = CString::new(format!("deep-{moved}")).expect("it holds no NUL");
            let rename = || {
                let flags = RenameFlags::NOREPLACE;
                rustix::fs::renameat_with(self.here(), name, top, &*new, flags)
            };
            let renamed = match rename() {
                Err(Errno::PERM) => {
                    self.clear_flags(name);
                    clear_flags(top);
                    rename()
                }
                Err(Errno::ROFS) => {
                    self.make_writable();
                    rename()
                }
                other => other,
            };
            match renamed {
                Ok(()) => break new,
                Err(Errno::EXIST) => {}
                // Another subvolume, or no such rename here: go on downwards.
                Err(Errno::XDEV | Errno::INVAL) => return Ok(false),
                Err(Errno::NOENT) => return Ok(true), // removed by somebody else
                Err(errno) => return Err(self.stop("move the directory up", name, errno)),
            }
        };
        self.moved = moved;
        if let Some(top) = self.open.first_mut() {
            top.subfolders.push(new);
        }
        Ok(true)
    }

    /// Removes a directory that was emptied; false if there is something in it again: who removes
    /// the same tree moves directories up into it.
    fn unlink_directory(&mut self, name: &CStr) -> Result<bool, Stop> {
        match self.unlink(name, AtFlags::REMOVEDIR) {
            Err(Stop::Filled) if self.refilled < REFILLS => {
                self.refilled += 1;
                Ok(false)
            }
            Err(Stop::Filled) => Err(self.stop("delete", name, Errno::NOTEMPTY)),
            other => other.map(|()| true),
        }
    }

    fn unlink(&mut self, name: &CStr, flags: AtFlags) -> Result<(), Stop> {
        if self.left == 0 {
            return Err(Stop::Budget);
        }
        self.left -= 1;
        let unlink = || rustix::fs::unlinkat(self.here(), name, flags);
        let outcome = match unlink() {
            Err(Errno::PERM | Errno::ACCESS) => {
                self.clear_flags(name);
                unlink()
            }
            Err(Errno::ROFS) => {
                self.make_writable();
                unlink()
            }
            other => other,
        };
        match outcome {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Stop::Filled),
            Err(errno) => Err(self.stop("delete", name, errno)),
        }
    }

    /// Makes the directory that is being emptied, and `name` in it, deletable. What fails here
    /// fails again, with a better error, when the name is deleted.
    fn clear_flags(&self, name: &CStr) {
        clear_flags(self.here());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let regular =
            rustix::fs::statat(self.here(), name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
                matches!(
                    FileType::from_raw_mode(stat.st_mode),
                    FileType::RegularFile | FileType::Directory
                )
            });
        if regular && let Ok(file) = rustix::fs::openat(self.here(), name, flags, Mode::empty()) {
            clear_flags(file.as_fd());
        }
    }

    /// Makes the subvolumes on the way writable; a file system that is read-only stays so.
    fn make_writable(&self) {
        for level in &self.open {
            if btrfs::is_subvolume(&level.directory).is_ok_and(|is_one| is_one)
                && let Err(error) = btrfs::set_read_only(&level.directory, false)
            {
                tracing::debug!(%error, "a subvolume stays read-only");
            }
        }
    }

    fn path_of(&self, name: &CStr) -> String {
        let names: Vec<&[u8]> = self
            .open
            .iter()
            .map(|level| level.name.to_bytes())
            .chain([name.to_bytes()])
            .collect();
        shown(&names.join(&b'/'))
    }

    fn stop(&self, step: &'static str, name: &CStr, errno: Errno) -> Stop {
        Stop::Failed(
            Error::io(OPERATION, errno.into())
                .because(format!("cannot {step}"))
                .with("path", self.path_of(name)),
        )
    }
}

/// Clears what keeps an inode from being deleted.
fn clear_flags(file: BorrowedFd<'_>) {
    let fixed = IFlags::IMMUTABLE | IFlags::APPEND;
    if let Ok(flags) = rustix::fs::ioctl_getflags(file)
        && flags.intersects(fixed)
        && let Err(errno) = rustix::fs::ioctl_setflags(file, flags - fixed)
    {
        tracing::debug!(%errno, "inode flags stay");
    }
}
