//! A store, open: its facts, its blobs, and who is using it.

use crate::blobs::{BlobReader, Fetch, Started};
use crate::facts::schema::sync_directory;
use crate::facts::{Facts, Freed, Kind, NewImage, schema};
use crate::ids::Digest;
use crate::layout::Layout;
use crate::phase::Phase;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use strata_driver::holder::{self, Holder};
use strata_driver::{Bytes, Durability, Error, ErrorKind, Result};
use strata_sys::lock::FileLock;

/// Largest document (manifest, index, configuration) that is read into memory, 4 MiB as in
/// Docker's and containerd's clients.
pub const LARGEST_DOCUMENT: u64 = 4 << 20;

/// A layer and image store.
///
/// Several processes may have it open. What one is using is leased to it, and safe from the
/// others' removals until it closes the store or dies.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    durability: Durability,
    facts: Facts,
    /// Registered with the first lease: who only looks leaves no trace.
    holder: OnceLock<Holder>,
    registering: Mutex<()>,
    /// Held while the driver is used.
    uses_driver: Mutex<Option<FileLock>>,
    /// Something is left that only a recovery finds.
    has_left: AtomicBool,
}

/// A blob that is to be had.
#[derive(Debug)]
pub enum BlobSource {
    /// It is in its place.
    Ready(BlobReader),
    /// It is on its way, and this caller is to write it.
    Fetch(Fetch),
    /// Somebody else is writing it right now.
    Elsewhere,
}

impl Store {
    /// Opens the store at `root`, or makes an empty one there. Blocking.
    pub fn open(root: &Path, durability: Durability) -> Result<Self> {
        let layout = Layout::new(root);
        let database = schema::open_or_make(&layout, durability)?;
        Ok(Self {
            layout,
            durability,
            facts: Facts { database },
            holder: OnceLock::new(),
            registering: Mutex::new(()),
            uses_driver: Mutex::new(None),
            has_left: AtomicBool::new(false),
        })
    }

    /// Whether there is a store at `root`.
    pub fn is_at(root: &Path) -> Result<bool> {
        schema::exists(&Layout::new(root))
    }

    /// Its paths.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What survives when a call has returned.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Its facts.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The name under which this instance leases.
    pub(crate) fn holder(&self) -> Result<&str> {
        if let Some(holder) = self.holder.get() {
            return Ok(holder.name());
        }
        let _turn = self
            .registering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.holder.get().is_none() {
            let holder = Holder::register(self.layout.root())?;
            if self.durability == Durability::Durable {
                // What asks for a recovery after a power loss has to survive it.
                sync_directory(&self.layout.root().join(holder::HOLDERS))
                    .map_err(|error| Error::io("register instance", error))?;
            }
            drop(self.holder.set(holder)); // the lock keeps others away
        }
        Ok(self.holder.get().map_or("", Holder::name))
    }

    /// Makes this instance known: should it die from now on, the next one recovers.
    pub fn register(&self) -> Result<()> {
        self.holder().map(drop)
    }

    /// Something could not be put in order, as on a full disk. The instance ends as if it had
    /// died, so that the next one recovers.
    pub(crate) fn leave_to_recovery(&self) {
        self.has_left.store(true, Ordering::Relaxed);
    }

    /// From now on the driver's root stays where it is, until this store is closed. While somebody
    /// moves it that is [`Busy`](ErrorKind::Busy).
    pub fn use_driver(&self) -> Result<()> {
        let Some(lock) = FileLock::try_shared(&self.layout.blobs())? else {
            return Err(Error::new(ErrorKind::Busy, "open store")
                .because("its layers are being moved to another driver")
                .hint("try again when `strata migrate` has ended"));
        };
        *self.uses() = Some(lock);
        Ok(())
    }

    /// The driver's root is nobody else's while the lock is held; `None` while somebody uses it.
    pub(crate) fn use_driver_alone(&self) -> Result<Option<FileLock>> {
        drop(self.uses().take());
        Ok(FileLock::try_exclusive(&self.layout.blobs())?)
    }

    fn uses(&self) -> MutexGuard<'_, Option<FileLock>> {
        self.uses_driver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the instance of that name is gone.
    pub(crate) fn is_gone(&self, name: &str) -> Result<bool> {
        holder::is_gone(self.layout.root(), name)
    }

    /// Whether another instance that lives has leases.
    pub(crate) fn has_others(&self) -> Result<bool> {
        let own = self.holder.get().map(Holder::name);
        for holder in self.facts.holders()? {
            if Some(holder.as_str()) != own && !self.is_gone(&holder)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A blob, or the right to bring it. From now on it is leased to this instance. Blocking: what
    /// came of it before is hashed.
    pub fn blob(&self, digest: &Digest, size: Bytes) -> Result<BlobSource> {
        if self.keep_blob(digest)? {
            return Ok(BlobSource::Ready(self.open_blob(digest)?));
        }
        match Fetch::start(&self.layout, *digest, size)? {
            Started::Elsewhere => Ok(BlobSource::Elsewhere),
            Started::Here(fetch) => {
                // Whoever wrote it may have finished between the two questions.
                if self.keep_blob(digest)? {
                    return Ok(BlobSource::Ready(self.open_blob(digest)?));
                }
                Ok(BlobSource::Fetch(fetch))
            }
        }
    }

    /// Keeps a blob that is in its place from being removed while this instance lives; whether it
    /// is there.
    pub fn keep_blob(&self, digest: &Digest) -> Result<bool> {
        use crate::facts::Taken;
        loop {
            match self
                .facts
                .take(self.holder()?, Kind::Blob, digest.as_bytes())?
            {
                Taken::Held => return Ok(true),
                Taken::Absent => return Ok(false),
                Taken::Going => self.sweep_blobs()?,
            }
        }
    }

    /// Finishes a fetch: the blob is verified, in its place, and known. Blocking.
    pub fn finish(&self, fetch: Fetch) -> Result<()> {
        let (digest, size) = (fetch.digest(), fetch.size());
        let _phase = Phase::Fetch.enter();
        // It may be in its place all the same, and known to nobody.
        fetch
            .finish(self.durability)
            .and_then(|()| self.facts.add_blob(&digest, size))
            .inspect_err(|_| self.leave_to_recovery())
    }

    /// Puts a small blob into its place. Blocking: while somebody else writes it, and until
    /// `is_ended` says that nobody waits for it any more.
    pub fn put_document(&self, bytes: &[u8], is_ended: &dyn Fn() -> bool) -> Result<Digest> {
        let digest = Digest::of(bytes);
        loop {
            match self.blob(&digest, Bytes(bytes.len() as u64))? {
                BlobSource::Ready(_) => return Ok(digest),
                BlobSource::Elsewhere if is_ended() => {
                    return Err(Error::new(ErrorKind::Other, "put document")
                        .because("interrupted while somebody else writes the same")
                        .with("blob", digest));
                }
                BlobSource::Elsewhere => std::thread::sleep(std::time::Duration::from_millis(2)),
                BlobSource::Fetch(mut fetch) => {
                    fetch.restart()?;
                    fetch.write(bytes)?;
                    self.finish(fetch)?;
                    return Ok(digest);
                }
            }
        }
    }

    /// Reads a manifest, an index or a configuration, and verifies it. Blocking.
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        const OPERATION: &str = "read document";
        let mut bytes = Vec::new();
        self.open_blob(digest)?
            .take(LARGEST_DOCUMENT + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io(OPERATION, error).with("blob", digest))?;
        if bytes.len() as u64 > LARGEST_DOCUMENT || Digest::of(&bytes) != *digest {
            return Err(Error::new(ErrorKind::Corrupt, OPERATION)
                .because("its bytes are not those that its digest names")
                .with("blob", digest)
                .hint("`strata check --repair` says what can be made good"));
        }
        Ok(bytes)
    }

    /// Opens a blob that is in its place.
    pub fn open_blob(&self, digest: &Digest) -> Result<BlobReader> {
        File::open(self.layout.blob(digest))
            .map(BlobReader::whole)
            .map_err(|error| Error::io("open blob", error).with("blob", digest))
    }

    /// Notes an image, all of whose layers and blobs are there, with its names: the commit point
    /// of a pull. What each name meant before.
    pub fn add_image(&self, image: &NewImage) -> Result<Vec<Option<Digest>>> {
        self.facts.add_image(image)
    }

    /// Removes an image with its names, of which the caller knows so many. What it alone took is doomed; [`sweep`](Self::sweep)
    /// deletes it.
    pub fn remove_image(&self, id: &Digest, names: usize) -> Result<Freed> {
        self.facts.remove_image(id, names)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let Some(holder) = self.holder.take() else {
            return;
        };
        if let Err(error) = self.facts.release(holder.name()) {
            tracing::warn!(error = %error.chain(), "leases left to the next recovery");
            self.leave_to_recovery();
        }
        if self.has_left.load(Ordering::Relaxed) {
            holder.leave();
        }
    }
}
