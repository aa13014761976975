//! Hiding what lies below, in overlay's own marks: character devices 0:0 and opaque directories.

use super::questions::Questions;
use super::{Mechanism, Namespace};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use strata_driver::apply::{Below, DirectoryAttributes, Placement, Purpose};
use strata_driver::catalog::SnapshotId;
use strata_driver::changeset::travels;
use strata_driver::mount::Detached;
use strata_driver::{Error, Result, SnapshotName};
use strata_sys::{dir::DirectoryReader, xattr};

/// How directories are opened here: never through a symbolic link.
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Applies into an upper directory.
///
/// The layers below are mounted only if something asks for them: a layer in canonical form
/// over nothing, or without whiteouts, never does.
pub(crate) struct UpperPlacement<'a> {
    mechanism: &'a Mechanism,
    key: SnapshotName,
    chain: Vec<SnapshotId>,
    upper: OwnedFd,
    below: Option<Detached>,
    /// Of a snapshot without a parent: what a parent that comes late is to be asked.
    questions: Option<Questions>,
}

impl<'a> UpperPlacement<'a> {
    pub(crate) fn new(
        mechanism: &'a Mechanism,
        key: &SnapshotName,
        id: SnapshotId,
        chain: Vec<SnapshotId>,
    ) -> Result<Self> {
        Ok(Self {
            mechanism,
            key: key.clone(),
            upper: super::open_directory(&mechanism.layout.upper(id))?,
            below: None,
            questions: if chain.is_empty() {
                Some(Questions::load(&mechanism.layout.snapshot(id))?)
            } else {
                None
            },
            chain,
        })
    }

    /// Writes down what a late parent has to answer.
    pub(crate) fn finish(self) -> Result<()> {
        self.questions.map_or(Ok(()), |questions| questions.save())
    }

    fn below_root(&mut self) -> Result<BorrowedFd<'_>> {
        if self.below.is_none() {
            self.below = Some(self.mechanism.merged(&self.key, &self.chain)?);
        }
        Ok(self.below.as_ref().expect("set above").root())
    }
}

impl Placement for UpperPlacement<'_> {
    fn below(&mut self, path: &[u8], purpose: Purpose) -> Result<Below> {
        if hidden(self.upper.as_fd(), self.mechanism.namespace, path)? {
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
        make_whiteout(parent, name)
    }

    fn hide_all(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        if !path.is_empty() || self.questions.is_some() {
            return make_opaque(directory, self.mechanism.namespace);
        }
        let namespace = self.mechanism.namespace;
        hide_root(directory, self.below_root()?, namespace)
    }
}

/// Hides everything that `below` has at its root: the kernel does not look for the opaque mark
/// at the root of a layer, so one whiteout per name it is.
pub(super) fn hide_root(
    upper: BorrowedFd<'_>,
    below: BorrowedFd<'_>,
    namespace: Namespace,
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
            Err(Errno::NOENT) => make_whiteout(upper, &name)?,
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let inner = rustix::fs::openat(upper, os_name, DIRECTORY, Mode::empty());
                let inner = inner.map_err(|errno| Error::io("apply", errno.into()))?;
                make_opaque(inner.as_fd(), namespace)?;
            }
            Ok(_) => {}
            Err(errno) => return Err(Error::io("apply", errno.into())),
        }
    }
    Ok(())
}

/// Whether a mark of the upper directory hides `path` or cuts it off from below.
pub(super) fn hidden(upper: BorrowedFd<'_>, namespace: Namespace, path: &[u8]) -> Result<bool> {
    let fail =
        |errno: Errno| Error::io("apply", errno.into()).with("path", String::from_utf8_lossy(path));
    let mut directory: Option<OwnedFd> = None;
    let mut components = path.split(|byte| *byte == b'/').peekable();
    while let Some(component) = components.next() {
        let here = directory.as_ref().map_or(upper, OwnedFd::as_fd);
        if is_opaque(here, namespace)? {
            return Ok(true);
        }
        let name = OsStr::from_bytes(component);
        let stat = match rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(fail(errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice if stat.st_rdev == 0 => return Ok(true),
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
    let stat = rustix::fs::fstat(&directory).map_err(|e| Error::io("apply", e.into()))?;
    let mut xattrs = Vec::new();
    for name in xattr::list(&directory)?
        .into_iter()
        .filter(|name| travels(name))
    {
        if let Some(value) = xattr::get(&directory, name.as_slice())? {
            xattrs.push((name, value));
        }
    }
    Ok(Below::Directory(Box::new(DirectoryAttributes {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
        xattrs,
    })))
}

pub(super) fn make_whiteout(directory: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    rustix::fs::mknodat(
        directory,
        OsStr::from_bytes(name),
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .map_err(|errno| {
        Error::io("apply", errno.into())
            .because("the whiteout cannot be made")
            .with("name", String::from_utf8_lossy(name))
    })
}

pub(super) fn make_opaque(directory: BorrowedFd<'_>, namespace: Namespace) -> Result<()> {
    let directory = reopen(directory)?;
    rustix::fs::fsetxattr(&directory, namespace.opaque(), b"y", XattrFlags::empty())
        .map_err(|errno| Error::io("apply", errno.into()).because("cannot make it opaque"))
}

pub(super) fn is_opaque(directory: BorrowedFd<'_>, namespace: Namespace) -> Result<bool> {
    let directory = reopen(directory)?;
    Ok(xattr::get(&directory, namespace.opaque())?.as_deref() == Some(b"y"))
}

/// A descriptor that reads, whatever the given one was opened for.
fn reopen(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, ".", flags, Mode::empty())
        .map_err(|errno| Error::io("apply", errno.into()))
}
