//! Bringing an image's layers into the store: blobs are fetched, unpacked and verified side by
//! side, and layers committed in their order.
//!
//! A layer is unpacked while its blob comes, and committed when blob and tar are both verified.
//! Where the driver takes a parent late, layers are unpacked side by side as well.

mod fetch;

pub use fetch::{RegistrySource, Source};

use crate::document::Layer;
use crate::packing::unpacked;
use crate::progress::{Progress, Stage};
use crate::{ImageError, Result};
use fetch::{Arrival, Fetching};
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use strata_driver::{DiffId, Error, ErrorKind};
use strata_store::{BlobReader, ChainId, Digest, Draft, Layers, Place, Tar};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Blobs that are fetched at once, as many as Docker's default.
const FETCHES_AT_ONCE: usize = 3;

/// A layer of an image that is to be in the store.
#[derive(Clone)]
pub struct Planned {
    /// The digest of its tar, as the image's configuration says.
    pub diff: DiffId,
    /// What it is told by.
    pub id: String,
    /// Where its tar is.
    pub from: From,
}

/// Where the tar of a layer is.
#[derive(Clone)]
pub enum From {
    /// In a blob, which is kept.
    Blob(Layer),
    /// Here, as it is.
    Tar(Tar),
}

impl std::fmt::Debug for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blob(layer) => f.debug_tuple("Blob").field(layer).finish(),
            Self::Tar(_) => f.write_str("Tar"),
        }
    }
}

impl std::fmt::Debug for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planned")
            .field("diff", &self.diff)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Ends work early: told once, heard by all who have a copy.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    is_cancelled: Arc<AtomicBool>,
    notify: Arc<tokio::sync::Notify>,
}

impl Cancel {
    /// Ends it.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.notify.notify_waiters();
    }

    /// Whether it was ended.
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    /// Waits until it is ended.
    pub async fn cancelled(&self) {
        loop {
            let told = self.notify.notified();
            if self.is_cancelled() {
                return;
            }
            told.await;
        }
    }
}

/// Brings layers and blobs of one image.
#[derive(Clone)]
pub struct Installer {
    layers: Layers,
    source: Arc<dyn Source>,
    progress: Arc<dyn Progress>,
    cancel: Cancel,
}

impl std::fmt::Debug for Installer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installer")
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

impl Installer {
    /// Brings from `source` into `layers`.
    pub fn new(layers: Layers, source: Arc<dyn Source>) -> Self {
        Self {
            layers,
            source,
            progress: Arc::new(crate::progress::Silent),
            cancel: Cancel::default(),
        }
    }

    /// Tells `progress` what happens.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Ends early when `cancel` says so.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Brings one blob without unpacking it.
    pub async fn blob(&self, blob: &crate::document::Descriptor) -> Result<()> {
        let (started, _) = watch::channel(None);
        let fetching = Fetching {
            installer: self.clone(),
            turns: Arc::new(Semaphore::new(1)),
            id: None,
        };
        tokio::select! {
            outcome = fetching.run(blob.clone(), &started) => outcome,
            () = self.cancel.cancelled() => Err(interrupted().into()),
        }
    }

    /// Brings the layers of an image, base first; their chains.
    ///
    /// # Errors
    /// The first failure. Then the layers that were committed stay for the next try, as do blobs
    /// and what has come of them; nothing else does.
    pub async fn layers(&self, planned: &[Planned]) -> Result<Vec<ChainId>> {
        let mut chains: Vec<ChainId> = Vec::new();
        let mut missing = planned.len();
        for (at, layer) in planned.iter().enumerate() {
            let chain = ChainId::of(chains.last().copied(), layer.diff);
            chains.push(chain);
            if missing < planned.len() {
                continue;
            }
            // Its blob first: an image that is removed meanwhile would take it along, and what
            // has a layer without its blob cannot be pushed as it came.
            if let From::Blob(Layer { descriptor, .. }) = &layer.from {
                let (store, digest) = (Arc::clone(self.layers.store()), descriptor.digest);
                strata_driver::blocking(move || store.keep_blob(&digest)).await?;
            }
            // One that has lost its journal is brought anew, and with it the journal.
            let found = self.layers.find(&chain).await?;
            if found.is_some_and(|row| self.layers.is_whole(&row)) {
                self.progress.layer(&layer.id, Stage::AlreadyExists);
            } else {
                missing = at;
            }
        }
        if missing < planned.len() {
            let below = missing.checked_sub(1).map(|at| chains[at]);
            self.bring(below, &planned[missing..]).await?;
        }
        Ok(chains)
    }

    /// Brings layers that are not there upon `below`, which is.
    async fn bring(&self, below: Option<ChainId>, planned: &[Planned]) -> Result<()> {
        for layer in planned {
            self.progress.layer(&layer.id, Stage::Pulling);
        }
        // Ends what this call began; told by the caller's or by a failure.
        let stop = Cancel::default();
        let mut fetches = JoinSet::new();
        let failed = Failed::default();
        let arrivals = self.fetch_all(planned, &mut fetches, &failed);
        let work = self.unpack_all(below, planned, arrivals, &stop);
        tokio::pin!(work);
        let mut is_over = false;
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                Some(one) = fetches.join_next(), if !fetches.is_empty() => {
                    if one.is_err() {
                        failed.note(interrupted().into());
                    }
                }
                () = self.cancel.cancelled(), if !is_over => failed.note(interrupted().into()),
            }
            if failed.is_any() && !is_over {
                is_over = true;
                stop.cancel();
                fetches.abort_all();
            }
        };
        fetches.shutdown().await;
        // What failed first is why the rest did.
        match (failed.take(), outcome) {
            (Some(failure), _) => Err(failure),
            (None, outcome) => outcome,
        }
    }

    /// Starts to fetch each blob once; where the layers' blobs will arrive.
    fn fetch_all(
        &self,
        planned: &[Planned],
        fetches: &mut JoinSet<()>,
        failed: &Failed,
    ) -> Vec<Option<Arrival>> {
        let turns = Arc::new(Semaphore::new(FETCHES_AT_ONCE));
        let mut known: HashMap<Digest, Arrival> = HashMap::new();
        planned
            .iter()
            .map(|layer| {
                let From::Blob(Layer { descriptor, .. }) = &layer.from else {
                    return None;
                };
                let arrival = known.entry(descriptor.digest).or_insert_with(|| {
                    let (started, arrival) = watch::channel(None);
                    let fetching = Fetching {
                        installer: self.clone(),
                        turns: Arc::clone(&turns),
                        id: Some(layer.id.clone()),
                    };
                    let (blob, failed) = (descriptor.clone(), failed.clone());
                    fetches.spawn(async move {
                        if let Err(error) = fetching.run(blob, &started).await {
                            failed.note(error);
                        }
                        drop(started); // who waits for it finds the failure noted
                    });
                    arrival
                });
                Some(arrival.clone())
            })
            .collect()
    }

    async fn unpack_all(
        &self,
        below: Option<ChainId>,
        planned: &[Planned],
        arrivals: Vec<Option<Arrival>>,
        stop: &Cancel,
    ) -> Result<()> {
        let apart = self.layers.can_apply_apart();
        let turns = Arc::new(Semaphore::new(
            available_parallelism().map_or(2, usize::from).max(2),
        ));
        let mut drafts: Vec<Option<JoinHandle<Result<Draft>>>> = Vec::new();
        let mut waiting: Vec<Option<Unpacking>> = Vec::new();
        for (layer, arrival) in planned.iter().zip(arrivals) {
            let unpacking = Unpacking {
                installer: self.clone(),
                layer: layer.clone(),
                arrival,
                stop: stop.clone(),
            };
            if apart {
                let turns = Arc::clone(&turns);
                drafts.push(Some(tokio::spawn(unpacking.run(None, Some(turns)))));
                waiting.push(None);
            } else {
                drafts.push(None);
                waiting.push(Some(unpacking));
            }
        }
        let mut parent = below;
        let mut outcome = Ok(());
        for (at, layer) in planned.iter().enumerate() {
            let committed = match (drafts[at].take(), waiting[at].take()) {
                (Some(draft), _) => match draft.await {
                    Ok(draft) => self.commit(draft, layer, parent).await,
                    Err(_) => Err(interrupted().into()),
                },
                // In a task of its own: it holds up the thread that it runs on, and this one is
                // to hear of failures and of being ended.
                (None, Some(unpacking)) => match tokio::spawn(unpacking.run(parent, None)).await {
                    Ok(draft) => self.commit(draft, layer, parent).await,
                    Err(_) => Err(interrupted().into()),
                },
                (None, None) => Ok(parent),
            };
            match committed {
                Ok(chain) => parent = chain,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if outcome.is_err() {
            stop.cancel();
            for draft in drafts.into_iter().flatten() {
                if let Ok(Ok(draft)) = draft.await
                    && let Err(error) = self.layers.discard(draft).await
                {
                    // The failure that came first is told; this one is the next recovery's.
                    tracing::warn!(error = %error.chain(), "half-made layer left behind");
                }
            }
        }
        outcome
    }

    async fn commit(
        &self,
        draft: Result<Draft>,
        layer: &Planned,
        parent: Option<ChainId>,
    ) -> Result<Option<ChainId>> {
        let blob = match &layer.from {
            From::Blob(layer) => Some(layer.descriptor.digest),
            From::Tar(_) => None,
        };
        let row = self.layers.commit(draft?, Place { parent, blob }).await?;
        self.progress.layer(&layer.id, Stage::Pulled);
        Ok(Some(row.chain))
    }
}

/// Whether it may be the bytes that are wrong, and not the place where they go.
fn is_of_bytes(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::Corrupt | ErrorKind::Other
    )
}

/// The failure of a fetch that came first.
#[derive(Clone, Default)]
struct Failed(Arc<Mutex<Option<ImageError>>>);

impl Failed {
    fn note(&self, error: ImageError) {
        self.first().get_or_insert(error);
    }

    fn is_any(&self) -> bool {
        self.first().is_some()
    }

    fn take(&self) -> Option<ImageError> {
        self.first().take()
    }

    fn first(&self) -> MutexGuard<'_, Option<ImageError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One layer on its way from a blob into a snapshot.
struct Unpacking {
    installer: Installer,
    layer: Planned,
    arrival: Option<Arrival>,
    stop: Cancel,
}

impl Unpacking {
    async fn run(
        mut self,
        parent: Option<ChainId>,
        turns: Option<Arc<Semaphore>>,
    ) -> Result<Draft> {
        let blob = match &mut self.arrival {
            Some(arrival) => Some(fetch::arrived(arrival).await?),
            None => None,
        };
        // Taken once there is something to do, in the order in which blobs come.
        let _turn = match turns {
            Some(turns) => Some(turns.acquire_owned().await.map_err(|_| interrupted())?),
            None => None,
        };
        let layers = self.installer.layers.clone();
        let diff = self.layer.diff;
        let (arrival, stop) = (self.arrival.take(), self.stop.clone());
        let tar = self.tar(blob);
        let applied = layers.apply(diff, parent.as_ref(), tar).await;
        if let (Err(error), Some(arrival)) = (&applied, arrival)
            && is_of_bytes(error)
        {
            // Whether these were the right bytes is known when all have come.
            tokio::select! {
                () = fetch::ended(arrival) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(applied?)
    }

    /// The layer's tar, as often as it is asked for.
    fn tar(self, blob: Option<BlobReader>) -> Tar {
        match (self.layer.from, blob) {
            (From::Blob(layer), Some(blob)) => {
                let id = self.layer.id;
                let progress = self.installer.progress;
                Arc::new(move || {
                    let watched = Watched {
                        blob: blob.clone(),
                        size: layer.descriptor.size,
                        id: id.clone(),
                        progress: Arc::clone(&progress),
                        stop: self.stop.clone(),
                    };
                    Ok(Box::new(unpacked(watched, layer.compression)))
                })
            }
            (From::Tar(tar), _) => {
                let stop = self.stop;
                Arc::new(move || {
                    Ok(Box::new(Stoppable {
                        tar: tar()?,
                        stop: stop.clone(),
                    }))
                })
            }
            (From::Blob(_), None) => Arc::new(|| Err(interrupted())),
        }
    }
}

/// A blob that is read by an unpacking: progress is told, and it ends early when told to.
struct Watched {
    blob: BlobReader,
    size: u64,
    id: String,
    progress: Arc<dyn Progress>,
    stop: Cancel,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        let read = self.blob.read(buffer)?;
        self.progress
            .layer(&self.id, Stage::Extracting(self.blob.position(), self.size));
        Ok(read)
    }
}

struct Stoppable {
    tar: Box<dyn Read + Send>,
    stop: Cancel,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        self.tar.read(buffer)
    }
}

/// What work that was told to end answers.
pub(crate) fn interrupted() -> Error {
    Error::new(ErrorKind::Other, "bring image").because("interrupted")
}
