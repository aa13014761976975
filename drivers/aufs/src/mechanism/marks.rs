//! aufs's own marks: `.wh.NAME` beside a name, `.wh..wh..opq` in a directory. Both are empty files
//! of mode 0444, links of one that stands at the branch's root; aufs(5), `linux/aufs_type.h`.

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use strata_driver::upper::UpperMarks;
use strata_driver::{Error, Result};

/// What the name of a whiteout begins with.
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// What names of the union's own begin with.
pub(crate) const RESERVED: &[u8] = b".wh..wh.";
/// In an opaque directory.
pub(crate) const OPAQUE: &CStr = c".wh..wh..opq";
/// At the root: what all whiteouts are links of.
const BASE: &CStr = c".wh..wh.aufs";
/// At the root: files on their way.
const ORPHANS: &str = ".wh..wh.orph";
/// At the root: copies of files with several names.
pub(super) const PSEUDO_LINKS: &str = ".wh..wh.plnk";

/// `AUFS_MAX_NAMELEN`: room for the name of a directory on its way out.
pub(crate) const LONGEST_NAME: usize = 242;

/// The marks of one branch.
#[derive(Debug)]
pub(crate) struct AufsMarks {
    root: OwnedFd,
}

impl AufsMarks {
    pub(crate) fn of(root: OwnedFd) -> Self {
        Self { root }
    }

    /// Makes what a union makes at the root of a branch that it writes, so that a mount changes
    /// nothing there.
    pub(super) fn reserve(&self) -> rustix::io::Result<()> {
        keeping_times(self.root.as_fd(), || {
            for name in [ORPHANS, PSEUDO_LINKS] {
                match rustix::fs::mkdirat(&self.root, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
            }
            let base = OsStr::from_bytes(BASE.to_bytes());
            match rustix::fs::statat(&self.root, base, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => create(self.root.as_fd(), base),
                other => other.map(drop),
            }
        })
    }

    fn make(&self, directory: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
        let link = || rustix::fs::linkat(&self.root, BASE, directory, name, AtFlags::empty());
        let made = match link() {
            Err(Errno::NOENT) => {
                create(self.root.as_fd(), OsStr::from_bytes(BASE.to_bytes())).and_then(|()| link())
            }
            other => other,
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(Errno::MLINK) => create(directory, name),
            Err(errno) => Err(errno),
        }
    }
}

/// Runs `work`, which makes names in `directory`, and gives that its times back.
fn keeping_times(
    directory: BorrowedFd<'_>,
    work: impl FnOnce() -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    let stat = rustix::fs::fstat(directory)?;
    work()?;
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec as i64),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec as i64),
    };
    rustix::fs::utimensat(directory, ".", &times, AtFlags::empty())
}

fn create(directory: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o444);
    let file = rustix::fs::openat(directory, name, flags, mode)?;
    // Whatever the process's mask is.
    rustix::fs::fchmod(&file, mode)
}

fn whiteout_of(name: &[u8]) -> OsString {
    OsString::from_vec([WHITEOUT, name].concat())
}

fn exists(directory: BorrowedFd<'_>, name: &OsStr) -> Result<bool> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        // No name that long can be hidden.
        Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(false),
        Err(errno) => Err(Error::io("apply", errno.into())),
    }
}

impl UpperMarks for AufsMarks {
    fn hide(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        self.make(directory, &whiteout_of(name)).map_err(|errno| {
            Error::io("apply", errno.into())
                .because("the whiteout cannot be made")
                .with("name", String::from_utf8_lossy(name))
        })
    }

    fn unhide(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
        match rustix::fs::unlinkat(directory, whiteout_of(name), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(false),
            Err(errno) => Err(Error::io("apply", errno.into())
                .because("the whiteout cannot be removed")
                .with("name", String::from_utf8_lossy(name))),
        }
    }

    fn is_hidden(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
        exists(directory, &whiteout_of(name))
    }

    fn seal(&self, directory: BorrowedFd<'_>) -> Result<()> {
        // A mark is no change that anybody made; overlay's, an attribute, leaves the time alone.
        let mark = OsStr::from_bytes(OPAQUE.to_bytes());
        keeping_times(directory, || self.make(directory, mark))
            .map_err(|errno| Error::io("apply", errno.into()).because("cannot make it opaque"))
    }

    fn is_sealed(&self, directory: BorrowedFd<'_>) -> Result<bool> {
        exists(directory, OsStr::from_bytes(OPAQUE.to_bytes()))
    }

    fn ends_at_others(&self) -> bool {
        false
    }

    fn longest_name(&self) -> usize {
        LONGEST_NAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn marks_are_empty_links_of_one_file() {
        let base = tempfile::tempdir().unwrap();
        let inner = base.path().join("inner");
        fs_err::create_dir(&inner).unwrap();
        let open = |path: &std::path::Path| super::super::open_directory(path).unwrap();
        let marks = AufsMarks::of(open(base.path()));
        let directory = open(&inner);
        let directory = directory.as_fd();
        assert!(!marks.is_hidden(directory, b"a").unwrap());
        for _ in 0..2 {
            marks.hide(directory, b"a").unwrap();
            marks.seal(directory).unwrap();
        }
        assert!(marks.is_hidden(directory, b"a").unwrap() && marks.is_sealed(directory).unwrap());
        let facts = fs_err::metadata(inner.join(".wh.a")).unwrap();
        assert_eq!(
            (facts.mode() & 0o7777, facts.len(), facts.nlink()),
            (0o444, 0, 3)
        );
        assert!(marks.unhide(directory, b"a").unwrap());
        assert!(!marks.unhide(directory, b"a").unwrap());
        assert!(!marks.is_hidden(directory, &[b'x'; 255]).unwrap());
    }
}
