//! The contract, delegated to the mechanism.

use crate::config::{Config, OPTIONS};
use crate::diff;
use crate::layout::Layout;
use crate::mechanism::{Mechanism, Pool, Quotas, open_directory};
use crate::probe;
use async_trait::async_trait;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use strata_driver::catalog::{Catalog, CatalogOptions, Leftovers, Row};
use strata_driver::guard::Reading;
use strata_driver::{
    Applied, ApplyOptions, Availability, Bytes, Capabilities, Change, ChangesetSource,
    CommitOptions, Counters, DiffOptions, DiffSink, DiffStream, DriverFactory, DriverInfo,
    DriverName, Error, ErrorKind, Host, Labels, MountPlan, OpenOptions, OptionSpec, PrepareOptions,
    Reclaimed, Result, SnapshotInfo, SnapshotKind, SnapshotName, StorageDriver, Usage, blocking,
};

/// A subvolume per layer.
#[derive(Debug)]
pub struct Btrfs {
    info: DriverInfo,
    capabilities: Capabilities,
    mechanism: Arc<Mechanism>,
}

/// Opens [`Btrfs`].
#[derive(Clone, Copy, Debug, Default)]
pub struct BtrfsFactory;

impl DriverFactory for BtrfsFactory {
    fn name(&self) -> DriverName {
        DriverName::new("btrfs").expect("it is a valid name")
    }

    fn summary(&self) -> &'static str {
        "btrfs: a subvolume per layer, on btrfs or in a file"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn probe(&self, host: &Host, root: &Path) -> Availability {
        match probe::availability(host, root) {
            Ok(capabilities) => Availability::Available(capabilities),
            Err(missing) => Availability::Unavailable(missing),
        }
    }

    fn room_of_root(&self, file_system: &str) -> Bytes {
        probe::room_of_root(file_system)
    }

    fn open(&self, options: &OpenOptions, host: &Host) -> Result<Arc<dyn StorageDriver>> {
        Ok(Arc::new(Btrfs::open(options, host)?))
    }
}

impl Btrfs {
    /// Opens or makes the root of `options`, and recovers what a crash left there.
    pub fn open(options: &OpenOptions, host: &Host) -> Result<Self> {
        let name = BtrfsFactory.name();
        let config = Config::parse(&options.settings)?;
        let unavailable = |missing: strata_driver::Unavailable| missing.into_error("open");
        probe::requirements(host, &options.root).map_err(unavailable)?;
        let catalog = Catalog::open(
            &options.root,
            &CatalogOptions {
                driver: &name,
                durability: options.durability,
            },
        )?;
        let layout = probe::layout(&options.root)?;
        refuse_lost_file(&layout, &catalog)?;
        let pool = Pool::open(&layout, &config)?;
        let capabilities = probe::capabilities(layout.pool(), &config).map_err(unavailable)?;
        let quotas = Quotas::open(config.quota, open_directory(layout.pool())?.as_fd())?;
        let mechanism = Mechanism {
            catalog,
            layout,
            pool,
            quotas,
            counters: Arc::new(Counters::default()),
        };
        mechanism.recover()?;
        let backing = Host::file_system_of(&options.root);
        let info = DriverInfo {
            name,
            root: options.root.clone(),
            durability: options.durability,
            backing: backing.map_err(|error| Error::io("open", error))?,
        };
        Ok(Self {
            info,
            capabilities,
            mechanism: Arc::new(mechanism),
        })
    }

    /// Runs `work` on the mechanism, off the async threads.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Mechanism) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mechanism = Arc::clone(&self.mechanism);
        blocking(move || work(&mechanism)).await
    }
}

#[async_trait]
impl StorageDriver for Btrfs {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn counters(&self) -> &Counters {
        &self.mechanism.counters
    }

    async fn prepare(
        &self,
        key: &SnapshotName,
        parent: Option<&SnapshotName>,
        options: &PrepareOptions,
    ) -> Result<()> {
        let (key, parent, options) = (key.clone(), parent.cloned(), options.clone());
        self.run(move |m| m.create(&key, SnapshotKind::Active, parent.as_ref(), &options))
            .await
    }

    async fn view(
        &self,
        key: &SnapshotName,
        parent: Option<&SnapshotName>,
        options: &PrepareOptions,
    ) -> Result<()> {
        let (key, parent, options) = (key.clone(), parent.cloned(), options.clone());
        self.run(move |m| m.create(&key, SnapshotKind::View, parent.as_ref(), &options))
            .await
    }

    async fn mounts(&self, key: &SnapshotName) -> Result<MountPlan> {
        let key = key.clone();
        self.run(move |m| m.mounts(&key)).await
    }

    async fn commit(
        &self,
        key: &SnapshotName,
        name: &SnapshotName,
        options: &CommitOptions,
    ) -> Result<()> {
        let (key, name, options) = (key.clone(), name.clone(), options.clone());
        self.run(move |m| m.commit(&key, &name, &options)).await
    }

    async fn remove(&self, name: &SnapshotName) -> Result<()> {
        let name = name.clone();
        self.run(move |m| m.remove(&name)).await
    }

    async fn stat(&self, name: &SnapshotName) -> Result<SnapshotInfo> {
        let name = name.clone();
        self.run(move |m| {
            m.catalog
                .get(&name)?
                .into_info()
                .ok_or_else(|| not_found("stat", &name))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<SnapshotInfo>> {
        self.run(|m| {
            Ok(m.catalog
                .list()?
                .into_iter()
                .filter_map(Row::into_info)
                .collect())
        })
        .await
    }

    async fn relabel(&self, name: &SnapshotName, labels: &Labels) -> Result<()> {
        let (name, labels) = (name.clone(), labels.clone());
        self.run(move |m| m.catalog.set_labels(&name, &labels))
            .await
    }

    async fn usage(&self, name: &SnapshotName) -> Result<Usage> {
        let name = name.clone();
        self.run(move |m| m.usage(&name)).await
    }

    async fn changes(
        &self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
    ) -> Result<Vec<Change>> {
        let (lower, upper) = (lower.cloned(), upper.clone());
        self.run(move |m| {
            let reading = Reading::begin(&m.catalog, lower.iter().chain([&upper]))?;
            let changes = diff::difference(m, lower.as_ref(), &upper)?.changes();
            reading.confirm(&m.catalog, "changes")?;
            Ok(changes)
        })
        .await
    }

    async fn diff(
        &self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
        options: &DiffOptions,
    ) -> Result<DiffStream> {
        let (lower, upper, options) = (lower.cloned(), upper.clone(), *options);
        let mechanism = Arc::clone(&self.mechanism);
        self.run(move |m| {
            let reading = Reading::begin(&m.catalog, lower.iter().chain([&upper]))?;
            let difference = diff::difference(m, lower.as_ref(), &upper)?;
            Ok(DiffSink::produce(move |sink| {
                difference.write(sink, &options)?;
                reading.confirm(&mechanism.catalog, "diff")
            }))
        })
        .await
    }

    async fn apply(
        &self,
        key: &SnapshotName,
        changeset: ChangesetSource,
        options: &ApplyOptions,
    ) -> Result<Applied> {
        let (key, options) = (key.clone(), options.clone());
        self.run(move |m| m.apply(&key, changeset, &options)).await
    }

    async fn reclaim(&self) -> Result<Reclaimed> {
        self.run(|m| {
            let snapshots = m.sweep(Leftovers::AbandonedOrRemoved)?;
            m.pool.settle("reclaim")?;
            Ok(Reclaimed { snapshots })
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        self.run(|m| m.pool.release()).await
    }
}

/// A file system that is made anew would show snapshots empty, or not at all.
fn refuse_lost_file(layout: &Layout, catalog: &Catalog) -> Result<()> {
    let file = layout.backing();
    let is_lost = || layout.pool() != layout.root() && !file.exists();
    // Asked again behind the rows: somebody else may just have made the file, and then them.
    if !is_lost() || catalog.list()?.is_empty() || !is_lost() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, "open")
        .because("the file that holds all snapshots is gone")
        .with("backing", file.display())
        .hint("put it back, or delete the root and start anew"))
}

fn not_found(operation: &'static str, name: &SnapshotName) -> Error {
    Error::new(ErrorKind::NotFound, operation).with("name", name)
}
