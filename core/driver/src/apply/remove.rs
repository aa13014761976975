//! Removing what stands at a name, whatever it is, without following anything.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::{Errno, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How to open a directory that is to be read and worked in.
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Levels that are descended with a descriptor each; what is deeper is lifted up first, so that
/// no depth exhausts the descriptors of the process.
const LEVELS: usize = 64;
/// Passes over one tree. Each lifts at least [`LEVELS`] levels, so only somebody who adds names
/// meanwhile can use them up.
const PASSES: usize = 10_000;
/// As much as glibc asks getdents64(2) for.
const NAMES_BYTES: usize = 32 * 1024;

/// What [`remove`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    Nothing,
    NonDirectory,
    Directory,
}

/// Removes `name` from `parent`, with everything below it.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Removed> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => Ok(Removed::NonDirectory),
        Err(Errno::NOENT) => Ok(Removed::Nothing),
        Err(Errno::ISDIR) => remove_directory(parent, name).map(|()| Removed::Directory),
        Err(errno) => Err(errno),
    }
}

fn remove_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let mut removal = Removal {
        base: open(parent, name)?,
        lifted: 0,
    };
    for _ in 0..PASSES {
        removal.pass()?;
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            // Lifted directories, or somebody else's new names.
            Err(Errno::NOTEMPTY) => {}
            other => return other,
        }
    }
    Err(Errno::NOTEMPTY)
}

/// The removal of one tree.
struct Removal {
    base: OwnedFd,
    lifted: u64,
}

impl Removal {
    fn pass(&mut self) -> Result<()> {
        let top = rustix::io::fcntl_dupfd_cloexec(&self.base, 0)?;
        self.empty(&top, 0)
    }

    fn empty(&mut self, directory: &OwnedFd, level: usize) -> Result<()> {
        let mut directories = Vec::new();
        for_each_name(directory.as_fd(), |name, kind| {
            if kind != FileType::Directory {
                match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => return Ok(()),
                    Err(Errno::ISDIR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            directories.push(name.to_vec());
            Ok(())
        })?;
        for name in directories {
            if level == LEVELS {
                self.lift(directory, &name)?;
                continue;
            }
            self.empty(&open(directory.as_fd(), &name)?, level + 1)?;
            match rustix::fs::unlinkat(directory, name.as_slice(), AtFlags::REMOVEDIR) {
                // The next pass sees to what is still there.
                Ok(()) | Err(Errno::NOTEMPTY | Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Moves a directory right below the base, which is going to be removed as well.
    fn lift(&mut self, directory: &OwnedFd, name: &[u8]) -> Result<()> {
        loop {
            let free = format!("lifted-{}", self.lifted);
            self.lifted += 1;
            match rustix::fs::renameat(directory, name, &self.base, free.as_str()) {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                other => return other,
            }
        }
    }
}

fn open(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())
}

/// Calls `visit` for each name of a directory but `.` and `..`, from its start.
pub(super) fn for_each_name(
    directory: BorrowedFd<'_>,
    mut visit: impl FnMut(&[u8], FileType) -> Result<()>,
) -> Result<()> {
    // A descriptor of its own, since the place in a directory belongs to the open file.
    let opened = open(directory, b".")?;
    let mut buffer = vec![MaybeUninit::uninit(); NAMES_BYTES];
    let mut names = RawDir::new(&opened, &mut buffer);
    while let Some(entry) = names.next() {
        let entry = match entry {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            visit(name, entry.file_type())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;

    #[test]
    fn a_tree_deeper_than_the_descriptors_is_removed() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        // What most processes have; some hosts give far more.
        let usual = Rlimit {
            current: Some(1024),
            ..getrlimit(Resource::Nofile)
        };
        setrlimit(Resource::Nofile, usual).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let top = rustix::fs::openat(CWD, directory.path(), DIRECTORY, Mode::empty()).unwrap();
        let mut at = rustix::io::dup(&top).unwrap();
        for level in 0..1500 {
            rustix::fs::mkdirat(&at, "d", Mode::from(0o755)).unwrap();
            if level % 100 == 0 {
                rustix::fs::mkdirat(&at, "lifted-0", Mode::from(0o755)).unwrap();
            }
            at = open(at.as_fd(), b"d").unwrap();
        }
        assert_eq!(remove(top.as_fd(), b"d").unwrap(), Removed::Directory);
        assert_eq!(remove(top.as_fd(), b"d").unwrap(), Removed::Nothing);
    }
}
