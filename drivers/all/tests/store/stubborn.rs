//! A driver that refuses what a test wants it to refuse.

use async_trait::async_trait;
use std::sync::Arc;
use strata_driver::{
    Applied, ApplyOptions, Capabilities, Change, ChangesetSource, CommitOptions, Counters,
    DiffOptions, DiffStream, DriverInfo, Error, ErrorKind, Labels, MountPlan, PrepareOptions,
    Reclaimed, Result, SnapshotInfo, SnapshotName, StorageDriver, Usage,
};
use strata_store::Layers;

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// An apply that was done; the answer does not matter.
    Applied,
    Commit,
    Remove,
}

type Refuses = Box<dyn Fn(Call, &SnapshotName) -> bool + Send + Sync>;

struct Stubborn {
    inner: Arc<dyn StorageDriver>,
    refuses: Refuses,
}

/// The same layers on a driver that refuses: a commit for want of room, a removal as busy.
pub(crate) fn stubborn(
    layers: &Layers,
    refuses: impl Fn(Call, &SnapshotName) -> bool + Send + Sync + 'static,
) -> Layers {
    let driver = Stubborn {
        inner: Arc::clone(layers.driver()),
        refuses: Box::new(refuses),
    };
    Layers::new(Arc::clone(layers.store()), Arc::new(driver))
}

impl std::fmt::Debug for Stubborn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stubborn").field(&self.inner).finish()
    }
}

#[async_trait]
impl StorageDriver for Stubborn {
    fn info(&self) -> &DriverInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn counters(&self) -> &Counters {
        self.inner.counters()
    }

    async fn prepare(
        &self,
        key: &SnapshotName,
        parent: Option<&SnapshotName>,
        options: &PrepareOptions,
    ) -> Result<()> {
        self.inner.prepare(key, parent, options).await
    }

    async fn view(
        &self,
        key: &SnapshotName,
        parent: Option<&SnapshotName>,
        options: &PrepareOptions,
    ) -> Result<()> {
        self.inner.view(key, parent, options).await
    }

    async fn mounts(&self, key: &SnapshotName) -> Result<MountPlan> {
        self.inner.mounts(key).await
    }

    async fn commit(
        &self,
        key: &SnapshotName,
        name: &SnapshotName,
        options: &CommitOptions,
    ) -> Result<()> {
        if (self.refuses)(Call::Commit, key) {
            return Err(Error::new(ErrorKind::NoSpace, "commit"));
        }
        self.inner.commit(key, name, options).await
    }

    async fn remove(&self, name: &SnapshotName) -> Result<()> {
        if (self.refuses)(Call::Remove, name) {
            return Err(Error::new(ErrorKind::Busy, "remove"));
        }
        self.inner.remove(name).await
    }

    async fn stat(&self, name: &SnapshotName) -> Result<SnapshotInfo> {
        self.inner.stat(name).await
    }

    async fn list(&self) -> Result<Vec<SnapshotInfo>> {
        self.inner.list().await
    }

    async fn relabel(&self, name: &SnapshotName, labels: &Labels) -> Result<()> {
        self.inner.relabel(name, labels).await
    }

    async fn usage(&self, name: &SnapshotName) -> Result<Usage> {
        self.inner.usage(name).await
    }

    async fn changes(
        &self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
    ) -> Result<Vec<Change>> {
        self.inner.changes(lower, upper).await
    }

    async fn diff(
        &self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
        options: &DiffOptions,
    ) -> Result<DiffStream> {
        self.inner.diff(lower, upper, options).await
    }

    async fn apply(
        &self,
        key: &SnapshotName,
        changeset: ChangesetSource,
        options: &ApplyOptions,
    ) -> Result<Applied> {
        let applied = self.inner.apply(key, changeset, options).await?;
        (self.refuses)(Call::Applied, key);
        Ok(applied)
    }

    async fn reclaim(&self) -> Result<Reclaimed> {
        self.inner.reclaim().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
