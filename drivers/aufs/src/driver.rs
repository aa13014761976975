//! The contract, delegated to the mechanism.

use crate::config::{Config, OPTIONS};
use crate::diff;
use crate::layout::Layout;
use crate::mechanism::{AufsMarks, Mechanism};
use crate::probe;
use async_trait::async_trait;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use strata_driver::apply::{ApplyTarget, apply};
use strata_driver::catalog::{Catalog, CatalogOptions, Leftovers, Row};
use strata_driver::guard::Reading;
use strata_driver::mount::Mounter;
use strata_driver::upper::UpperPlacement;
use strata_driver::{
    Applied, ApplyOptions, Availability, Capabilities, Capability, Change, ChangesetSource,
    CommitOptions, Counters, DiffOptions, DiffSink, DiffStream, DriverFactory, DriverInfo,
    DriverName, Error, ErrorKind, Host, Labels, MountPlan, OpenOptions, OptionSpec, PrepareOptions,
    Reclaimed, Result, SnapshotInfo, SnapshotKind, SnapshotName, StorageDriver, Usage, blocking,
    guard, quota, recovery, tree,
};

/// Layers in aufs's format, joined by FUSE or by the kernel.
#[derive(Debug)]
pub struct Aufs {
    info: DriverInfo,
    capabilities: Capabilities,
    mechanism: Arc<Mechanism>,
}

/// Opens [`Aufs`].
#[derive(Clone, Copy, Debug, Default)]
pub struct AufsFactory;

impl DriverFactory for AufsFactory {
    fn name(&self) -> DriverName {
        DriverName::new("aufs").expect("it is a valid name")
    }

    fn summary(&self) -> &'static str {
        "aufs layers: joined by a union over FUSE, or by the kernel's aufs"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn probe(&self, host: &Host, root: &Path) -> Availability {
        match probe::probe(host, root, Config::default()) {
            Ok((capabilities, _)) => Availability::Available(capabilities),
            Err(missing) => Availability::Unavailable(missing),
        }
    }

    fn open(&self, options: &OpenOptions, host: &Host) -> Result<Arc<dyn StorageDriver>> {
        Ok(Arc::new(Aufs::open(options, host)?))
    }
}

impl Aufs {
    /// Opens or makes the root of `options`, and recovers what a crash left there.
    pub fn open(options: &OpenOptions, host: &Host) -> Result<Self> {
        let name = AufsFactory.name();
        let config = Config::parse(&options.settings)?;
        let (capabilities, engine) = probe::probe(host, &options.root, config)
            .map_err(|missing| missing.into_error("open"))?;
        let catalog = Catalog::open(
            &options.root,
            &CatalogOptions {
                driver: &name,
                durability: options.durability,
            },
        )?;
        let backing = Host::file_system_of(&options.root);
        let counters = Arc::new(Counters::default());
        let mechanism = Mechanism {
            layout: Layout::new(&options.root),
            catalog,
            config,
            engine,
            durability: options.durability,
            limits: capabilities.has(Capability::Quota),
            mounter: Mounter::new(Arc::clone(&counters)),
            counters,
        };
        mechanism.recover()?;
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
impl StorageDriver for Aufs {
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
        self.run(move |m| {
            let row = m.catalog.get(&name)?;
            if row.kind == SnapshotKind::View {
                return Ok(Usage::default());
            }
            let upper = crate::mechanism::open_directory(&m.layout.upper(row.id))?;
            tree::usage(upper.as_fd(), &m.counters)
        })
        .await
    }

    async fn changes(
        &self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
    ) -> Result<Vec<Change>> {
        let (lower, upper) = (lower.cloned(), upper.clone());
        self.run(move |m| {
            let reading = Reading::begin(&m.catalog, lower.iter().chain([&upper]))?;
            let difference = diff::difference(m, lower.as_ref(), &upper)?;
            let changes = difference.comparison.changes();
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
                difference.comparison.write(sink, &options)?;
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
        self.run(move |m| {
            let row = guard::active(&m.catalog, &key, "apply")?;
            let home = m.layout.snapshot(row.id);
            let _lock = guard::exclusive(&m.catalog, &row, &home, "apply")?;
            let _bound = m.limits.then(quota::Bound::new).transpose()?;
            m.settle(&row)?;
            let (applying, changeset) = guard::Applying::begin(&home, changeset)?;
            let chain = m.catalog.chain(&key)?.split_off(1);
            let upper = || crate::mechanism::open_directory(&m.layout.upper(row.id));
            let root = upper()?;
            let marks = AufsMarks::of(upper()?);
            let mut placement = if chain.is_empty() {
                UpperPlacement::over_nothing(&marks, upper()?, &home)?
            } else {
                UpperPlacement::over_layers(&marks, upper()?, || m.merged(&key, &chain))
            };
            let target = ApplyTarget {
                root: root.as_fd(),
                placement: &mut placement,
            };
            let applied = apply(target, changeset, &options)
                .map_err(|error| recovery::after_failed_apply(error, &home, "fs"))?;
            placement.finish()?;
            m.reserve(row.id)?;
            applying.finish()?;
            Ok(applied)
        })
        .await
    }

    async fn reclaim(&self) -> Result<Reclaimed> {
        self.run(|m| {
            Ok(Reclaimed {
                snapshots: m.sweep(Leftovers::AbandonedOrRemoved)?,
            })
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn not_found(operation: &'static str, name: &SnapshotName) -> Error {
    Error::new(ErrorKind::NotFound, operation).with("name", name)
}
