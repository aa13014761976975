//! A wrapper around a real driver that delegates everything and breaks one thing.

pub(crate) mod archive;
#[cfg(test)]
mod bench;
pub(crate) mod blind;
pub(crate) mod blind_again;
#[cfg(test)]
mod blind_again_proof;
#[cfg(test)]
mod blind_proof;
pub(crate) mod defects;
mod edits;
pub(crate) mod third;
#[cfg(test)]
mod third_proof;

use archive::{Member, read, read_source, sent};
use async_trait::async_trait;
use edits::{Place, place};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use strata_driver::mount::hold;
use strata_driver::{
    Applied, ApplyOptions, Availability, Capabilities, Change, ChangesetSource, CommitOptions,
    Counters, DiffOptions, DiffStream, DriverFactory, DriverInfo, DriverName, Error, ErrorKind,
    Host, Labels, MountPlan, OpenOptions, OptionSpec, PrepareOptions, Reclaimed, Result,
    SnapshotInfo, SnapshotKind, SnapshotName, StorageDriver, Usage, blocking,
};

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plant {
    /// Nothing does; directories are read and streams rewritten all the same.
    Nothing,
    /// What a prepare makes on a parent.
    Copy(fn(&Place)),
    /// A snapshot before it is mounted another time.
    Remount(fn(&Place)),
    /// A snapshot before it is mounted a third time, and later.
    SecondRemount(fn(&Place)),
    /// A snapshot before a commit.
    Commit(fn(&Place)),
    /// A snapshot before it is mounted another time, and before a commit.
    Unmounted(fn(&Place)),
    /// What an apply leaves.
    Applied(fn(&Place)),
    /// What an apply leaves; what was applied is given as well.
    Unpacked(fn(&Place, &[Member])),
    /// A mounted snapshot that is asked how it differs.
    Asked(fn(&Place)),
    /// The plan of an active snapshot.
    Plan(fn(&mut MountPlan)),
    /// The plan of a view.
    ViewPlan(fn(&mut MountPlan)),
    /// The plan of either.
    EitherPlan(fn(&mut MountPlan)),
    /// A diff; what the lower snapshot holds is given as well.
    Diff(fn(Vec<Member>, &[Member]) -> Vec<Member>),
    /// A diff of whole trees; the upper one is given as well.
    DiffOfTree(fn(Vec<Member>, &Path) -> Vec<Member>),
    /// What is given to an apply; what the parent holds is given as well.
    Apply(fn(Vec<Member>, &[Member]) -> Vec<Member>),
    /// `changes`; what the lower snapshot holds is given as well.
    Changes(fn(&mut Vec<Change>, &[Member])),
    /// `changes`; what both snapshots hold is given as well.
    ChangesOfBoth(fn(&mut Vec<Change>, &[Member], &[Member])),
    /// An active snapshot under whose key another one was to be prepared.
    Refused(fn(&Place)),
    /// What a view showed that was removed, of a driver with whole trees.
    ViewRemoved(fn(&Path)),
    /// A call does something else than it says.
    Lie(Lie),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    ChildWritesToParent,
    ViewWritable,
    ViewShowsGrandparent,
    PrepareOnLatest,
    SecondChildStartsAsFirst,
    PlanShowsOldUpper,
    ReopenForgetsLast,
    RemoveOfParentSucceeds,
    RemoveDoesNothing,
    ListOmitsLast,
    ListInOrderOfAge,
    StatWrongParent,
    StatRemembersParent,
    RemoveTakesViews,
    LabelsStayWithName,
}

/// Opens a driver with a defect.
#[derive(Debug)]
pub(crate) struct MutantFactory {
    pub(crate) inner: Arc<dyn DriverFactory>,
    pub(crate) plant: Plant,
}

#[derive(Debug)]
struct Mutant {
    plant: Plant,
    inner: Arc<dyn StorageDriver>,
    /// There were snapshots when it was opened.
    is_reopened: bool,
    forgotten: OnceLock<Option<SnapshotName>>,
    /// How often each key has been mounted.
    mounted: Mutex<BTreeMap<SnapshotName, u32>>,
    /// The parent that `stat` named first, until what it was asked for is removed.
    parents: Mutex<BTreeMap<SnapshotName, Option<SnapshotName>>>,
    /// The labels that names had when they became free.
    labels: Mutex<BTreeMap<SnapshotName, Labels>>,
}

impl DriverFactory for MutantFactory {
    fn name(&self) -> DriverName {
        self.inner.name()
    }

    fn summary(&self) -> &'static str {
        "a driver with a defect"
    }

    fn options(&self) -> &'static [OptionSpec] {
        self.inner.options()
    }

    fn probe(&self, host: &Host, root: &Path) -> Availability {
        self.inner.probe(host, root)
    }

    fn open(&self, options: &OpenOptions, host: &Host) -> Result<Arc<dyn StorageDriver>> {
        let is_reopened = options.root.exists();
        Ok(Arc::new(Mutant {
            plant: self.plant,
            inner: self.inner.open(options, host)?,
            is_reopened,
            forgotten: OnceLock::new(),
            mounted: Mutex::default(),
            parents: Mutex::default(),
            labels: Mutex::default(),
        }))
    }
}

fn is_layer(info: &SnapshotInfo) -> bool {
    // Others are what the harness looks through.
    info.kind == SnapshotKind::Committed && number(&info.name).is_some()
}

fn number(name: &SnapshotName) -> Option<u32> {
    name.as_str().strip_prefix("number-")?.parse().ok()
}

impl Mutant {
    fn lies(&self, lie: Lie) -> bool {
        matches!(self.plant, Plant::Lie(planted) if planted == lie)
    }

    async fn is_active(&self, name: &SnapshotName) -> Result<bool> {
        Ok(self.inner.stat(name).await?.kind == SnapshotKind::Active)
    }

    /// Edits the directories of a snapshot that is not mounted.
    async fn edit(&self, key: &SnapshotName, edit: fn(&Place)) -> Result<()> {
        let place = place(&self.inner.mounts(key).await?);
        blocking(move || {
            edit(&place);
            Ok(())
        })
        .await
    }

    async fn latest(&self) -> Result<Option<SnapshotName>> {
        let layers = self.inner.list().await?.into_iter().filter(is_layer);
        let latest = layers.max_by_key(|info| number(&info.name));
        Ok(latest.map(|info| info.name))
    }

    async fn parent(&self, name: &SnapshotName) -> Result<Option<SnapshotName>> {
        Ok(self.inner.stat(name).await?.parent)
    }

    /// Refuses the layer that was forgotten.
    async fn remember(&self, name: &SnapshotName) -> Result<()> {
        if !self.lies(Lie::ReopenForgetsLast) || !self.is_reopened {
            return Ok(());
        }
        if self.forgotten.get().is_none() {
            let latest = self.latest().await?;
            self.forgotten.get_or_init(|| latest);
        }
        match self.forgotten.get() {
            Some(Some(forgotten)) if forgotten == name => {
                Err(Error::new(ErrorKind::NotFound, "look").with("name", name))
            }
            _ => Ok(()),
        }
    }

    /// Counts a mount of `key`; this one is counted as well.
    fn count_mount(&self, key: &SnapshotName) -> u32 {
        let mut mounted = self.mounted.lock().unwrap();
        let times = mounted.entry(key.clone()).or_default();
        *times += 1;
        *times
    }

    /// A second remount is one of the same snapshot, not of another under the same key.
    fn forget_mounts(&self, key: &SnapshotName) {
        if matches!(self.plant, Plant::SecondRemount(_)) {
            self.mounted.lock().unwrap().remove(key);
        }
    }

    /// Another active snapshot on `parent`.
    async fn sibling(
        &self,
        key: &SnapshotName,
        parent: &SnapshotName,
    ) -> Result<Option<SnapshotName>> {
        let mut all = self.inner.list().await?.into_iter();
        let sibling = all.find(|info| {
            info.kind == SnapshotKind::Active
                && info.name != *key
                && info.parent.as_ref() == Some(parent)
        });
        Ok(sibling.map(|info| info.name))
    }

    /// Gives `key` what another snapshot on its parent has had written so far.
    async fn start_as_sibling(&self, key: &SnapshotName, parent: &SnapshotName) -> Result<()> {
        let Some(sibling) = self.sibling(key, parent).await? else {
            return Ok(());
        };
        let options = DiffOptions::default();
        // What a changeset cannot carry is no sibling to start from.
        let bytes = match self.inner.diff(Some(parent), &sibling, &options).await {
            Ok(stream) => read(stream).await,
            Err(error) => Err(error),
        };
        let Ok(bytes) = bytes else {
            return Ok(());
        };
        let source = ChangesetSource::from_read(Cursor::new(bytes));
        let options = ApplyOptions::default();
        self.inner.apply(key, source, &options).await.map(drop)
    }

    /// The directory that shows a snapshot of a driver with whole trees.
    async fn tree(&self, name: &SnapshotName) -> Result<PathBuf> {
        if self.inner.stat(name).await?.kind != SnapshotKind::Committed {
            return Ok(place(&self.inner.mounts(name).await?).top);
        }
        let view = SnapshotName::new("looked at instead")?;
        let options = PrepareOptions::default();
        self.inner.view(&view, Some(name), &options).await?;
        let plan = self.inner.mounts(&view).await?;
        self.inner.remove(&view).await?;
        Ok(place(&plan).top)
    }

    /// The directory that a view shows which is to be removed.
    async fn shown(&self, name: &SnapshotName) -> Result<Option<PathBuf>> {
        if !matches!(self.plant, Plant::ViewRemoved(_)) {
            return Ok(None);
        }
        match self.inner.stat(name).await {
            Ok(info) if info.kind == SnapshotKind::View => self.tree(name).await.map(Some),
            // What is wrong with the name, the driver answers.
            _ => Ok(None),
        }
    }

    /// Edits the directories of a mounted snapshot that is asked how it differs.
    async fn asked(&self, upper: &SnapshotName) -> Result<()> {
        let Plant::Asked(edit) = self.plant else {
            return Ok(());
        };
        // What is wrong with the question, the driver answers.
        let Ok(true) = self.is_active(upper).await else {
            return Ok(());
        };
        let Ok(plan) = self.inner.mounts(upper).await else {
            return Ok(());
        };
        match plan.hold.as_deref().map(hold::is_held).transpose()? {
            Some(true) => self.edit(upper, edit).await,
            _ => Ok(()),
        }
    }

    /// Whether a commit has nothing to be refused for, so that what it breaks is not what a refused
    /// one left.
    async fn can_commit(&self, key: &SnapshotName, name: &SnapshotName) -> Result<bool> {
        let Ok(true) = self.is_active(key).await else {
            return Ok(false);
        };
        let plan = self.inner.mounts(key).await?;
        let held = plan.hold.as_deref().map(hold::is_held).transpose()?;
        Ok(held != Some(true) && self.inner.stat(name).await.is_err())
    }

    /// All that a snapshot holds, as a changeset.
    async fn holds(&self, name: Option<&SnapshotName>) -> Result<Vec<Member>> {
        let Some(name) = name else {
            return Ok(Vec::new());
        };
        let stream = self.inner.diff(None, name, &DiffOptions::default()).await;
        Ok(archive::decode(&read(stream?).await?))
    }
}

/// Names directories of a fresh layer instead of those that were written.
fn show_old_upper(plan: &mut MountPlan) {
    for option in &mut plan.steps[0].options {
        if let ("upperdir" | "workdir", Some(path)) = (&option.key[..], &mut option.value) {
            path.push_str("-old");
            fs_err::create_dir_all(path).unwrap();
        }
    }
}

#[async_trait]
impl StorageDriver for Mutant {
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
        let labels = self.with_old_labels(key, &options.labels);
        let options = &options.clone().with_labels(labels);
        if let Plant::Refused(edit) = self.plant {
            let done = self.inner.prepare(key, parent, options).await;
            if matches!(&done, Err(error) if error.kind() == ErrorKind::AlreadyExists)
                && let Ok(true) = self.is_active(key).await
            {
                // What is half applied has no plan; it is for removal only anyway.
                self.edit(key, edit).await.unwrap_or_default();
            }
            return done;
        }
        let Some(mut parent) = parent.cloned() else {
            return self.inner.prepare(key, None, options).await;
        };
        self.remember(&parent).await?;
        if self.lies(Lie::PrepareOnLatest) && self.inner.stat(&parent).await.is_ok() {
            parent = self.latest().await?.unwrap_or(parent);
        }
        self.inner.prepare(key, Some(&parent), options).await?;
        match self.plant {
            Plant::Copy(edit) => self.edit(key, edit).await,
            Plant::Lie(Lie::SecondChildStartsAsFirst) => self.start_as_sibling(key, &parent).await,
            Plant::Nothing => self.edit(key, edits::nothing).await,
            _ => Ok(()),
        }
    }

    async fn view(
        &self,
        key: &SnapshotName,
        parent: Option<&SnapshotName>,
        options: &PrepareOptions,
    ) -> Result<()> {
        let labels = self.with_old_labels(key, &options.labels);
        let options = &options.clone().with_labels(labels);
        let mut parent = parent.cloned();
        if let Some(name) = &parent {
            self.remember(name).await?;
            if self.lies(Lie::ViewShowsGrandparent)
                && let Some(grandparent) = self.parent(name).await?
            {
                parent = Some(grandparent);
            }
        }
        self.inner.view(key, parent.as_ref(), options).await
    }

    async fn mounts(&self, key: &SnapshotName) -> Result<MountPlan> {
        let mut plan = self.inner.mounts(key).await?;
        if !self.is_active(key).await? {
            plan.steps[0].flags.read_only &= !self.lies(Lie::ViewWritable);
            if let Plant::ViewPlan(edit) | Plant::EitherPlan(edit) = self.plant {
                edit(&mut plan);
            }
            return Ok(plan);
        }
        let held = plan.hold.as_deref().map(hold::is_held).transpose()?;
        if held == Some(false) {
            let times = self.count_mount(key);
            let again = times > 1;
            match self.plant {
                Plant::Remount(edit) | Plant::Unmounted(edit) if again => {
                    self.edit(key, edit).await?;
                }
                Plant::SecondRemount(edit) if times > 2 => self.edit(key, edit).await?,
                Plant::Nothing => self.edit(key, edits::nothing).await?,
                Plant::Lie(Lie::PlanShowsOldUpper) if again => show_old_upper(&mut plan),
                _ => {}
            }
        }
        match self.plant {
            Plant::Plan(edit) | Plant::EitherPlan(edit) => edit(&mut plan),
            Plant::Lie(Lie::ChildWritesToParent) => {
                if let Some(parent) = self.parent(key).await? {
                    let view = SnapshotName::new("shown instead")?;
                    let options = PrepareOptions::default();
                    self.inner.view(&view, Some(&parent), &options).await?;
                    let shown = self.inner.mounts(&view).await?.steps[0].source.clone();
                    self.inner.remove(&view).await?;
                    plan.steps[0].source = shown;
                }
            }
            _ => {}
        }
        Ok(plan)
    }

    async fn commit(
        &self,
        key: &SnapshotName,
        name: &SnapshotName,
        options: &CommitOptions,
    ) -> Result<()> {
        if self.can_commit(key, name).await? {
            match self.plant {
                Plant::Commit(edit) | Plant::Unmounted(edit) => self.edit(key, edit).await?,
                Plant::Nothing => self.edit(key, edits::nothing).await?,
                _ => {}
            }
        }
        self.note_labels(key).await;
        let labels = self.with_old_labels(name, &options.labels);
        let options = &options.clone().with_labels(labels);
        self.inner.commit(key, name, options).await?;
        self.forget_mounts(key);
        Ok(())
    }

    async fn remove(&self, name: &SnapshotName) -> Result<()> {
        self.remember(name).await?;
        if self.lies(Lie::RemoveDoesNothing) && is_layer(&self.inner.stat(name).await?) {
            let all = self.inner.list().await?;
            if all.iter().all(|info| info.parent.as_ref() != Some(name)) {
                return Ok(());
            }
        }
        self.note_labels(name).await;
        self.take_views(name).await?;
        let shown = self.shown(name).await?;
        match self.inner.remove(name).await {
            Ok(()) => {
                self.forget_mounts(name);
                self.parents.lock().unwrap().remove(name);
                if let (Plant::ViewRemoved(edit), Some(shown)) = (self.plant, shown) {
                    let edited = blocking(move || {
                        edit(&shown);
                        Ok(())
                    });
                    edited.await?;
                }
                Ok(())
            }
            Err(error)
                if error.kind() == ErrorKind::InUse && self.lies(Lie::RemoveOfParentSucceeds) =>
            {
                Ok(())
            }
            done => done,
        }
    }

    async fn stat(&self, name: &SnapshotName) -> Result<SnapshotInfo> {
        self.remember(name).await?;
        let mut info = self.inner.stat(name).await?;
        if self.lies(Lie::StatWrongParent)
            && let Some(parent) = &info.parent
            && let Some(grandparent) = self.parent(parent).await?
        {
            info.parent = Some(grandparent);
        }
        if self.lies(Lie::StatRemembersParent) {
            let mut parents = self.parents.lock().unwrap();
            let known = parents.entry(name.clone());
            let known = known.or_insert_with(|| info.parent.clone());
            info.parent.clone_from(known);
        }
        Ok(info)
    }

    async fn list(&self) -> Result<Vec<SnapshotInfo>> {
        let mut all = self.inner.list().await?;
        if self.lies(Lie::ListOmitsLast) {
            all.pop();
        }
        if self.lies(Lie::ListInOrderOfAge) {
            all.sort_by_key(|info| info.created_ms);
        }
        Ok(all)
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
        self.asked(upper).await?;
        let mut changes = self.inner.changes(lower, upper).await?;
        if let Plant::Changes(edit) = self.plant {
            edit(&mut changes, &self.holds(lower).await?);
        }
        if let Plant::ChangesOfBoth(edit) = self.plant
            // There is nothing to tell of what a changeset cannot carry.
            && let (Ok(below), Ok(above)) = (self.holds(lower).await, self.holds(Some(upper)).await)
        {
            edit(&mut changes, &below, &above);
        }
        Ok(changes)
    }

    async fn diff(
        &self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
        options: &DiffOptions,
    ) -> Result<DiffStream> {
        self.asked(upper).await?;
        let stream = self.inner.diff(lower, upper, options).await?;
        if let Plant::DiffOfTree(edit) = self.plant
            && let Ok(tree) = self.tree(upper).await
        {
            let members = archive::decode(&read(stream).await?);
            return Ok(sent(edit(members, &tree)));
        }
        let edit = match self.plant {
            Plant::Diff(edit) => edit,
            Plant::Nothing => |members, _: &[Member]| members,
            _ => return Ok(stream),
        };
        let members = archive::decode(&read(stream).await?);
        Ok(sent(edit(members, &self.holds(lower).await?)))
    }

    async fn apply(
        &self,
        key: &SnapshotName,
        changeset: ChangesetSource,
        options: &ApplyOptions,
    ) -> Result<Applied> {
        let edit = match self.plant {
            Plant::Apply(edit) => edit,
            Plant::Nothing => |members, _: &[Member]| members,
            Plant::Applied(edit) => {
                let applied = self.inner.apply(key, changeset, options).await?;
                self.edit(key, edit).await?;
                return Ok(applied);
            }
            Plant::Unpacked(edit) => {
                let bytes = read_source(changeset).await?;
                let source = ChangesetSource::from_read(Cursor::new(bytes.clone()));
                let applied = self.inner.apply(key, source, options).await?;
                let place = place(&self.inner.mounts(key).await?);
                let edited = blocking(move || {
                    edit(&place, &archive::decode(&bytes));
                    Ok(())
                });
                edited.await?;
                return Ok(applied);
            }
            _ => return self.inner.apply(key, changeset, options).await,
        };
        let bytes = read_source(changeset).await?;
        let members = archive::decode(&bytes);
        if members.is_empty() {
            // It may be no archive at all, which is for the driver to say.
            let source = ChangesetSource::from_read(Cursor::new(bytes));
            return self.inner.apply(key, source, options).await;
        }
        let parent = self.parent(key).await?;
        let members = edit(members, &self.holds(parent.as_ref()).await?);
        let source = ChangesetSource::from_read(Cursor::new(archive::encode(&members)));
        self.inner.apply(key, source, options).await
    }

    async fn reclaim(&self) -> Result<Reclaimed> {
        self.inner.reclaim().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
