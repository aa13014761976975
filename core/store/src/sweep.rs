//! Deleting what is doomed, and what dead instances left.

use crate::facts::Freed;
use crate::ids::{ChainId, Digest};
use crate::layers::{Layers, name_of, owner_of, remove_if_there, row_of};
use crate::phase::Phase;
use crate::store::Store;
use std::collections::BTreeSet;
use strata_driver::{Bytes, DiffId, Error, ErrorKind, Result, SnapshotKind, holder};
use strata_sys::lock::FileLock;

/// What a recovery found and mended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Half-made snapshots that were removed.
    pub drafts: u64,
    /// Layers whose row was lost, and which were taken in again.
    pub layers: u64,
    /// Blobs likewise.
    pub blobs: u64,
    /// Other files that belonged to nothing.
    pub files: u64,
}

impl Store {
    /// Whether something waits for [`Layers::recover`]: an instance that died, doomed rows,
    /// or a migration that did not come to its end.
    pub fn needs_recovery(&self) -> Result<bool> {
        Ok(holder::any_gone(self.layout().root())?
            || self.facts().has_doomed()?
            || self.layout().next_driver().exists())
    }

    /// Dooms every layer and blob that no image takes and nobody uses.
    pub fn doom_unused(&self) -> Result<Freed> {
        self.facts().doom_unused()
    }

    /// Deletes what is left of fetches that nobody goes on with; how much. It takes no room at
    /// all, and so helps where a pull has filled the disk.
    pub fn delete_idle_fetches(&self) -> Result<Bytes> {
        let mut freed = Bytes(0);
        let _alone = self.lock_sweep()?;
        for (path, size) in self.idle_fetches()? {
            let lock = match FileLock::try_exclusive(&path) {
                // It was finished meanwhile.
                Err(error) if error.is(rustix::io::Errno::NOENT) => None,
                other => other?,
            };
            // The lock says that nobody writes it; who opens it meanwhile finds it gone.
            if lock.is_some() {
                remove_if_there(&path);
                freed.0 += size.0;
            }
        }
        Ok(freed)
    }

    /// Frees what can be without the driver, which takes room to be opened: dooms what no image
    /// takes and nobody alive uses, and deletes the blobs among it.
    pub fn free_blobs(&self) -> Result<Freed> {
        self.release_gone()?;
        let freed = self.doom_unused()?;
        self.sweep_blobs()?;
        Ok(freed)
    }

    /// Ends the leases of instances that are gone.
    fn release_gone(&self) -> Result<()> {
        for holder in self.facts().holders()? {
            if self.is_gone(&holder)? {
                self.facts().release(&holder)?;
            }
        }
        Ok(())
    }

    /// Blobs that are on their way and that nobody is writing, with the bytes that they take.
    pub fn idle_fetches(&self) -> Result<Vec<(std::path::PathBuf, Bytes)>> {
        let io = |error| Error::io("list fetches", error);
        let mut found = Vec::new();
        for entry in fs_err::read_dir(self.layout().fetches()).map_err(io)? {
            let entry = entry.map_err(io)?;
            let is_blob = entry.file_name().len() == 64;
            if is_blob && let Ok(metadata) = entry.metadata() {
                let held = FileLock::try_shared(&entry.path()).is_ok_and(|lock| lock.is_none());
                if !held {
                    found.push((entry.path(), Bytes(metadata.len())));
                }
            }
        }
        Ok(found)
    }

    /// Deletes doomed blobs alone, for who waits for one of them.
    pub(crate) fn sweep_blobs(&self) -> Result<()> {
        let _alone = self.lock_sweep()?;
        let doomed = self.facts().begin_sweep()?;
        self.delete_blobs(&doomed.blobs)
    }

    fn delete_blobs(&self, blobs: &[Digest]) -> Result<()> {
        for blob in blobs {
            remove_if_there(&self.layout().blob(blob));
            self.facts().forget_blob(blob)?;
        }
        Ok(())
    }

    /// Held while a journal is in its place and its layer has no row yet.
    pub(crate) fn placing(&self) -> Result<FileLock> {
        Ok(FileLock::shared(&self.layout().fetches())?)
    }

    /// Nobody is placing a journal while this is held.
    fn no_placing(&self) -> Result<FileLock> {
        Ok(FileLock::exclusive(&self.layout().fetches())?)
    }

    /// One sweep at a time.
    fn lock_sweep(&self) -> Result<FileLock> {
        Ok(FileLock::exclusive(&self.layout().journals())?)
    }
}

impl Layers {
    /// Deletes what is doomed, layers and blobs, and gives their bytes back.
    ///
    /// What cannot be deleted now, because somebody has it mounted, stays doomed and is told.
    pub async fn sweep(&self) -> Result<()> {
        let store = std::sync::Arc::clone(&self.store);
        let alone = strata_driver::blocking(move || store.lock_sweep()).await?;
        let _phase = Phase::Delete.enter();
        let doomed = self.store.facts().begin_sweep()?;
        let mut failed = None;
        let mut gone = Vec::new();
        for (chain, _) in &doomed.layers {
            match self.driver.remove(&name_of(chain)).await {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    self.store.facts().stay(chain)?;
                    failed.get_or_insert(error);
                }
                Ok(()) | Err(_) => gone.push(*chain),
            }
        }
        self.driver.reclaim().await?;
        if !gone.is_empty() {
            self.forget(&gone).await?;
        }
        self.store.delete_blobs(&doomed.blobs)?;
        drop(alone);
        failed.map_or(Ok(()), Err)
    }

    /// Forgets layers whose snapshots are gone, and deletes their journals.
    async fn forget(&self, gone: &[ChainId]) -> Result<()> {
        let facts = self.store.facts();
        let mut journals = Journals::still(self).await?;
        for chain in gone {
            if let Some(row) = facts.layer(chain)? {
                journals.delete(row.diff, Some(chain)).await?;
            }
            // Rows go after all bytes: by them the next recovery knows that there are some.
            facts.forget_layer(chain)?;
        }
        Ok(())
    }

    /// Mends what instances that died left: their leases end, their half-made layers go, what
    /// they had finished is taken in, and what is doomed is deleted. Idempotent.
    pub async fn recover(&self) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        let store = &self.store;
        // Who dies from now on may leave what has been looked for already.
        let gone = holder::gone(store.layout().root())?;
        store.release_gone()?;
        for info in self.driver.list().await? {
            if info.kind == SnapshotKind::Committed {
                if let Some(row) = row_of(&info)
                    && store.facts().layer(&row.chain)?.is_none()
                    && self.adopt(&row.chain).await?.is_some()
                {
                    recovered.layers += 1;
                }
                continue;
            }
            let Some(owner) = owner_of(info.name.as_str()) else {
                continue;
            };
            if store.is_gone(owner)? {
                match self.driver.remove(&info.name).await {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => recovered.drafts += 1,
                }
            }
        }
        self.driver.reclaim().await?;
        if store.layout().next_driver().exists() {
            // One that cannot be removed keeps nothing else from being mended.
            match crate::migrate::remove_left(store) {
                Ok(removed) => recovered.files += u64::from(removed),
                Err(error) => tracing::warn!(error = %error.chain(), "a root of a migration stays"),
            }
        }
        recovered.blobs = store.take_in_blobs()?;
        recovered.files += store.remove_strays()?;
        recovered.files += self.remove_stray_journals().await?;
        holder::forget(store.layout().root(), &gone)?;
        match self.sweep().await {
            // Somebody looks at a layer that goes, or has put something on it: another time.
            Err(error) if matches!(error.kind(), ErrorKind::InUse | ErrorKind::Busy) => {
                tracing::warn!(error = %error.chain(), "a removed layer is still in use");
            }
            other => other?,
        }
        Ok(recovered)
    }

    /// Deletes journals of no layer.
    pub(crate) async fn remove_stray_journals(&self) -> Result<u64> {
        let io = |error| Error::io("recover journals", error);
        let (store, layout) = (&self.store, self.store.layout());
        let mut journals = Journals::still(self).await?;
        let of_snapshots = journals.of_snapshots().await?.iter().copied();
        let of_rows = store.facts().layers()?.into_iter().map(|row| row.diff);
        let live: BTreeSet<_> = of_rows
            .chain(of_snapshots)
            .map(|diff| layout.journal(diff))
            .collect();
        let mut count = 0;
        for entry in fs_err::read_dir(layout.journals()).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if !live.contains(&path) {
                remove_if_there(&path);
                count += 1;
            }
        }
        Ok(count)
    }
}

/// The journals of a store, while nobody places one.
pub(crate) struct Journals<'a> {
    layers: &'a Layers,
    _still: FileLock,
    /// What the driver has, once that was asked.
    of_snapshots: Option<BTreeSet<DiffId>>,
}

impl<'a> Journals<'a> {
    /// Waits for those who place one.
    pub(crate) async fn still(layers: &'a Layers) -> Result<Self> {
        let store = std::sync::Arc::clone(&layers.store);
        Ok(Self {
            layers,
            _still: strata_driver::blocking(move || store.no_placing()).await?,
            of_snapshots: None,
        })
    }

    /// Deletes a journal, unless a layer has it that is not the one that goes.
    pub(crate) async fn delete(&mut self, diff: DiffId, going: Option<&ChainId>) -> Result<()> {
        let store = &self.layers.store;
        if !store.facts().has_diff_beside(diff, going)?
            && !self.of_snapshots().await?.contains(&diff)
        {
            remove_if_there(&store.layout().journal(diff));
        }
        Ok(())
    }

    /// The diffs of all snapshots of layers. Asked now and not before: whoever died while placing
    /// a journal may have committed its layer, and there is no row of it.
    async fn of_snapshots(&mut self) -> Result<&BTreeSet<DiffId>> {
        if self.of_snapshots.is_none() {
            let listed = self.layers.driver.list().await?;
            let diffs = listed.iter().filter_map(row_of).map(|row| row.diff);
            self.of_snapshots = Some(diffs.collect());
        }
        Ok(self.of_snapshots.get_or_insert_default())
    }
}

impl Store {
    /// Notes blobs that are in their places and have no row: their fetch died between the two.
    fn take_in_blobs(&self) -> Result<u64> {
        let io = |error| Error::io("recover blobs", error);
        let _alone = self.lock_sweep()?;
        let known: BTreeSet<Digest> = self
            .facts()
            .blobs()?
            .into_iter()
            .map(|(digest, _)| digest)
            .collect();
        let mut count = 0;
        for entry in fs_err::read_dir(self.layout().blobs()).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            let Ok(digest) = format!("sha256:{}", name.to_string_lossy()).parse::<Digest>() else {
                continue;
            };
            if !known.contains(&digest) {
                let size = entry.metadata().map_err(io)?.len();
                self.facts().add_blob(&digest, Bytes(size))?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Deletes files that dead instances were making.
    fn remove_strays(&self) -> Result<u64> {
        let io = |error| Error::io("recover files", error);
        let _alone = self.lock_sweep()?;
        let mut count = 0;
        for entry in fs_err::read_dir(self.layout().fetches()).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            if let Some(owner) = name.to_str().and_then(owner_of)
                && self.is_gone(owner)?
            {
                remove_if_there(&entry.path());
                count += 1;
            }
        }
        Ok(count)
    }
}
