//! A full copy of a directory tree.

use super::attributes::{Attributes, During as _, Made, Step, make_plain};
use super::content::{Content, Contents, Files};
use super::inode::Inode;
use super::links::{Links, Turn};
use super::names::Names;
use super::queue::{Queue, Worker, work_off};
use super::record::{CopyRecord, Row};
use super::trail::Trail;
use crate::error::{Error, ErrorKind, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use strata_sys::dir::DirectoryReader;

/// Whether a copy may share blocks with its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reflink {
    /// Where the file system can (`FICLONE`).
    #[default]
    WherePossible,
    /// Every byte is written anew.
    Never,
}

/// Whether a copy says of each inode how it left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Witness {
    /// It does not.
    #[default]
    Omit,
    /// [`Copied::record`] tells it. The copy then ends at least one clock tick after its last
    /// change.
    Record,
}

/// Options of [`copy`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Threads that copy.
    pub threads: NonZeroUsize,
    /// Whether blocks are shared.
    pub reflink: Reflink,
    /// Whether a [`CopyRecord`] is made.
    pub witness: Witness,
}

impl Default for CopyOptions {
    /// As many threads as processors (at most eight), reflinks where possible, no record.
    fn default() -> Self {
        let one = NonZeroUsize::MIN;
        let processors = std::thread::available_parallelism().unwrap_or(one);
        Self {
            threads: processors.min(one.saturating_add(7)),
            reflink: Reflink::WherePossible,
            witness: Witness::Omit,
        }
    }
}

impl CopyOptions {
    /// Copies with `threads` threads.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// Says whether blocks may be shared.
    #[must_use]
    pub fn with_reflink(mut self, reflink: Reflink) -> Self {
        self.reflink = reflink;
        self
    }

    /// Says whether a [`CopyRecord`] is made.
    #[must_use]
    pub fn with_witness(mut self, witness: Witness) -> Self {
        self.witness = witness;
        self
    }
}

/// What a copy amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// Names made, the root left out.
    pub entries: u64,
    /// Bytes of content written; shared and skipped stretches left out.
    pub bytes: u64,
    /// Regular files whose blocks are shared with the source.
    pub reflinked: u64,
    /// Names that were linked to a file copied under another name.
    pub links: u64,
    /// What [`Witness::Record`] asks for.
    pub record: Option<CopyRecord>,
}

/// Copies the contents and attributes of the directory `source` into the empty directory `target`.
///
/// Content, holes, types, modes, owners, times in nanoseconds, extended attributes, ACLs and link
/// groups are the same afterwards; inode flags (chattr) are not copied. The source must not be
/// written meanwhile. Nothing is synced.
///
/// # Errors
/// Whatever cannot be copied is an error naming its path; what was copied until then stays.
pub fn copy(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    options: &CopyOptions,
) -> Result<Copied> {
    let trail = Trail::root("copy tree");
    let blame = |(step, errno): (&'static str, Errno)| trail.error(step, c"", errno);
    let root = Folder {
        source: open_folder(source, c".").map_err(blame)?,
        target: open_folder(target, c".").map_err(blame)?,
        stat: rustix::fs::fstat(source)
            .during("read the attributes")
            .map_err(blame)?,
        trail: Arc::clone(&trail),
        above: None,
        unfinished: AtomicUsize::new(1),
    };
    refuse_filled(&root)?;
    make_plain(target).map_err(blame)?;
    let shared = Shared {
        share: AtomicBool::new(options.reflink == Reflink::WherePossible),
        links: Mutex::new(Links::default()),
        device: root.stat.st_dev,
        witness: options.witness,
    };
    let first = Job::Folder(Arc::new(root));
    let copiers = work_off(options.threads, first, || Copier::new(&shared, &trail))?;
    let mut copied = Copied::default();
    let mut rows = Vec::new();
    for copier in copiers {
        copied.entries += copier.copied.entries;
        copied.bytes += copier.copied.bytes;
        copied.reflinked += copier.copied.reflinked;
        rows.extend(copier.rows);
    }
    let links = shared
        .links
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let witness = options.witness == Witness::Record;
    copied.links = links.make(target, witness.then_some(&mut rows))?;
    copied.entries += copied.links;
    copied.record = witness.then(|| CopyRecord::seal(rows));
    Ok(copied)
}

fn refuse_filled(root: &Folder) -> Result<()> {
    let mut names = Names::default();
    names
        .read(&mut DirectoryReader::new(), root.target.as_fd())
        .map_err(|error| {
            root.trail
                .error("read the target", c"", super::inode::errno(&error))
        })?;
    if names.len() == 0 {
        return Ok(());
    }
    let refused = Error::new(ErrorKind::AlreadyExists, "copy tree");
    Err(refused.because("the target is not empty"))
}

/// A directory of the source, and its copy.
#[derive(Debug)]
struct Folder {
    trail: Arc<Trail>,
    above: Option<Arc<Folder>>,
    source: OwnedFd,
    target: OwnedFd,
    stat: Stat,
    /// Jobs that still work in it; whoever ends the last one gives it its attributes.
    unfinished: AtomicUsize,
}

/// Names of one directory that are copied by one thread.
const BATCH: usize = 256;

#[derive(Debug)]
enum Job {
    /// Copy what is in this directory.
    Folder(Arc<Folder>),
    /// Make the directory of this name, and copy what is in it.
    Subfolder(Arc<Folder>, CString),
    /// Copy these names, none of which is a directory.
    Batch(Arc<Folder>, Names),
}

/// What all threads share.
struct Shared {
    share: AtomicBool,
    links: Mutex<Links>,
    device: u64,
    witness: Witness,
}

/// One thread of a copy.
struct Copier<'a> {
    shared: &'a Shared,
    attributes: Attributes,
    contents: Contents<'a>,
    reader: DirectoryReader,
    names: Names,
    copied: Copied,
    rows: Vec<Row>,
}

impl Worker<Job> for Copier<'_> {
    fn work(&mut self, job: Job, queue: &Queue<Job>) -> Result<()> {
        let folder = match job {
            Job::Folder(folder) => {
                self.enter(&folder, queue)?;
                folder
            }
            Job::Subfolder(above, name) => {
                let folder = Arc::new(self.make(above, &name)?);
                self.enter(&folder, queue)?;
                folder
            }
            Job::Batch(folder, names) => {
                self.copy_names(&folder, &names)?;
                folder
            }
        };
        self.leave(folder)
    }
}

impl<'a> Copier<'a> {
    /// To be called on the thread that will copy.
    fn new(shared: &'a Shared, trail: &Trail) -> Result<Self> {
        // With a file mode mask of its own this thread makes files with the very modes that they
        // shall have, and no other thread of the process sees a changed mask.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).map_err(|error| {
            trail.error(
                "leave the shared mask",
                c"",
                Errno::from_raw_os_error(error as i32),
            )
        })?;
        rustix::process::umask(Mode::empty());
        Ok(Self {
            shared,
            attributes: Attributes::new(),
            contents: Contents::new(&shared.share),
            reader: DirectoryReader::new(),
            names: Names::default(),
            copied: Copied::default(),
            rows: Vec::new(),
        })
    }

    fn make(&mut self, above: Arc<Folder>, name: &CStr) -> Result<Folder> {
        let make = || {
            let source = open_folder(above.source.as_fd(), name)?;
            let stat = rustix::fs::fstat(&source).during("read the attributes")?;
            rustix::fs::mkdirat(&above.target, name, Mode::RWXU).during("make the directory")?;
            let target = open_folder(above.target.as_fd(), name)?;
            Ok((source, target, stat))
        };
        let (source, target, stat) =
            make().map_err(|(step, errno)| above.trail.error(step, name, errno))?;
        self.copied.entries += 1;
        Ok(Folder {
            trail: above.trail.below(name),
            above: Some(above),
            source,
            target,
            stat,
            unfinished: AtomicUsize::new(1),
        })
    }

    fn enter(&mut self, folder: &Arc<Folder>, queue: &Queue<Job>) -> Result<()> {
        let mut names = std::mem::take(&mut self.names);
        names
            .read(&mut self.reader, folder.source.as_fd())
            .map_err(|error| {
                let errno = super::inode::errno(&error);
                folder.trail.error("read the directory", c"", errno)
            })?;
        names.sort_by_inode();
        let mut jobs = Vec::new();
        let mut files = Names::default();
        for index in 0..names.len() {
            let Some(name) = names.get(index) else { break };
            let file_type = match name.file_type {
                FileType::Unknown => {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    let stat = rustix::fs::statat(&folder.source, name.text, flags);
                    let blame = |errno| folder.trail.error("read the attributes", name.text, errno);
                    FileType::from_raw_mode(stat.map_err(blame)?.st_mode)
                }
                known => known,
            };
            if file_type == FileType::Directory {
                jobs.push(Job::Subfolder(Arc::clone(folder), name.text.to_owned()));
                continue;
            }
            if files.len() == BATCH {
                jobs.push(Job::Batch(Arc::clone(folder), std::mem::take(&mut files)));
            }
            files.push(name.text, file_type, name.inode);
        }
        self.names = names;
        folder.unfinished.fetch_add(jobs.len(), Ordering::Relaxed);
        queue.extend(jobs.into_iter());
        self.copy_names(folder, &files)
    }

    /// Ends a job in `folder`; the last one finishes it, and perhaps those above.
    fn leave(&mut self, folder: Arc<Folder>) -> Result<()> {
        let mut next = Some(folder);
        while let Some(folder) = next.take() {
            if folder.unfinished.fetch_sub(1, Ordering::AcqRel) > 1 {
                return Ok(());
            }
            let source = Inode::Open(folder.source.as_fd());
            let copy = Made {
                inode: Inode::Open(folder.target.as_fd()),
                mode: 0o700,
            };
            self.attributes
                .list(source)
                .and_then(|_| self.attributes.finish(source, &folder.stat, copy))
                .and_then(|()| self.witness(&folder.stat, folder.target.as_fd(), c""))
                .map_err(|(step, errno)| folder.trail.error(step, c"", errno))?;
            next.clone_from(&folder.above);
        }
        Ok(())
    }

    fn copy_names(&mut self, folder: &Folder, names: &Names) -> Result<()> {
        for name in names.iter() {
            let copied = if name.file_type == FileType::RegularFile {
                self.copy_file(folder, name.text)
            } else {
                self.copy_other(folder, name.text)
            };
            copied.map_err(|(step, errno)| folder.trail.error(step, name.text, errno))?;
        }
        Ok(())
    }

    /// Whether `name` is to be copied, not linked to a copy.
    fn is_first(&self, folder: &Folder, name: &CStr, stat: &Stat) -> bool {
        stat.st_nlink == 1
            || Links::meet(&self.shared.links, &folder.trail, name, stat) == Turn::First
    }

    fn copy_file(&mut self, folder: &Folder, name: &CStr) -> Step<()> {
        let source =
            open_quietly(folder.source.as_fd(), name, OFlags::NONBLOCK).during("open the file")?;
        let stat = rustix::fs::fstat(&source).during("read the attributes")?;
        if !self.is_first(folder, name, &stat) {
            return Ok(());
        }
        let from = Inode::Open(source.as_fd());
        let mut mode = stat.st_mode & 0o777;
        if self.attributes.list(from)? {
            mode |= 0o600; // setting attributes may take the right to write
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let target = rustix::fs::openat(&folder.target, name, flags, Mode::from_raw_mode(mode))
            .during("make the file")?;
        let files = Files {
            source: source.as_fd(),
            target: target.as_fd(),
        };
        match self.contents.copy(files, &stat)? {
            Content::Shared => self.copied.reflinked += 1,
            Content::Written(bytes) => self.copied.bytes += bytes,
        }
        let copy = Made {
            inode: Inode::Open(target.as_fd()),
            mode,
        };
        self.attributes.finish(from, &stat, copy)?;
        self.copied.entries += 1;
        self.witness(&stat, target.as_fd(), c"")
    }

    /// Copies a symbolic link, device, pipe or socket.
    fn copy_other(&mut self, folder: &Folder, name: &CStr) -> Step<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = rustix::fs::statat(&folder.source, name, flags).during("read the attributes")?;
        if !self.is_first(folder, name, &stat) {
            return Ok(());
        }
        let mode = stat.st_mode & 0o777;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(&folder.source, name, Vec::new())
                    .during("read the link")?;
                rustix::fs::symlinkat(&link, &folder.target, name).during("make the link")?;
            }
            other => {
                let mode = Mode::from_raw_mode(mode);
                rustix::fs::mknodat(&folder.target, name, other, mode, stat.st_rdev)
                    .during("make the node")?;
            }
        }
        let from = Inode::Named(folder.source.as_fd(), name);
        let copy = Made {
            inode: Inode::Named(folder.target.as_fd(), name),
            mode,
        };
        self.attributes.list(from)?;
        self.attributes.finish(from, &stat, copy)?;
        self.copied.entries += 1;
        self.witness(&stat, folder.target.as_fd(), name)
    }

    /// Records how the copy of `source` was left.
    fn witness(&mut self, source: &Stat, directory: BorrowedFd<'_>, name: &CStr) -> Step<()> {
        if self.shared.witness == Witness::Omit || source.st_dev != self.shared.device {
            return Ok(());
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let stat =
            rustix::fs::statat(directory, name, flags).during("read the copy's attributes")?;
        self.rows.push(Row::new(source.st_ino, &stat));
        Ok(())
    }
}

fn open_folder(directory: BorrowedFd<'_>, name: &CStr) -> Step<OwnedFd> {
    open_quietly(directory, name, OFlags::DIRECTORY).during("open the directory")
}

/// Opens for reading, without a new access time where the caller may ask for that (`O_NOATIME`
/// takes the owner or `CAP_FOWNER`).
fn open_quietly(directory: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(directory, name, flags, Mode::empty()),
        other => other,
    }
}
