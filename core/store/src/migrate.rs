//! Moving all layers of a store to another driver.
//!
//! The other driver's root is built beside the one in use, layer by layer, and both are exchanged
//! by one rename: until then the store is as it was, and afterwards it is as it is to be. What
//! either side leaves under the other's name belongs to nothing, and is removed at once or by the
//! next recovery.

use crate::facts::LayerRow;
use crate::facts::schema::sync_directory;
use crate::layers::{Layers, name_of};
use crate::store::Store;
use rustix::fs::RenameFlags;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use strata_driver::tree::{self, Budget};
use strata_driver::{
    ApplyOptions, Bytes, ChangesetSource, CommitOptions, DiffSink, Durability, Error, ErrorKind,
    PrepareOptions, Result, SnapshotKind, StorageDriver, blocking, diff_channel,
};
use strata_sys::lock::FileLock;

const OPERATION: &str = "migrate";

/// How far a migration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MigrationStep {
    /// A layer is in the other driver, and its tar came back from there to the bit: how many of
    /// how many are.
    Copied {
        /// The layer.
        layer: LayerRow,
        /// Layers that are.
        done: usize,
        /// All layers.
        of: usize,
    },
    /// Both drivers are closed.
    Closed,
    /// The other driver's root is the store's.
    Exchanged,
    /// The old root is gone.
    Removed,
}

/// What a migration moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Migrated {
    /// Layers.
    pub layers: u64,
    /// Bytes of their tars.
    pub bytes: Bytes,
    /// Why the old root could not be removed, if it could not; the next recovery tries again.
    pub left: Option<String>,
}

impl Layers {
    /// Moves all layers to the driver that `open_next` opens at the given root. Whoever holds the
    /// store opens it again afterwards, with that driver.
    ///
    /// Each layer is applied there from its tar as it is written here, and written once more from
    /// there: the same `DiffId` both times.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) while somebody else is at work in the store or another migration
    /// is, [`InUse`](ErrorKind::InUse) for a snapshot that is no layer's, or a driver that this
    /// process still uses elsewhere. The store is then as it was.
    pub async fn migrate(
        self,
        open_next: impl FnOnce(&Path) -> Result<Arc<dyn StorageDriver>> + Send + 'static,
        progress: impl Fn(MigrationStep),
    ) -> Result<Migrated> {
        let store = Arc::clone(&self.store);
        let layout = store.layout().clone();
        let Some(alone) = FileLock::try_exclusive(layout.root())? else {
            return Err(Error::new(ErrorKind::Busy, OPERATION)
                .because("another migration of this store is under way")
                .hint("wait for it, or end it"));
        };
        // Nobody opens the driver from now on, until the roots are exchanged.
        let Some(_driver) = store.use_driver_alone()? else {
            return Err(Error::new(ErrorKind::Busy, OPERATION)
                .because("somebody else is at work in the store")
                .hint("try again when pulls, builds and containers have ended"));
        };
        self.refuse_users().await?;
        remove_next(&alone, &store)?;
        let root = layout.next_driver();
        let next = {
            let root = root.clone();
            blocking(move || open_next(&root)).await
        };
        let next = match next {
            Ok(driver) => Self::new(Arc::clone(&store), driver),
            Err(error) => return Err(undone(&alone, &store, error)),
        };
        let copied = self.copy_all(&next, &progress).await;
        let closed = match copied {
            Ok(migrated) => close_both(self, next).await.map(|()| migrated),
            Err(error) => {
                drop(next);
                Err(error)
            }
        };
        let mut migrated = match closed {
            Ok(migrated) => migrated,
            Err(error) => return Err(undone(&alone, &store, error)),
        };
        progress(MigrationStep::Closed);
        if let Err(error) = exchange(&store) {
            return Err(undone(&alone, &store, error));
        }
        progress(MigrationStep::Exchanged);
        match remove_next(&alone, &store) {
            Ok(()) => progress(MigrationStep::Removed),
            Err(error) => migrated.left = Some(error.chain()),
        }
        Ok(migrated)
    }

    /// Refuses while anybody uses what would be moved away under them.
    async fn refuse_users(&self) -> Result<()> {
        if self.store.has_others()? {
            return Err(Error::new(ErrorKind::Busy, OPERATION)
                .because("somebody else is at work in the store")
                .hint("try again when pulls, builds and containers have ended"));
        }
        if Arc::strong_count(&self.driver) > 1 {
            return Err(Error::new(ErrorKind::InUse, OPERATION)
                .because("this process still uses the driver elsewhere"));
        }
        self.recover().await?;
        let facts = self.store.facts();
        for info in self.driver.list().await? {
            let what = if info.kind == SnapshotKind::Committed {
                let chain = info.name.as_str().parse().ok();
                let row = chain.map(|chain| facts.layer(&chain)).transpose()?;
                if row.flatten().is_some() {
                    continue;
                }
                "a snapshot is no layer of the store"
            } else {
                "a snapshot is in use, and perhaps mounted"
            };
            return Err(Error::new(ErrorKind::InUse, OPERATION)
                .because(what)
                .with("snapshot", info.name)
                .hint("end what uses it and remove it: only layers can be moved"));
        }
        Ok(())
    }

    async fn copy_all(&self, next: &Self, progress: &impl Fn(MigrationStep)) -> Result<Migrated> {
        let rows = base_first(self.store.facts().layers()?);
        let of = rows.len();
        let mut migrated = Migrated::default();
        for (at, layer) in rows.into_iter().enumerate() {
            self.copy(next, &layer)
                .await
                .map_err(|error| error.during(OPERATION).with("layer", layer.chain))?;
            migrated.layers += 1;
            migrated.bytes.0 += layer.size.0;
            progress(MigrationStep::Copied {
                layer,
                done: at + 1,
                of,
            });
        }
        Ok(migrated)
    }

    async fn copy(&self, next: &Self, layer: &LayerRow) -> Result<()> {
        let name = name_of(&layer.chain);
        let labels = self.driver.stat(&name).await?.labels;
        let key = self.own_look()?;
        let parent = layer.parent.as_ref().map(name_of);
        next.driver
            .prepare(&key, parent.as_ref(), &PrepareOptions::default())
            .await?;
        let (sink, stream) = diff_channel();
        let pipe = Pipe(Arc::new(Mutex::new(Some(sink))));
        // In a task of its own: to apply holds up the task that does it, and so would hold up who
        // it reads from.
        let (layers, row) = (self.clone(), layer.clone());
        let export = tokio::spawn(async move {
            let outcome = layers.export(&row, pipe.clone()).await;
            // Without a last word the stream has failed.
            let sink = pipe.take().filter(|_| outcome.is_ok());
            blocking(move || {
                if let Some(sink) = sink {
                    sink.finish(Ok(()));
                }
                Ok(())
            })
            .await?;
            outcome
        });
        let source = ChangesetSource::from_read(stream.into_read());
        let options = ApplyOptions::default();
        let applied = next.driver.apply(&key, source, &options).await;
        let exported = export
            .await
            .unwrap_or_else(|torn| Err(Error::new(ErrorKind::Other, OPERATION).caused_by(torn)));
        let applied = match (exported, applied) {
            (Ok(_), Ok(applied)) => applied,
            // A reader that went away is the lesser news.
            (Err(exported), Err(applied)) if exported.kind() == ErrorKind::Other => {
                return Err(applied.with_rollback(exported));
            }
            (Err(error), _) | (Ok(_), Err(error)) => return Err(error),
        };
        is_same(layer, applied.diff_id)?;
        let options = CommitOptions::default().with_labels(labels);
        next.driver.commit(&key, &name, &options).await?;
        let written = next.export(layer, io::sink()).await?;
        is_same(layer, written.diff_id)
    }
}

fn is_same(layer: &LayerRow, found: strata_driver::DiffId) -> Result<()> {
    if found == layer.diff {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, OPERATION)
        .because("the layer did not come through as it was")
        .with("expected", layer.diff)
        .with("found", found))
}

/// Both drivers are to be gone before their roots change names: a database that is closed later
/// would tidy up under a path that is another's by then.
async fn close_both(from: Layers, next: Layers) -> Result<()> {
    for layers in [from, next] {
        layers.driver.close().await?;
        let Layers { driver, .. } = layers;
        if Arc::strong_count(&driver) > 1 {
            return Err(Error::new(ErrorKind::InUse, OPERATION)
                .because("this process still uses a driver elsewhere")
                .with("driver", &driver.info().name));
        }
        blocking(move || {
            drop(driver);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn exchange(store: &Store) -> Result<()> {
    let layout = store.layout();
    let durable = store.durability() == Durability::Durable;
    let io = |error: io::Error| Error::io(OPERATION, error).with("root", layout.root().display());
    if durable {
        sync_directory(&layout.next_driver()).map_err(io)?;
        sync_directory(layout.root()).map_err(io)?;
    }
    let here = rustix::fs::CWD;
    let (from, to) = (layout.next_driver(), layout.driver());
    rustix::fs::renameat_with(here, from, here, to, RenameFlags::EXCHANGE)
        .map_err(|errno| io(errno.into()).because("the two roots cannot be exchanged"))?;
    if durable {
        sync_directory(layout.root()).map_err(io)?;
    }
    Ok(())
}

fn undone(alone: &FileLock, store: &Store, error: Error) -> Error {
    match remove_next(alone, store) {
        Ok(()) => error,
        Err(rollback) => error.with_rollback(rollback),
    }
}

/// Removes what stands beside the root in use. The store's root is locked.
fn remove_next(alone: &FileLock, store: &Store) -> Result<()> {
    let path = store.layout().next_driver();
    let name = path.file_name().unwrap_or_default();
    let removed = tree::remove(alone.as_fd(), name.as_encoded_bytes(), Budget::Unlimited);
    removed
        .map(drop)
        .map_err(|error| error.during(OPERATION).with("root", path.display()))
}

/// Removes what a migration left that did not come to its end; whether no other is under way.
pub(crate) fn remove_left(store: &Store) -> Result<bool> {
    let Some(alone) = FileLock::try_exclusive(store.layout().root())? else {
        return Ok(false);
    };
    remove_next(&alone, store)?;
    Ok(true)
}

/// Parents before their children.
fn base_first(rows: Vec<LayerRow>) -> Vec<LayerRow> {
    let parents: BTreeMap<_, _> = rows.iter().map(|row| (row.chain, row.parent)).collect();
    let depth = |row: &LayerRow| {
        let below = |chain: &crate::ids::ChainId| parents.get(chain).copied().flatten();
        std::iter::successors(row.parent, below).count()
    };
    let mut rows = rows;
    rows.sort_by_cached_key(|row| (depth(row), row.chain));
    rows
}

/// The writing end of a stream, to be ended by who knows how the writing went.
#[derive(Clone)]
struct Pipe(Arc<Mutex<Option<DiffSink>>>);

impl Pipe {
    fn take(&self) -> Option<DiffSink> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(sink) => sink.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
