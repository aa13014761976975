//! Layers: applied with their journals, committed in order, found again.

use crate::facts::schema::sync_directory;
use crate::facts::{Kind, LayerRow, Taken};
use crate::ids::{ChainId, Digest};
use crate::journal::{Inline, JournalWriter, Written, write_again};
use crate::phase::Phase;
use crate::store::Store;
use crate::sweep::Journals;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use strata_driver::{
    Applied, ApplyObserver, ApplyOptions, Bytes, Capability, ChangesetSource, CommitOptions,
    DiffId, Durability, Error, ErrorKind, Labels, PrepareOptions, Result, SnapshotInfo,
    SnapshotKind, SnapshotName, StorageDriver, blocking,
};

/// Labels of a layer's snapshot; by them a layer without a row is known again.
mod label {
    pub(super) const DIFF: &str = "strata.diff";
    pub(super) const SIZE: &str = "strata.size";
    pub(super) const CONTENTS: &str = "strata.contents";
    pub(super) const BLOB: &str = "strata.blob";
}

/// What the key of a layer's snapshot begins with while it is applied.
const EXTRACT: &str = "extract";
/// What the key of a look at a layer begins with.
const LOOK: &str = "look";

/// Gives the layer's tar from its beginning; asked again where a second pass is needed.
pub type Tar = Arc<dyn Fn() -> Result<Box<dyn Read + Send>> + Send + Sync>;

/// A layer that is applied and verified, and not yet committed.
#[derive(Debug)]
#[must_use = "it is to be committed or discarded"]
pub struct Draft {
    key: SnapshotName,
    applied: Applied,
    contents: Bytes,
    journal: PathBuf,
    /// Applied upon nothing: its parent comes with the commit.
    was_apart: bool,
}

/// Where a layer belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The layer that it stands on.
    pub parent: Option<ChainId>,
    /// The blob that it came from.
    pub blob: Option<Digest>,
}

/// The layers of a store, in its driver.
#[derive(Clone, Debug)]
pub struct Layers {
    pub(crate) store: Arc<Store>,
    pub(crate) driver: Arc<dyn StorageDriver>,
}

impl Layers {
    /// The layers of `store`, in `driver`, whose root is the store's.
    pub fn new(store: Arc<Store>, driver: Arc<dyn StorageDriver>) -> Self {
        Self { store, driver }
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The driver.
    pub fn driver(&self) -> &Arc<dyn StorageDriver> {
        &self.driver
    }

    /// Whether layers can be applied side by side, each before what lies below it is there.
    pub fn can_apply_apart(&self) -> bool {
        self.driver.capabilities().has(Capability::LateParent)
    }

    /// A layer that is there already; it is leased to this instance from now on.
    pub async fn find(&self, chain: &ChainId) -> Result<Option<LayerRow>> {
        loop {
            let holder = self.store.holder()?;
            match self
                .store
                .facts()
                .take(holder, Kind::Layer, chain.as_bytes())?
            {
                Taken::Held => return self.store.facts().layer(chain),
                Taken::Absent => return self.adopt(chain).await,
                Taken::Going => drop(self.sweep().await?),
            }
        }
    }

    /// Whether a layer has its journal, without which it cannot be written again.
    pub fn is_whole(&self, layer: &LayerRow) -> bool {
        self.store.layout().journal(layer.diff).exists()
    }

    /// The blob that a layer came from, where its snapshot says so.
    pub async fn blob_of(&self, chain: &ChainId) -> Result<Option<Digest>> {
        let info = self.driver.stat(&name_of(chain)).await?;
        Ok(blob_of(&info))
    }

    /// Takes in a committed snapshot whose row was lost.
    pub(crate) async fn adopt(&self, chain: &ChainId) -> Result<Option<LayerRow>> {
        match self.driver.stat(&name_of(chain)).await {
            Ok(info) => {
                let Some(row) = row_of(&info) else {
                    return Ok(None);
                };
                self.store.facts().add_layer(&row)?;
                Ok(Some(row))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Applies a layer upon `parent`, or upon nothing, and verifies it.
    ///
    /// # Errors
    /// Those of the driver's `apply`, and [`Corrupt`](ErrorKind::Corrupt) for a tar that has
    /// another digest. Nothing is left then.
    pub async fn apply(&self, diff: DiffId, parent: Option<&ChainId>, tar: Tar) -> Result<Draft> {
        let _phase = Phase::Extract.enter();
        let name = self.own_name(EXTRACT)?;
        let journal = self.store.layout().fetches().join(name.as_str());
        let was_apart = parent.is_none();
        let parent = parent.map(name_of);
        self.driver
            .prepare(&name, parent.as_ref(), &PrepareOptions::default())
            .await?;
        let draft = match self.fill(&name, &journal, tar).await {
            Ok((applied, contents)) => Draft {
                key: name,
                applied,
                contents,
                journal,
                was_apart,
            },
            Err(error) => {
                let error = told(error, diff);
                return Err(self.undo(&name, &journal, error).await);
            }
        };
        if draft.applied.diff_id == diff {
            return Ok(draft);
        }
        let error = Error::new(ErrorKind::Corrupt, "apply layer")
            .because("the layer is not the one that the image's configuration names")
            .with("expected", diff)
            .with("found", draft.applied.diff_id);
        Err(self.undo(&draft.key, &draft.journal, error).await)
    }

    async fn fill(
        &self,
        key: &SnapshotName,
        journal: &std::path::Path,
        tar: Tar,
    ) -> Result<(Applied, Bytes)> {
        const OPERATION: &str = "write journal";
        let io = |error| Error::io(OPERATION, error);
        let make = {
            let journal = journal.to_owned();
            move |inline| {
                let file = std::fs::File::create(&journal).map_err(io)?;
                Ok::<_, Error>((file.try_clone().map_err(io)?, file, inline))
            }
        };
        let (kept, file, inline) = make(Inline::Known)?;
        let writer = Arc::new(Mutex::new(Some(
            JournalWriter::new(file, inline).map_err(io)?,
        )));
        let observer = Arc::new(Mutex::new(Observer(Arc::clone(&writer))));
        let options = ApplyOptions::default().with_observer(observer);
        let source = ChangesetSource::from_read(tar()?);
        let applied = self.driver.apply(key, source, &options).await?;
        let durability = self.store.durability();
        blocking(move || {
            let writer = writer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
                .ok_or_else(|| Error::new(ErrorKind::Other, OPERATION))?;
            let whole = (applied.diff_id, applied.size.0);
            let mut kept = kept;
            let mut written = writer.finish(whole.0, whole.1).map_err(io)?;
            let contents = loop {
                match written {
                    Written::Whole { contents } => break contents,
                    Written::Again(inline) => {
                        let (again, file, inline) = make(inline)?;
                        kept = again;
                        written = write_again(file, inline, &mut tar()?, whole).map_err(io)?;
                    }
                }
            };
            if durability == Durability::Durable {
                kept.sync_data().map_err(io)?;
            }
            Ok((applied, Bytes(contents)))
        })
        .await
    }

    /// Commits a layer under its chain.
    pub async fn commit(&self, draft: Draft, place: Place) -> Result<LayerRow> {
        let _phase = Phase::Commit.enter();
        let chain = ChainId::of(place.parent, draft.applied.diff_id);
        let row = LayerRow {
            chain,
            parent: place.parent,
            diff: draft.applied.diff_id,
            size: draft.applied.size,
            contents: draft.contents,
            created_ms: now_ms(),
            is_doomed: false,
        };
        // From now on it is this instance's, also for who prunes between snapshot, row and image.
        if let Err(error) = self.lease(&chain).await {
            return Err(self.undo(&draft.key, &draft.journal, error).await);
        }
        // Until the row is there, the journal is in its place and of no layer.
        let store = Arc::clone(&self.store);
        let placing = match blocking(move || store.placing()).await {
            Ok(placing) => placing,
            Err(error) => return Err(self.undo(&draft.key, &draft.journal, error).await),
        };
        let journal = self.store.layout().journal(row.diff);
        // One diff has one journal, whoever wrote it.
        if let Err(error) = fs_err::rename(&draft.journal, &journal) {
            let error = Error::io("commit layer", error);
            return Err(self.undo(&draft.key, &draft.journal, error).await);
        }
        if self.store.durability() == Durability::Durable
            && let Err(error) = sync_directory(&self.store.layout().journals())
        {
            let error = Error::io("commit layer", error);
            return Err(self.undo(&draft.key, &draft.journal, error).await);
        }
        let mut options =
            CommitOptions::default().with_labels(labels_of(&row, place.blob.as_ref()));
        if let Some(parent) = draft.was_apart.then_some(place.parent).flatten() {
            options = options.with_late_parent(name_of(&parent));
        }
        match self
            .driver
            .commit(&draft.key, &name_of(&chain), &options)
            .await
        {
            Ok(()) => {}
            // Another process was faster with the same layer.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let removed = self.driver.remove(&draft.key).await;
                removed.inspect_err(|_| self.store.leave_to_recovery())?;
            }
            Err(error) => {
                drop(placing);
                if self.delete_journal(row.diff).await.is_err() {
                    self.store.leave_to_recovery();
                }
                return Err(self.undo(&draft.key, &draft.journal, error).await);
            }
        }
        self.store
            .facts()
            .add_layer(&row)
            .inspect_err(|_| self.store.leave_to_recovery())?;
        Ok(row)
    }

    /// Deletes a layer that will not be committed.
    pub async fn discard(&self, draft: Draft) -> Result<()> {
        remove_if_there(&draft.journal);
        let removed = self.driver.remove(&draft.key).await;
        removed.inspect_err(|_| self.store.leave_to_recovery())
    }

    /// Leases a layer that is about to be committed.
    async fn lease(&self, chain: &ChainId) -> Result<()> {
        while self
            .store
            .facts()
            .take(self.store.holder()?, Kind::Layer, chain.as_bytes())?
            == Taken::Going
        {
            self.sweep().await?;
        }
        Ok(())
    }

    /// Deletes the journal of a layer that did not come to be.
    async fn delete_journal(&self, diff: DiffId) -> Result<()> {
        let mut journals = Journals::still(self).await?;
        journals.delete(diff, None).await
    }

    async fn undo(&self, key: &SnapshotName, journal: &std::path::Path, error: Error) -> Error {
        remove_if_there(journal);
        match self.driver.remove(key).await {
            Ok(()) => error,
            Err(rollback) => {
                self.store.leave_to_recovery();
                error.with_rollback(rollback)
            }
        }
    }

    /// A key that tells whose it is.
    pub(crate) fn own_name(&self, purpose: &str) -> Result<SnapshotName> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        SnapshotName::new(format!("{purpose}.{}.{number}", self.store.holder()?))
    }

    /// A key for a look at a layer.
    pub(crate) fn own_look(&self) -> Result<SnapshotName> {
        self.own_name(LOOK)
    }

    /// Ends a look at a layer, of which came `outcome`; that holds also where the look stays.
    pub(crate) async fn end_look<T>(&self, key: &SnapshotName, outcome: Result<T>) -> Result<T> {
        let Err(left) = self.driver.remove(key).await else {
            return outcome;
        };
        self.store.leave_to_recovery();
        match outcome {
            Ok(value) => {
                tracing::warn!(error = %left.chain(), "look at a layer left to the next recovery");
                Ok(value)
            }
            Err(error) => Err(error.with_rollback(left)),
        }
    }
}

/// What failed to be applied, as it is about a layer of an image: of a snapshot that is gone
/// nobody needs to hear, and who pulls cannot mend a tar.
fn told(error: Error, diff: DiffId) -> Error {
    let error = error.during("apply layer").without("key");
    let error = error.with("layer", diff);
    if error.kind() == ErrorKind::InvalidInput {
        return error.hint("the layer is malformed; whoever made the image has to make it anew");
    }
    error
}

/// The instance that a passing snapshot or file belongs to.
pub(crate) fn owner_of(name: &str) -> Option<&str> {
    let (purpose, rest) = name.split_once('.')?;
    let (holder, _) = rest.rsplit_once('.')?;
    [EXTRACT, LOOK].contains(&purpose).then_some(holder)
}

/// A journal's writer as the apply sees it: taken out when the apply is over.
struct Observer(Arc<Mutex<Option<JournalWriter>>>);

impl Observer {
    fn see(&mut self, see: impl FnOnce(&mut JournalWriter)) {
        if let Some(writer) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            see(writer);
        }
    }
}

impl ApplyObserver for Observer {
    fn raw(&mut self, bytes: &[u8]) {
        self.see(|writer| writer.raw(bytes));
    }

    fn item(&mut self, item: &strata_driver::changeset::Item) {
        self.see(|writer| writer.item(item));
    }

    fn data(&mut self, bytes: &[u8]) {
        self.see(|writer| writer.data(bytes));
    }
}

/// The snapshot of a layer.
///
/// # Panics
/// Never: a digest is a name.
pub fn name_of(chain: &ChainId) -> SnapshotName {
    SnapshotName::new(chain.to_string()).expect("a digest is a name")
}

fn labels_of(row: &LayerRow, blob: Option<&Digest>) -> Labels {
    let mut labels = Labels::from([
        (label::DIFF.to_owned(), row.diff.to_string()),
        (label::SIZE.to_owned(), row.size.0.to_string()),
        (label::CONTENTS.to_owned(), row.contents.0.to_string()),
    ]);
    if let Some(blob) = blob {
        labels.insert(label::BLOB.to_owned(), blob.to_string());
    }
    labels
}

/// The row that a committed snapshot of a layer has, by its labels.
pub(crate) fn row_of(info: &SnapshotInfo) -> Option<LayerRow> {
    let number = |key| info.labels.get(key)?.parse().ok();
    let diff = crate::ids::parse_diff_id(info.labels.get(label::DIFF)?).ok()?;
    let parent = match &info.parent {
        Some(parent) => Some(parent.as_str().parse().ok()?),
        None => None,
    };
    let row = LayerRow {
        chain: info.name.as_str().parse().ok()?,
        parent,
        diff,
        size: Bytes(number(label::SIZE)?),
        contents: Bytes(number(label::CONTENTS)?),
        created_ms: info.created_ms,
        is_doomed: false,
    };
    let is_true =
        info.kind == SnapshotKind::Committed && ChainId::of(row.parent, row.diff) == row.chain;
    is_true.then_some(row)
}

/// The blob that a layer came from, where its snapshot says so.
pub(crate) fn blob_of(info: &SnapshotInfo) -> Option<Digest> {
    info.labels.get(label::BLOB)?.parse().ok()
}

pub(crate) fn remove_if_there(path: &std::path::Path) {
    if let Err(error) = fs_err::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "file left to the next recovery");
    }
}

fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| now.as_millis() as i64)
}
