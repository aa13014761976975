//! Applying a changeset to a directory, confined to it.
//!
//! [`apply`] reads a layer and makes the directory that a driver hands it say what the layer says.
//! How "hide what lies below" is stored is the driver's [`Placement`]; everything else, the
//! confinement above all, is the same for every driver. The rules stand in `docs/formats.md`.
//!
//! Nothing is synced here: durability is the business of the driver, once for the whole layer.

mod attributes;
mod content;
mod entries;
mod error;
pub(crate) mod first;
mod hide;
mod parents;
mod pipeline;
mod placement;
mod record;

use crate::changeset::entry::{OPAQUE_NAME, WHITEOUT_PREFIX};
use crate::changeset::{BLOCK, Decoder, Event, Item, Limits};
use crate::error::{Error, Result};
use crate::options::{ApplyObserver, ApplyOptions};
use crate::snapshot::Applied;
use entries::OpenFile;
use error::{OPERATION, Step as _};
use parents::ParentCache;
use pipeline::Blocks;
use record::Record;
use rustix::fs::{Mode, OFlags};
use std::io::Read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

pub use placement::{Below, DirectoryAttributes, Placement, PlainPlacement, Purpose};

/// Where a changeset is applied.
pub struct ApplyTarget<'a> {
    /// The directory that becomes the layer's root; open for reading, or with `O_PATH`.
    pub root: BorrowedFd<'a>,
    /// How what lies below is looked up and hidden.
    pub placement: &'a mut dyn Placement,
}

impl std::fmt::Debug for ApplyTarget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplyTarget")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// Applies `changeset` to `target`, from its first byte to its last.
///
/// Blocks; call it off the async threads. The stream is read and hashed on a second thread, and
/// always to its end. Directories keep or get the times that the rules give them, the root keeps
/// its own.
///
/// # Errors
/// What stood in the target is then half changed: it is good for removal only.
/// - [`InvalidInput`](crate::ErrorKind::InvalidInput): the changeset is malformed or refused.
/// - [`NoSpace`](crate::ErrorKind::NoSpace): the file system or the quota is full.
/// - [`PermissionDenied`](crate::ErrorKind::PermissionDenied): the kernel refused an owner, a
///   device or an attribute.
/// - the reader's own error, and [`Other`](crate::ErrorKind::Other).
///
/// All name the `entry` and the `offset` in the stream.
pub fn apply(
    target: ApplyTarget<'_>,
    changeset: Box<dyn Read + Send>,
    options: &ApplyOptions,
) -> Result<Applied> {
    let span = tracing::Span::current();
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("apply".into())
            .spawn_scoped(scope, || span.in_scope(|| run(target, changeset, options)))
            .map_err(|error| Error::io(OPERATION, error).because("cannot start a thread"))?;
        match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The state of one apply.
struct Applier<'a> {
    root: OwnedFd,
    placement: &'a mut dyn Placement,
    process: Process,
    record: Record,
    parents: ParentCache,
}

/// What the process gives to everything that it makes.
struct Process {
    uid: u32,
    gid: u32,
    /// Whether modes come out as asked for: no mask takes bits away.
    exact_modes: bool,
}

impl Process {
    /// Frees the calling thread, which must be one of our own, from the mask that all threads of
    /// a process share.
    ///
    /// That saves a system call per file. Where it is forbidden (a seccomp filter), modes are set
    /// one by one.
    fn unmask() -> Self {
        let exact_modes = nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).is_ok();
        if exact_modes {
            rustix::process::umask(Mode::empty());
        }
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            exact_modes,
        }
    }
}

type Observer = Option<Arc<Mutex<dyn ApplyObserver>>>;

fn observe(observer: &Observer, see: impl FnOnce(&mut dyn ApplyObserver)) {
    if let Some(observer) = observer {
        see(&mut *observer.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn run(
    target: ApplyTarget<'_>,
    changeset: Box<dyn Read + Send>,
    options: &ApplyOptions,
) -> Result<Applied> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let ApplyTarget { root, placement } = target;
    let root = rustix::fs::openat(root, ".", flags, Mode::empty())
        .step("cannot open the root of the layer")?;
    let mut applier = Applier {
        root,
        placement,
        process: Process::unmask(),
        record: Record::default(),
        parents: ParentCache::default(),
    };
    // The root's own time is no part of a layer, so it comes back whatever happens inside.
    let root = applier.duplicate_root()?;
    applier.note_directory(b"", root.as_fd())?;
    let mut blocks = Blocks::read(changeset)?;
    let entries = applier.consume(&mut blocks, &options.observer)?;
    applier.finish_directories()?;
    let (diff_id, size) = blocks
        .outcome()
        .expect("the blocks have been read to their end");
    Ok(Applied {
        diff_id,
        size,
        entries,
    })
}

/// Which item is at hand, for errors.
#[derive(Default)]
struct Current {
    path: Vec<u8>,
    offset: u64,
}

impl Current {
    fn set(&mut self, item: &Item, offset: u64) {
        self.offset = offset;
        self.path.clear();
        match item {
            Item::Entry(entry) => self.path.extend_from_slice(entry.path.as_bytes()),
            Item::Whiteout { directory, name } => {
                self.path = record::join(directory.as_bytes(), WHITEOUT_PREFIX);
                self.path.extend_from_slice(name);
            }
            Item::Opaque { directory } => {
                self.path = record::join(directory.as_bytes(), OPAQUE_NAME);
            }
        }
    }

    fn name(&self, error: Error) -> Error {
        error
            .with("entry", self.path.escape_ascii())
            .with("offset", self.offset)
    }
}

impl Applier<'_> {
    /// Applies the whole stream and counts its entries and whiteouts.
    fn consume(&mut self, blocks: &mut Blocks, observer: &Observer) -> Result<u64> {
        let mut decoder = Decoder::new(Limits::default());
        let mut current = Current::default();
        let mut open: Option<OpenFile> = None;
        let mut entries = 0;
        while let Some(block) = blocks.next()? {
            let mut rest = block.as_slice();
            loop {
                let step = decoder.advance(rest).map_err(error::codec)?;
                let (bytes, after) = rest.split_at(step.consumed);
                rest = after;
                if let Event::Data { offset } = step.event {
                    observe(observer, |observer| observer.data(bytes));
                    if let Some(open) = &mut open {
                        open.write(offset, bytes)
                            .map_err(|error| current.name(error))?;
                    }
                    continue;
                }
                if !bytes.is_empty() {
                    observe(observer, |observer| observer.raw(bytes));
                }
                match step.event {
                    Event::NeedMore => break,
                    Event::Item(item) => {
                        observe(observer, |observer| observer.item(&item));
                        entries += 1;
                        current.set(&item, decoder.offset() - BLOCK as u64);
                        open = self.item(item).map_err(|error| current.name(error))?;
                    }
                    Event::EndOfEntry => {
                        if let Some(open) = open.take() {
                            self.finish_file(open)
                                .map_err(|error| current.name(error))?;
                        }
                    }
                    Event::Data { .. } | Event::Hole { .. } | Event::Skipped(_) | Event::End => {}
                }
            }
            blocks.recycle(block);
        }
        decoder.finish().map_err(error::codec)?;
        Ok(entries)
    }

    fn item(&mut self, item: Item) -> Result<Option<OpenFile>> {
        match item {
            Item::Entry(entry) => self.entry(entry),
            Item::Whiteout { directory, name } => {
                self.whiteout(directory.as_bytes(), &name).map(|()| None)
            }
            Item::Opaque { directory } => self.opaque(directory.as_bytes()).map(|()| None),
        }
    }
}
