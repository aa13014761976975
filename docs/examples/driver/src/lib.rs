//! The smallest whole driver: every snapshot is a full copy of its parent.
//!
//! ```text
//! ROOT/catalog.db            what snapshots there are (strata_driver::catalog)
//! ROOT/snapshots/N           one directory a snapshot; whoever mounts it holds a lock on it
//! ROOT/snapshots/N/fs        its tree
//! ```
#![forbid(unsafe_code)]

use async_trait::async_trait;
use rustix::fs::{Mode, OFlags, Timespec, Timestamps};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_driver::SnapshotName as Name;
use strata_driver::apply::{ApplyTarget, PlainPlacement, apply};
use strata_driver::catalog::{Catalog, CatalogOptions, CommitRow, Draft, Leftovers, NewSnapshot, Row, SnapshotId};
use strata_driver::diff::{CompareOptions, Comparison, Outcome, Upper, compare};
use strata_driver::*;

/// Opens [`PlainCopy`].
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainCopyFactory;

/// A driver that copies.
#[derive(Debug)]
pub struct PlainCopy {
    info: DriverInfo,
    capabilities: Capabilities,
    store: Arc<Store>,
}

/// What the blocking work of all calls shares.
#[derive(Debug)]
struct Store {
    catalog: Catalog,
    durability: Durability,
    counters: Arc<Counters>,
}

impl DriverFactory for PlainCopyFactory {
    fn name(&self) -> DriverName {
        DriverName::new("plain-copy").expect("it is a valid name")
    }
    fn summary(&self) -> &'static str {
        "a full copy per layer, as an example"
    }
    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn probe(&self, host: &Host, root: &Path) -> Availability {
        capabilities(host, root).map_or_else(Availability::Unavailable, Availability::Available)
    }

    fn open(&self, options: &OpenOptions, host: &Host) -> Result<Arc<dyn StorageDriver>> {
        if let Some(key) = options.settings.keys().next() {
            let error = Error::new(ErrorKind::InvalidInput, "open").with("option", key);
            return Err(error.because("this driver has no options").hint("leave it out"));
        }
        let capabilities = capabilities(host, &options.root).map_err(|missing| missing.into_error("open"))?;
        let (name, durability) = (self.name(), options.durability);
        let catalog = Catalog::open(&options.root, &CatalogOptions { driver: &name, durability })?;
        let store = Store { catalog, durability, counters: Arc::new(Counters::default()) };
        std::fs::create_dir_all(store.home()).map_err(|error| Error::io("open", error))?;
        store.sweep(Leftovers::Abandoned)?;
        let backing = Host::file_system_of(&options.root).map_err(|error| Error::io("open", error))?;
        let info = DriverInfo { name, root: options.root.clone(), durability, backing };
        Ok(Arc::new(PlainCopy { info, capabilities, store: Arc::new(store) }))
    }
}

/// Capabilities are found out by doing; for each that is absent, the reason is told.
fn capabilities(host: &Host, root: &Path) -> std::result::Result<Capabilities, Unavailable> {
    if !host.root {
        return Err(Unavailable::new("a bind mount takes root", "run as root"));
    }
    probe::root_path(root)?;
    let mut found = Capabilities::default();
    probe::directory(&probe::Scratch::beside(root)?, &mut found);
    use Capability::{IdmappedMount, LateParent, NativeDiff, Quota};
    for capability in [NativeDiff, LateParent, Quota, IdmappedMount] {
        found.note(capability, Err("an example keeps to what every driver can do".into()));
    }
    // A bind mount shows the very directory that is committed.
    found.quirks.insert(Quirk::LateWriterPossible);
    Ok(found)
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Error::io("open directory", errno.into()).with("path", path.display()))
}

impl Store {
    fn home(&self) -> PathBuf {
        self.catalog.root().join("snapshots")
    }
    fn snapshot(&self, id: SnapshotId) -> PathBuf {
        self.home().join(id.to_string())
    }
    fn tree(&self, id: SnapshotId) -> PathBuf {
        self.snapshot(id).join("fs")
    }

    fn sweep(&self, which: Leftovers) -> Result<u64> {
        let remove = |id| recovery::remove_all(&self.home(), id);
        recovery::sweep(&self.catalog, &self.home(), which, |name| name.parse().ok(), remove)
    }

    /// The directory, then the row that makes it true.
    fn create(&self, key: &Name, kind: SnapshotKind, parent: Option<&Name>, labels: &Labels) -> Result<()> {
        let new = NewSnapshot { key, kind, parent, labels };
        let unmake = |id| recovery::remove_all(&self.home(), id);
        self.catalog.create(&new, |draft| self.make(draft), unmake).map(drop)
    }

    fn make(&self, draft: &Draft) -> Result<()> {
        let failed = |error| Error::io("make snapshot", error);
        let path = self.tree(draft.id);
        recovery::make_home(draft, &self.snapshot(draft.id))?;
        std::fs::create_dir(&path).map_err(failed)?;
        let target = open_directory(&path)?;
        // A link by which it is mounted. It goes at commit, and plans made before with it.
        std::os::unix::fs::symlink("fs", self.snapshot(draft.id).join("active")).map_err(failed)?;
        if let Some(parent) = draft.chain.first() {
            let source = open_directory(&self.tree(*parent))?;
            tree::copy(source.as_fd(), target.as_fd(), &tree::CopyOptions::default())?;
        } else {
            let start = Timespec { tv_sec: 0, tv_nsec: 0 };
            let times = Timestamps { last_access: start, last_modification: start };
            rustix::fs::fchmod(&target, Mode::from_raw_mode(0o755))
                .and_then(|()| rustix::fs::futimens(&target, &times))
                .map_err(|errno| failed(errno.into()))?;
        }
        self.flush(&path)
    }

    fn flush(&self, path: &Path) -> Result<()> {
        if self.durability == Durability::Volatile {
            return Ok(());
        }
        rustix::fs::syncfs(open_directory(path)?).map_err(|errno| Error::io("sync", errno.into()))
    }

    fn mounts(&self, key: &Name) -> Result<MountPlan> {
        let row = self.catalog.get(key)?;
        if row.kind == SnapshotKind::Committed {
            return Err(Error::new(ErrorKind::InvalidState, "mounts").because("it is committed"));
        }
        let home = self.snapshot(row.id);
        guard::refuse_half_applied(&home, "mounts")?;
        Ok(MountPlan {
            snapshot: key.clone(),
            steps: vec![MountStep::bind(home.join("active"), MountFlags { read_only: row.kind == SnapshotKind::View })],
            hold: Some(home),
        })
    }

    fn commit(&self, key: &Name, name: &Name, labels: &Labels) -> Result<()> {
        let row = guard::active(&self.catalog, key, "commit")?;
        let home = self.snapshot(row.id);
        let _lock = guard::exclusive(&self.catalog, &row, &home, "commit")?;
        guard::refuse_half_applied(&home, "commit")?;
        self.flush(&home)?;
        self.catalog.commit(&CommitRow { key, name, labels, late_parent: None })?;
        std::fs::remove_file(home.join("active")).map_err(|error| Error::io("commit", error))
    }

    fn remove(&self, name: &Name) -> Result<()> {
        let row = self.catalog.get(name)?;
        let _lock = guard::begin_remove(&self.catalog, &row, &self.snapshot(row.id))?;
        recovery::remove_now(&self.catalog, &self.home(), row.id);
        Ok(())
    }

    fn compare(&self, lower: Option<&Name>, upper: &Name) -> Result<Comparison> {
        let open = |name| open_directory(&self.tree(self.catalog.get(name)?.id));
        let (below, above) = (lower.map(open).transpose()?, open(upper)?);
        let below = below.as_ref().map(|directory| directory.as_fd());
        let upper = Upper::Whole(above.as_fd());
        match compare(below, upper, &CompareOptions::default(), &self.counters)? {
            Outcome::Compared(comparison) => Ok(comparison),
            Outcome::NeedsWholeTrees => Err(Error::new(ErrorKind::Other, "diff")),
        }
    }

    fn apply(&self, key: &Name, from: ChangesetSource, options: &ApplyOptions) -> Result<Applied> {
        let row = guard::active(&self.catalog, key, "apply")?;
        let home = self.snapshot(row.id);
        let _lock = guard::exclusive(&self.catalog, &row, &home, "apply")?;
        let (applying, changeset) = guard::Applying::begin(&home, from)?;
        let root = open_directory(&self.tree(row.id))?;
        let target = ApplyTarget { root: root.as_fd(), placement: &mut PlainPlacement };
        let applied = apply(target, changeset, options)?;
        applying.finish().map(|()| applied)
    }
}

/// Runs `$work` on the store, off the async threads, with clones of the arguments.
macro_rules! run {
    ($self:ident, |$store:ident $(, $argument:ident)* $(; $optional:ident)?| $work:expr) => {{
        let $store = Arc::clone(&$self.store);
        $(let $argument = $argument.to_owned();)*
        $(let $optional = $optional.cloned();)?
        blocking(move || $work).await
    }};
}

#[async_trait]
impl StorageDriver for PlainCopy {
    fn info(&self) -> &DriverInfo {
        &self.info
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn counters(&self) -> &Counters {
        &self.store.counters
    }

    async fn prepare(&self, key: &Name, parent: Option<&Name>, options: &PrepareOptions) -> Result<()> {
        run!(self, |store, key, options; parent| store.create(&key, SnapshotKind::Active, parent.as_ref(), &options.labels))
    }

    async fn view(&self, key: &Name, parent: Option<&Name>, options: &PrepareOptions) -> Result<()> {
        run!(self, |store, key, options; parent| store.create(&key, SnapshotKind::View, parent.as_ref(), &options.labels))
    }

    async fn mounts(&self, key: &Name) -> Result<MountPlan> {
        run!(self, |store, key| store.mounts(&key))
    }

    async fn commit(&self, key: &Name, name: &Name, options: &CommitOptions) -> Result<()> {
        run!(self, |store, key, name, options| store.commit(&key, &name, &options.labels))
    }

    async fn remove(&self, name: &Name) -> Result<()> {
        run!(self, |store, name| store.remove(&name))
    }

    async fn stat(&self, name: &Name) -> Result<SnapshotInfo> {
        let absent = || Error::new(ErrorKind::NotFound, "stat");
        run!(self, |store, name| store.catalog.get(&name)?.into_info().ok_or_else(absent))
    }

    async fn list(&self) -> Result<Vec<SnapshotInfo>> {
        run!(self, |store| Ok(store.catalog.list()?.into_iter().filter_map(Row::into_info).collect()))
    }

    async fn relabel(&self, name: &Name, labels: &Labels) -> Result<()> {
        run!(self, |store, name, labels| store.catalog.set_labels(&name, &labels))
    }

    async fn usage(&self, name: &Name) -> Result<Usage> {
        run!(self, |store, name| {
            let own = open_directory(&store.snapshot(store.catalog.get(&name)?.id))?;
            tree::usage(own.as_fd(), &store.counters)
        })
    }

    async fn changes(&self, lower: Option<&Name>, upper: &Name) -> Result<Vec<Change>> {
        run!(self, |store, upper; lower| Ok(store.compare(lower.as_ref(), &upper)?.changes()))
    }

    async fn diff(&self, lower: Option<&Name>, upper: &Name, options: &DiffOptions) -> Result<DiffStream> {
        run!(self, |store, upper, options; lower| {
            let comparison = store.compare(lower.as_ref(), &upper)?;
            Ok(DiffSink::produce(move |sink| comparison.write(sink, &options).map(drop)))
        })
    }

    async fn apply(&self, key: &Name, changeset: ChangesetSource, options: &ApplyOptions) -> Result<Applied> {
        run!(self, |store, key, options| store.apply(&key, changeset, &options))
    }

    async fn reclaim(&self) -> Result<Reclaimed> {
        run!(self, |store| Ok(Reclaimed { snapshots: store.sweep(Leftovers::AbandonedOrRemoved)? }))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
