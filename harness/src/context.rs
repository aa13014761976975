//! The only thing that a case touches: a driver in a fresh root, with plain verbs around it.

use crate::edit::Dir;
use crate::fixture::{FileSystemKind, Fixture};
use crate::interrupt;
use crate::live::Live;
use crate::oracle;
use crate::seed::{Generator, Seed};
use crate::tree::Tree;
use anyhow::{Context as _, Result, bail, ensure};
use std::ffi::OsString;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_driver::{
    Applied, ApplyOptions, Availability, Capabilities, Capability, Change, ChangesetSource,
    Checked, CommitOptions, DiffOptions, DriverFactory, Error, ErrorKind, Host, OpenOptions,
    PrepareOptions, Quirk, SnapshotInfo, SnapshotName, StorageDriver, Usage,
};
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Runtime;

/// What all cases of one run share.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Opens the driver under test.
    pub factory: Arc<dyn DriverFactory>,
    /// Facts of the host.
    pub host: Host,
    /// Runs the async contract.
    pub runtime: Arc<Runtime>,
    /// The fixture's directory.
    pub place: PathBuf,
    /// The kind of the fixture's file system, if it made one.
    pub kind: Option<FileSystemKind>,
    /// Where everything generated comes from.
    pub seed: Seed,
    /// A program that runs [`crate::conformance::child`] first of all, for cases that kill one.
    pub child: Option<PathBuf>,
    /// Options for every opening of the driver.
    pub open: OpenOptions,
}

/// The driver does not run on a file system that a case wants beside the fixture's; the runner
/// skips the case.
#[derive(Clone, Debug)]
pub(crate) struct NoGround(pub(crate) String);

impl std::fmt::Display for NoGround {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoGround {}

/// A driver in a fresh root.
#[derive(Debug)]
pub struct Context {
    setting: Setting,
    driver: Option<Arc<dyn StorageDriver>>,
    place: PathBuf,
    next: u32,
}

impl Context {
    /// Opens the driver in a fresh root below `place`, which is made.
    pub fn new(setting: &Setting, place: PathBuf) -> Result<Self> {
        Self::with_root(setting, place, "root")
    }

    fn with_root(setting: &Setting, place: PathBuf, root: &str) -> Result<Self> {
        fs_err::create_dir(&place)?;
        fs_err::create_dir(place.join("mnt"))?;
        let mut setting = setting.clone();
        setting.open.root = place.join(root);
        let mut context = Self {
            setting,
            driver: None,
            place,
            next: 0,
        };
        context.open()?;
        Ok(context)
    }

    /// Another instance of the same driver in a fresh root of its own.
    pub fn elsewhere(&mut self) -> Result<Self> {
        let place = self.path("elsewhere");
        Self::new(&self.setting, place)
    }

    /// Another instance in a root of this name, which may be several directories deep.
    pub fn elsewhere_named(&mut self, root: &Path) -> Result<Self> {
        let place = self.path("elsewhere");
        if let Some(above) = root.parent() {
            fs_err::create_dir_all(place.join("above").join(above))?;
        }
        let root = Path::new("above").join(root);
        fs_err::create_dir(place.join("mnt"))?;
        let mut setting = self.setting.clone();
        setting.open.root = place.join(root);
        let mut context = Self {
            setting,
            driver: None,
            place,
            next: 0,
        };
        context.open()?;
        Ok(context)
    }

    /// Another instance on `fixture`.
    pub fn on(&self, fixture: &Fixture) -> Result<Self> {
        Self::new(&self.setting, fixture.path().join("c"))
    }

    /// The smallest file system of the fixture's kind on which the driver has room; of memory if
    /// the fixture made none.
    pub fn tiny_file_system(&self) -> Result<Fixture> {
        let kind = self.setting.kind.unwrap_or(FileSystemKind::Tmpfs);
        let factory = &self.setting.factory;
        let room = factory.room_of_root(kind.as_str());
        let fixture = Fixture::file_system(kind, kind.least_size() + room.0)?;
        match factory.probe(&self.setting.host, &fixture.path().join("root")) {
            Availability::Available(_) => Ok(fixture),
            Availability::Unavailable(why) => {
                fixture.close()?;
                Err(NoGround(format!("not on a tiny {kind}: {}", why.missing)).into())
            }
        }
    }

    /// What this case was set up with.
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The driver itself.
    ///
    /// # Panics
    /// Between [`Context::shut`] and [`Context::reopen`].
    pub fn driver(&self) -> &Arc<dyn StorageDriver> {
        self.driver
            .as_ref()
            .expect("a driver is closed only while it is opened again")
    }

    /// Whether there is a driver: not between [`Context::shut`] and [`Context::reopen`].
    pub(crate) fn is_open(&self) -> bool {
        self.driver.is_some()
    }

    /// What the driver says of itself.
    pub fn capabilities(&self) -> &Capabilities {
        self.driver().capabilities()
    }

    /// Whether the driver has a capability.
    pub fn has(&self, capability: Capability) -> bool {
        self.capabilities().has(capability)
    }

    /// The driver's root.
    pub fn root(&self) -> &Path {
        &self.setting.open.root
    }

    /// A generator that is this case's own.
    pub fn generator(&self, purpose: &str) -> Generator {
        self.setting.seed.generator(purpose)
    }

    /// A path in this case's place that nothing has used yet.
    pub fn path(&mut self, purpose: &str) -> PathBuf {
        self.next += 1;
        self.place.join(format!("{purpose}-{}", self.next))
    }

    /// A fresh plain directory beside the driver's root.
    pub fn plain_dir(&mut self) -> Result<Dir> {
        let path = self.path("plain");
        fs_err::create_dir(&path)?;
        let dir = Dir::new(path);
        dir.mode(".", 0o755)?;
        Ok(dir)
    }

    /// A snapshot name that this case has not used yet.
    pub fn fresh_name(&mut self, purpose: &str) -> SnapshotName {
        self.next += 1;
        name(&format!("{purpose}-{}", self.next))
    }

    fn open(&mut self) -> Result<()> {
        let opened = self
            .setting
            .factory
            .open(&self.setting.open, &self.setting.host)?;
        // Refusing what a driver is not capable of is the wrapper's part, for everybody.
        self.driver = Some(Arc::new(Checked::new(opened)));
        Ok(())
    }

    /// Closes the driver and opens it again in the same root.
    pub fn reopen(&mut self) -> Result<()> {
        self.shut()?;
        self.open()
    }

    /// Closes the driver; only [`Context::reopen`] may follow.
    pub fn shut(&mut self) -> Result<()> {
        if let Some(driver) = self.driver.take() {
            self.setting.runtime.block_on(driver.close())?;
        }
        Ok(())
    }

    /// Runs a call of the async contract.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.setting.runtime.block_on(future)
    }

    /// `prepare` without options.
    pub fn prepare(
        &self,
        key: &SnapshotName,
        parent: Option<&SnapshotName>,
    ) -> strata_driver::Result<()> {
        self.prepare_with(key, parent, &PrepareOptions::default())
    }

    /// `prepare`.
    pub fn prepare_with(
        &self,
        key: &SnapshotName,
        parent: Option<&SnapshotName>,
        options: &PrepareOptions,
    ) -> strata_driver::Result<()> {
        self.wait(self.driver().prepare(key, parent, options))
    }

    /// `view` without options.
    pub fn view(
        &self,
        key: &SnapshotName,
        parent: Option<&SnapshotName>,
    ) -> strata_driver::Result<()> {
        self.wait(self.driver().view(key, parent, &PrepareOptions::default()))
    }

    /// `commit` without options.
    pub fn commit(&self, key: &SnapshotName, name: &SnapshotName) -> strata_driver::Result<()> {
        self.commit_with(key, name, &CommitOptions::default())
    }

    /// `commit`.
    pub fn commit_with(
        &self,
        key: &SnapshotName,
        name: &SnapshotName,
        options: &CommitOptions,
    ) -> strata_driver::Result<()> {
        self.wait(self.driver().commit(key, name, options))
    }

    /// `remove`.
    pub fn remove(&self, name: &SnapshotName) -> strata_driver::Result<()> {
        self.wait(self.driver().remove(name))
    }

    /// `stat`.
    pub fn stat(&self, name: &SnapshotName) -> strata_driver::Result<SnapshotInfo> {
        self.wait(self.driver().stat(name))
    }

    /// `list`.
    pub fn list(&self) -> strata_driver::Result<Vec<SnapshotInfo>> {
        self.wait(self.driver().list())
    }

    /// The names that `list` gives.
    pub fn listed(&self) -> Result<Vec<String>> {
        Ok(self
            .list()?
            .into_iter()
            .map(|info| info.name.to_string())
            .collect())
    }

    /// `usage`.
    pub fn usage(&self, name: &SnapshotName) -> strata_driver::Result<Usage> {
        self.wait(self.driver().usage(name))
    }

    /// `changes`.
    pub fn changes(
        &self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
    ) -> strata_driver::Result<Vec<Change>> {
        self.wait(self.driver().changes(lower, upper))
    }

    /// `reclaim`.
    pub fn reclaim(&self) -> strata_driver::Result<strata_driver::Reclaimed> {
        self.wait(self.driver().reclaim())
    }

    /// `mounts`, and what it says mounted on a fresh directory.
    pub fn mount(&mut self, key: &SnapshotName) -> Result<Live> {
        interrupt::check()?;
        let plan = self.wait(self.driver().mounts(key))?;
        self.next += 1;
        let target = self.place.join(format!("mnt/{}", self.next));
        Live::new(&plan, target).with_context(|| format!("mount `{key}`"))
    }

    /// Edits an active snapshot through a mount.
    pub fn edit(
        &mut self,
        key: &SnapshotName,
        edit: impl FnOnce(&Dir) -> Result<()>,
    ) -> Result<()> {
        let live = self.mount(key)?;
        edit(&live)?;
        live.unmount()
    }

    /// A committed snapshot on `parent` with these edits.
    pub fn layer(
        &mut self,
        parent: Option<&SnapshotName>,
        edit: impl FnOnce(&Dir) -> Result<()>,
    ) -> Result<SnapshotName> {
        let key = self.active(parent)?;
        self.edit(&key, edit)?;
        self.commit_fresh(&key)
    }

    /// A fresh active snapshot on `parent`.
    pub fn active(&mut self, parent: Option<&SnapshotName>) -> Result<SnapshotName> {
        interrupt::check()?;
        let key = self.fresh_name("active");
        self.prepare(&key, parent)?;
        Ok(key)
    }

    /// Commits `key` under a fresh name.
    pub fn commit_fresh(&mut self, key: &SnapshotName) -> Result<SnapshotName> {
        let name = self.fresh_name("layer");
        self.commit(key, &name)?;
        Ok(name)
    }

    /// The tree of a snapshot of any kind.
    pub fn tree(&mut self, name: &SnapshotName) -> Result<Tree> {
        self.look(name, Tree::read)
    }

    /// The tree of a snapshot of any kind, contents and all.
    pub fn tree_with_contents(&mut self, name: &SnapshotName) -> Result<Tree> {
        self.look(name, Tree::read_with_contents)
    }

    /// Lets `look` see a snapshot of any kind as a directory.
    pub fn look<T>(
        &mut self,
        name: &SnapshotName,
        look: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<T> {
        let committed = self.stat(name)?.kind == strata_driver::SnapshotKind::Committed;
        let key = if committed {
            let key = self.fresh_name("look");
            self.view(&key, Some(name))?;
            key
        } else {
            name.clone()
        };
        let live = self.mount(&key)?;
        let seen = look(live.path());
        live.unmount()?;
        if committed {
            self.remove(&key)?;
        }
        seen
    }

    /// `diff` without options, all of it.
    pub fn diff(&self, lower: Option<&SnapshotName>, upper: &SnapshotName) -> Result<Vec<u8>> {
        self.diff_with(lower, upper, &DiffOptions::default())
    }

    /// `diff`, all of it.
    pub fn diff_with(
        &self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
        options: &DiffOptions,
    ) -> Result<Vec<u8>> {
        interrupt::check()?;
        self.wait(async {
            let mut stream = self.driver().diff(lower, upper, options).await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await?;
            Ok(bytes)
        })
    }

    /// The diff that the oracle computes from the two trees as they are seen.
    pub fn expected_diff(
        &mut self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
    ) -> Result<Vec<u8>> {
        let lower = lower
            .map(|name| self.tree_with_contents(name))
            .transpose()?;
        let upper = self.tree_with_contents(upper)?;
        oracle::canonical_diff(lower.as_ref(), &upper)
    }

    /// The driver's diff, after it was found equal to the oracle's, byte by byte.
    pub fn checked_diff(
        &mut self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
    ) -> Result<Vec<u8>> {
        let expected = self.expected_diff(lower, upper)?;
        let given = self.diff(lower, upper)?;
        oracle::expect_same_archive(&given, &expected)?;
        Ok(given)
    }

    /// `apply` without options, of these bytes.
    pub fn apply(&self, key: &SnapshotName, bytes: &[u8]) -> strata_driver::Result<Applied> {
        self.apply_with(key, bytes, &ApplyOptions::default())
    }

    /// `apply` of these bytes.
    pub fn apply_with(
        &self,
        key: &SnapshotName,
        bytes: &[u8],
        options: &ApplyOptions,
    ) -> strata_driver::Result<Applied> {
        let source = ChangesetSource::from_read(std::io::Cursor::new(bytes.to_vec()));
        self.wait(self.driver().apply(key, source, options))
    }

    /// A committed snapshot on `parent` made by applying these bytes.
    pub fn applied_layer(
        &mut self,
        parent: Option<&SnapshotName>,
        bytes: &[u8],
    ) -> Result<SnapshotName> {
        let key = self.active(parent)?;
        self.apply(&key, bytes)?;
        self.commit_fresh(&key)
    }

    /// A committed snapshot on `parent` made by applying the diff from `lower` to `upper` while it
    /// is written; never all of it in memory.
    pub fn copied_layer(
        &mut self,
        parent: Option<&SnapshotName>,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
    ) -> Result<SnapshotName> {
        let key = self.active(parent)?;
        self.wait(async {
            let stream = self
                .driver()
                .diff(lower, upper, &DiffOptions::default())
                .await?;
            let source = ChangesetSource::from_diff(stream);
            self.driver()
                .apply(&key, source, &ApplyOptions::default())
                .await
        })?;
        self.commit_fresh(&key)
    }

    /// Demands that a quirk is declared exactly if it was observed.
    pub fn judge_quirk(&self, quirk: Quirk, observed: bool, detail: &str) -> Result<()> {
        match (self.capabilities().declares(quirk), observed) {
            (true, true) | (false, false) => Ok(()),
            (true, false) => bail!(
                "`{}` is declared and does not show: {detail}",
                quirk.as_str()
            ),
            (false, true) => bail!("`{}` shows and is not declared: {detail}", quirk.as_str()),
        }
    }

    /// The program for a child that will be killed, and what it is told by its environment.
    pub fn child(&self, step: &str) -> Result<(PathBuf, OsString)> {
        let program = self.setting.child.clone();
        let program = program.context("no program was given that cases may start and kill")?;
        let order = crate::conformance::ChildOrder {
            driver: self.setting.factory.name().to_string(),
            root: self.root().to_owned(),
            step: step.to_owned(),
            settings: self.setting.open.settings.clone(),
        };
        Ok((program, serde_json::to_string(&order)?.into()))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // A case that failed has not closed its driver.
        if let Some(driver) = self.driver.take()
            && let Err(error) = self.setting.runtime.block_on(driver.close())
        {
            tracing::warn!(error = %error.chain(), "a driver could not be closed");
        }
    }
}

/// A snapshot name that is known to be good.
///
/// # Panics
/// If it is not.
pub fn name(text: &str) -> SnapshotName {
    SnapshotName::new(text).expect("names in cases are good ones")
}

/// Demands an error of this kind that names a reason a person can read.
pub fn expect_kind<T: Debug>(
    result: strata_driver::Result<T>,
    kind: ErrorKind,
    what: &str,
) -> Result<Error> {
    expect_one_of(result, &[kind], what)
}

/// Demands an error of one of these kinds.
pub fn expect_one_of<T: Debug>(
    result: strata_driver::Result<T>,
    kinds: &[ErrorKind],
    what: &str,
) -> Result<Error> {
    match result {
        Ok(value) => bail!("{what}: expected {kinds:?}, got success ({value:?})"),
        Err(error) => {
            ensure!(
                kinds.contains(&error.kind()),
                "{what}: expected {kinds:?}, got {:?}: {}",
                error.kind(),
                error.chain()
            );
            Ok(error)
        }
    }
}
