//! Applying into an upper directory: what lies below is hidden by the driver's marks.

use super::questions::Questions;
use super::{UpperMarks, reopen};
use crate::apply::{Below, DirectoryAttributes, Placement, Purpose};
use crate::error::{Error, Result};
use crate::mount::Detached;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use strata_sys::dir::DirectoryReader;

/// How directories are opened here: never through a symbolic link.
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Applies into an upper directory.
///
/// The layers below are mounted only if something asks for them: a layer in canonical form
/// over nothing, or without whiteouts, never does.
pub struct UpperPlacement<'a> {
    marks: &'a dyn UpperMarks,
    upper: OwnedFd,
    merge: Box<dyn Fn() -> Result<Detached> + Send + 'a>,
    below: Option<Detached>,
    /// Of a snapshot without a parent: what a parent that comes late is to be asked.
    questions: Option<Questions>,
}

impl std::fmt::Debug for UpperPlacement<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpperPlacement")
            .field("marks", &self.marks)
            .finish_non_exhaustive()
    }
}

impl<'a> UpperPlacement<'a> {
    /// Into `upper`, over the layers that `merge` mounts.
    pub fn over_layers(
        marks: &'a dyn UpperMarks,
        upper: OwnedFd,
        merge: impl Fn() -> Result<Detached> + Send + 'a,
    ) -> Self {
        Self {
            marks,
            upper,
            merge: Box::new(merge),
            below: None,
            questions: None,
        }
    }

    /// Into `upper`, over nothing; but the snapshot, whose directory is `home`, may still get a
    /// parent.
    pub fn over_nothing(marks: &'a dyn UpperMarks, upper: OwnedFd, home: &Path) -> Result<Self> {
        let nothing =
            || Err(Error::new(crate::ErrorKind::Other, "apply").because("nothing lies below"));
        Ok(Self {
            questions: Some(Questions::load(home)?),
            ..Self::over_layers(marks, upper, nothing)
        })
    }

    /// Writes down what a late parent has to answer.
    pub fn finish(self) -> Result<()> {
        self.questions.map_or(Ok(()), |questions| questions.save())
    }

    fn below_root(&mut self) -> Result<BorrowedFd<'_>> {
        if self.below.is_none() {
            self.below = Some((self.merge)()?);
        }
        Ok(self.below.as_ref().expect("set above").root())
    }
}

impl Placement for UpperPlacement<'_> {
    fn below(&mut self, path: &[u8], purpose: Purpose) -> Result<Below> {
        if hidden(self.upper.as_fd(), self.marks, path)? {
            return Ok(Below::Nothing);
        }
        if let Some(questions) = &mut self.questions {
            // A parent may still come, and answers then. A whiteout made now would show up in
            // listings: the kernel looks for them in merged directories only.
            questions.ask(path, purpose);
            return Ok(Below::Nothing);
        }
        look(self.below_root()?, path)
    }

    fn describe(&mut self, path: &[u8]) {
        if let Some(questions) = &mut self.questions {
            questions.describe(path);
        }
    }

    fn hide(&mut self, parent: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        self.marks.hide(parent, name)
    }

    fn hide_all(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        if !path.is_empty() || self.questions.is_some() {
            return self.marks.seal(directory);
        }
        let marks = self.marks;
        hide_root(directory, self.below_root()?, marks)
    }

    fn looks_past(&mut self, path: &[u8]) -> Result<bool> {
        if self.marks.ends_at_others()
            || self.questions.is_some()
            || hidden(self.upper.as_fd(), self.marks, path)?
        {
            return Ok(false);
        }
        Ok(look(self.below_root()?, path)? == Below::Other)
    }

    fn uncover(&mut self, parent: BorrowedFd<'_>, path: &[u8]) -> Result<bool> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        self.marks.unhide(parent, name)
    }

    fn longest_name(&self) -> usize {
        self.marks.longest_name()
    }
}

/// Hides everything that `below` has at its root: unions do not look for the opaque mark at the
/// root of a layer, so one whiteout per name it is.
pub(super) fn hide_root(
    upper: BorrowedFd<'_>,
    below: BorrowedFd<'_>,
    marks: &dyn UpperMarks,
) -> Result<()> {
    let mut names = Vec::new();
    let listing = reopen(below)?;
    DirectoryReader::new().read(&listing, |entry| {
        names.push(entry.name_bytes().to_owned());
        Ok::<_, strata_sys::SysError>(())
    })?;
    for name in names {
        let os_name = OsStr::from_bytes(&name);
        match rustix::fs::statat(upper, os_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => marks.hide(upper, &name)?,
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let inner = rustix::fs::openat(upper, os_name, DIRECTORY, Mode::empty());
                let inner = inner.map_err(|errno| Error::io("apply", errno.into()))?;
                marks.seal(inner.as_fd())?;
            }
            Ok(_) => {}
            Err(errno) => return Err(Error::io("apply", errno.into())),
        }
    }
    Ok(())
}

/// Whether a mark of the upper directory hides `path` or cuts it off from below.
pub(super) fn hidden(upper: BorrowedFd<'_>, marks: &dyn UpperMarks, path: &[u8]) -> Result<bool> {
    let fail =
        |errno: Errno| Error::io("apply", errno.into()).with("path", String::from_utf8_lossy(path));
    let mut directory: Option<OwnedFd> = None;
    let mut components = path.split(|byte| *byte == b'/').peekable();
    while let Some(component) = components.next() {
        let here = directory.as_ref().map_or(upper, OwnedFd::as_fd);
        if marks.is_sealed(here)? || marks.is_hidden(here, component)? {
            return Ok(true);
        }
        let name = OsStr::from_bytes(component);
        let stat = match rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(fail(errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if components.peek().is_some() => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(here, name, flags, Mode::empty());
                directory = Some(opened.map_err(fail)?);
            }
            FileType::Directory => return Ok(false),
            _ => return Ok(components.peek().is_some()),
        }
    }
    Ok(false)
}

/// What `root` shows at `path`, never through a symbolic link.
pub(super) fn look(root: BorrowedFd<'_>, path: &[u8]) -> Result<Below> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let open = |flags: OFlags| {
        rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    let directory = match open(OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(Below::Nothing),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            // The last component, or one on the way: only the former is something here.
            let parent = path
                .iter()
                .rposition(|byte| *byte == b'/')
                .map(|end| &path[..end]);
            let on_the_way = match parent {
                None => true,
                Some(parent) => rustix::fs::openat2(
                    root,
                    parent,
                    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                    resolve,
                )
                .is_ok(),
            };
            return Ok(if on_the_way {
                Below::Other
            } else {
                Below::Nothing
            });
        }
        Err(errno) => return Err(Error::io("apply", errno.into())),
    };
    Ok(Below::Directory(Box::new(DirectoryAttributes::read(
        directory.as_fd(),
    )?)))
}
