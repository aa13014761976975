//! The parent that comes late: what applies would have asked it, asked now.

use super::placement::{self, DIRECTORY};
use super::questions::{Question, Questions};
use super::{UpperMarks, attributes, reopen};
use crate::apply::Below;
use crate::error::{Error, Result};
use rustix::fs::{FileType, Mode, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use strata_sys::dir::DirectoryReader;

/// Makes `upper`, which was filled over nothing, mean over `below` what its changesets say.
///
/// The questions of its applies stand beside it in directory `snapshot`, and `below` answers them. Done again after a
/// crash, nothing more happens.
pub fn adopt(
    upper: BorrowedFd<'_>,
    below: BorrowedFd<'_>,
    marks: &dyn UpperMarks,
    snapshot: &Path,
) -> Result<()> {
    if marks.is_sealed(upper)? {
        keeping_times(upper, || placement::hide_root(upper, below, marks))?;
    }
    let questions = Questions::load(snapshot)?;
    for (path, question) in questions.iter() {
        if placement::hidden(upper, marks, path)? {
            continue;
        }
        settle(upper, below, marks, (path, question))?;
    }
    if !marks.ends_at_others() {
        seal_over_others(upper, below, marks)?;
    }
    if !questions.root_is_described() {
        attributes::inherit(below, upper).map_err(|error| Error::io("commit", error))?;
    }
    Ok(())
}

/// Seals directories in the place of something that is none in `below`, which a union would look
/// past.
fn seal_over_others(
    upper: BorrowedFd<'_>,
    below: BorrowedFd<'_>,
    marks: &dyn UpperMarks,
) -> Result<()> {
    let fail = |errno: Errno| Error::io("commit", errno.into());
    let mut directories = Vec::new();
    DirectoryReader::new().read(&reopen(upper)?, |entry| {
        if matches!(entry.file_type, FileType::Directory | FileType::Unknown) {
            directories.push(entry.name_bytes().to_owned());
        }
        Ok::<_, strata_sys::SysError>(())
    })?;
    for name in directories {
        let name = OsStr::from_bytes(&name);
        let open = |home| rustix::fs::openat(home, name, DIRECTORY, Mode::empty());
        let own = match open(upper) {
            Ok(own) => own,
            Err(Errno::NOTDIR | Errno::LOOP) => continue,
            Err(errno) => return Err(fail(errno)),
        };
        if marks.is_sealed(own.as_fd())? {
            continue;
        }
        match open(below) {
            Ok(inner) => seal_over_others(own.as_fd(), inner.as_fd(), marks)?,
            // A union answers EPERM for names of its own.
            Err(Errno::NOENT | Errno::PERM) => {}
            Err(Errno::NOTDIR | Errno::LOOP) => marks.seal(own.as_fd())?,
            Err(errno) => return Err(fail(errno)),
        }
    }
    Ok(())
}

fn settle(
    upper: BorrowedFd<'_>,
    below: BorrowedFd<'_>,
    marks: &dyn UpperMarks,
    (path, question): (&[u8], Question),
) -> Result<()> {
    let fail = |errno: Errno| {
        Error::io("commit", errno.into()).with("path", String::from_utf8_lossy(path))
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let found = placement::look(below, path)?;
    if found == Below::Nothing {
        return Ok(());
    }
    match rustix::fs::openat2(upper, path, DIRECTORY, Mode::empty(), resolve) {
        Ok(own) => {
            if question.inherit {
                let model = rustix::fs::openat2(below, path, DIRECTORY, Mode::empty(), resolve);
                if let Ok(model) = model {
                    attributes::inherit(&model, &own)
                        .map_err(|error| Error::io("commit", error))?;
                }
            }
            if question.hide || question.seal {
                marks.seal(own.as_fd())?;
            }
            Ok(())
        }
        Err(Errno::NOENT) if question.hide => {
            let (directories, name) = match path.iter().rposition(|byte| *byte == b'/') {
                Some(end) => (&path[..end], &path[end + 1..]),
                None => (&path[..0], path),
            };
            let parent = make_directories(upper, below, directories)?;
            let parent = parent.as_ref().map_or(upper, OwnedFd::as_fd);
            keeping_times(parent, || marks.hide(parent, name))
        }
        Err(Errno::NOENT) if question.seal && matches!(found, Below::Directory(_)) => {
            match make_directories(upper, below, path)? {
                Some(own) => marks.seal(own.as_fd()),
                None => Ok(()),
            }
        }
        // Something that is no directory is of the layer's own, and covers what is below.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(errno) => Err(fail(errno)),
    }
}

/// Opens the directory `path` of `upper`, making what is missing as `below` has it.
fn make_directories(
    upper: BorrowedFd<'_>,
    below: BorrowedFd<'_>,
    path: &[u8],
) -> Result<Option<OwnedFd>> {
    let fail = |errno: Errno| {
        Error::io("commit", errno.into()).with("path", String::from_utf8_lossy(path))
    };
    let mut own: Option<OwnedFd> = None;
    let mut model: Option<OwnedFd> = None;
    for component in path
        .split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty())
    {
        let name = OsStr::from_bytes(component);
        let home = own.as_ref().map_or(upper, OwnedFd::as_fd);
        let create = || match rustix::fs::mkdirat(home, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(fail(errno)),
        };
        let made = keeping_times(home, create)?;
        let next = rustix::fs::openat(home, name, DIRECTORY, Mode::empty()).map_err(fail)?;
        let below_home = model.as_ref().map_or(below, OwnedFd::as_fd);
        let shown = rustix::fs::openat(below_home, name, DIRECTORY, Mode::empty());
        let shown = shown.map_err(fail)?;
        if made {
            attributes::clear(&next)
                .and_then(|()| attributes::copy(&shown, &next))
                .map_err(|error| Error::io("commit", error))?;
        }
        (own, model) = (Some(next), Some(shown));
    }
    Ok(own)
}

/// Runs `work`, which makes names in `directory`, and gives that its times back: a mark is no
/// change that anybody made.
fn keeping_times<T>(directory: BorrowedFd<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let fail = |errno: Errno| Error::io("commit", errno.into());
    let stat = rustix::fs::fstat(directory).map_err(fail)?;
    let done = work()?;
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec as i64),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec as i64),
    };
    rustix::fs::futimens(directory, &times).map_err(fail)?;
    Ok(done)
}
