//! A wrapper around the example driver that plants one fault.

use async_trait::async_trait;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_driver::{
    Applied, ApplyOptions, Availability, Capabilities, Capability, Change, ChangesetSource,
    CommitOptions, Counters, DiffOptions, DiffStream, DriverFactory, DriverInfo, DriverName, Error,
    Host, Labels, MountPlan, OpenOptions, OptionSpec, PrepareOptions, Quirk, Reclaimed, Result,
    SnapshotInfo, SnapshotName, StorageDriver, Usage,
};

/// What the driver gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A copy lacks its source's trusted attributes.
    DropsXattr,
    /// Applying passes whiteouts over.
    LosesWhiteout,
    /// Applying writes through links, as `open(2)` would.
    FollowsLinks,
    /// Preparing leaves a mount behind.
    LeaksMount,
    /// It claims a native diff and walks whole trees.
    WalksEverything,
    /// Copying a layer syncs each file of the copy.
    SyncsEachFile,
    /// A diff looks at all of the base once more.
    WalksBase,
    /// Seeing a snapshot makes a mount and takes it away again.
    MountsOnceMore,
    /// A copy has a file that its source has not.
    AddsFile,
    /// One quirk is declared that it has not, and one that it has is not.
    LiesAboutQuirks,
}

#[derive(Debug)]
pub(crate) struct FaultyFactory {
    pub(crate) fault: Fault,
}

#[derive(Debug)]
struct Faulty {
    fault: Fault,
    capabilities: Capabilities,
    inner: Arc<dyn StorageDriver>,
}

impl DriverFactory for FaultyFactory {
    fn name(&self) -> DriverName {
        plain_copy::PlainCopyFactory.name()
    }

    fn summary(&self) -> &'static str {
        "a driver with a fault"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn probe(&self, host: &Host, root: &Path) -> Availability {
        plain_copy::PlainCopyFactory.probe(host, root)
    }

    fn open(&self, options: &OpenOptions, host: &Host) -> Result<Arc<dyn StorageDriver>> {
        let inner = plain_copy::PlainCopyFactory.open(options, host)?;
        let mut capabilities = inner.capabilities().clone();
        match self.fault {
            Fault::WalksEverything => capabilities.note(Capability::NativeDiff, Ok(())),
            Fault::LiesAboutQuirks => {
                capabilities.quirks.remove(&Quirk::LateWriterPossible);
                capabilities.quirks.insert(Quirk::InodeChanges);
            }
            _ => {}
        }
        Ok(Arc::new(Faulty {
            fault: self.fault,
            capabilities,
            inner,
        }))
    }
}

impl Faulty {
    /// The directory that an active snapshot is kept in.
    async fn tree(&self, key: &SnapshotName) -> Result<PathBuf> {
        Ok(self.inner.mounts(key).await?.steps[0].source.clone())
    }

    /// Looks at every entry of a committed layer, through a view of it.
    async fn walk_layer(&self, name: &SnapshotName) -> Result<()> {
        let key = SnapshotName::new("walked").unwrap();
        let options = PrepareOptions::default();
        self.inner.view(&key, Some(name), &options).await?;
        let entries = count_entries(&self.tree(&key).await?);
        self.counters().add_entries_walked(entries);
        self.inner.remove(&key).await
    }

    fn leak_a_mount(&self) -> Result<()> {
        let root = &self.inner.info().root;
        rustix::mount::mount_bind(root, root).map_err(|errno| Error::io("leak", errno.into()))
    }

    /// Writes where links lead; nowhere but in the fixture, or the fault would be one of ours.
    fn follow_links(&self, tree: &Path, archive: &[u8]) {
        let fixture = self.inner.info().root.parent().unwrap();
        for (name, content) in entries(archive) {
            let target = tree.join(&name);
            let parent = target
                .parent()
                .and_then(|parent| parent.canonicalize().ok());
            if parent.is_some_and(|parent| parent.starts_with(fixture)) && !content.is_empty() {
                fs_err::write(&target, &content).unwrap_or_default();
            }
        }
    }
}

fn drop_xattrs(directory: &Path) {
    for entry in fs_err::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        // Most have none to drop.
        rustix::fs::lremovexattr(&path, "trusted.a").unwrap_or_default();
        if path.is_dir() && !path.is_symlink() {
            drop_xattrs(&path);
        }
    }
}

fn sync_files(directory: &Path) {
    for entry in fs_err::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            sync_files(&entry.path());
        } else if kind.is_file() {
            fs_err::File::open(entry.path())
                .unwrap()
                .sync_all()
                .unwrap();
        }
    }
}

fn count_entries(directory: &Path) -> u64 {
    let mut entries = 0;
    for entry in fs_err::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        entries += 1;
        if entry.file_type().unwrap().is_dir() {
            entries += count_entries(&entry.path());
        }
    }
    entries
}

/// Where each header of an archive begins, and the bytes that belong to it.
fn blocks(archive: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut offset = 0;
    while offset + 512 <= archive.len() && archive[offset] != 0 {
        let size = std::str::from_utf8(&archive[offset + 124..offset + 135]).unwrap_or("0");
        let size = usize::from_str_radix(size, 8).unwrap_or(0);
        let end = offset + 512 + size.next_multiple_of(512);
        found.push((offset, end));
        offset = end;
    }
    found
}

fn name_at(archive: &[u8], offset: usize) -> String {
    let field = &archive[offset..offset + 100];
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(100);
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn entries(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let content = |(offset, end): (usize, usize)| {
        let end = end.min(archive.len());
        (
            name_at(archive, offset),
            archive[offset + 512..end].to_vec(),
        )
    };
    blocks(archive).into_iter().map(content).collect()
}

fn without_whiteouts(archive: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    for (offset, end) in blocks(archive) {
        let name = name_at(archive, offset);
        let base = name.rsplit('/').next().unwrap_or_default();
        if !base.starts_with(".wh.") || base == ".wh..wh..opq" {
            kept.extend_from_slice(&archive[offset..end.min(archive.len())]);
        }
    }
    kept
}

#[async_trait]
impl StorageDriver for Faulty {
    fn info(&self) -> &DriverInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
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
        self.inner.prepare(key, parent, options).await?;
        match self.fault {
            Fault::DropsXattr if parent.is_some() => drop_xattrs(&self.tree(key).await?),
            Fault::AddsFile if parent.is_some() => {
                fs_err::write(self.tree(key).await?.join("stray"), "stray").unwrap();
            }
            Fault::SyncsEachFile if parent.is_some() => sync_files(&self.tree(key).await?),
            Fault::LeaksMount => self.leak_a_mount()?,
            _ => {}
        }
        Ok(())
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
        if self.fault == Fault::MountsOnceMore {
            self.leak_a_mount()?;
            rustix::mount::unmount(&self.inner.info().root, rustix::mount::UnmountFlags::DETACH)
                .map_err(|errno| Error::io("mounts", errno.into()))?;
        }
        self.inner.mounts(key).await
    }

    async fn commit(
        &self,
        key: &SnapshotName,
        name: &SnapshotName,
        options: &CommitOptions,
    ) -> Result<()> {
        self.inner.commit(key, name, options).await
    }

    async fn remove(&self, name: &SnapshotName) -> Result<()> {
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
        if self.fault == Fault::WalksBase
            && let Some(lower) = lower
        {
            self.walk_layer(lower).await?;
        }
        self.inner.diff(lower, upper, options).await
    }

    async fn apply(
        &self,
        key: &SnapshotName,
        changeset: ChangesetSource,
        options: &ApplyOptions,
    ) -> Result<Applied> {
        let mut bytes = strata_driver::blocking(move || {
            let mut bytes = Vec::new();
            changeset
                .into_read()
                .read_to_end(&mut bytes)
                .map_err(|error| Error::io("apply", error))?;
            Ok(bytes)
        })
        .await?;
        match self.fault {
            Fault::LosesWhiteout => bytes = without_whiteouts(&bytes),
            Fault::FollowsLinks => self.follow_links(&self.tree(key).await?, &bytes),
            _ => {}
        }
        let source = ChangesetSource::from_read(std::io::Cursor::new(bytes));
        self.inner.apply(key, source, options).await
    }

    async fn reclaim(&self) -> Result<Reclaimed> {
        self.inner.reclaim().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
