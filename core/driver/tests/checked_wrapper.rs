//! The checking wrapper: what it refuses, what it adds, and that the registry puts it in front.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use strata_driver::{
    Applied, ApplyOptions, Availability, Capabilities, Capability, CapabilityOverrides, Change,
    ChangesetSource, Checked, CommitOptions, Counters, DiffOptions, DiffSink, DiffStream,
    DriverFactory, DriverInfo, DriverName, Durability, Error, ErrorKind, Host, Labels, MountPlan,
    OpenOptions, OptionSpec, PrepareOptions, Reclaimed, Registry, Result, SnapshotInfo,
    SnapshotName, StorageDriver, Usage,
};

/// Notes the calls that reach it, and fails them all but walks first.
#[derive(Debug)]
struct Spy {
    info: DriverInfo,
    capabilities: Capabilities,
    counters: Counters,
    calls: Mutex<Vec<&'static str>>,
}

impl Spy {
    fn new(capabilities: &[Capability]) -> Arc<Self> {
        let mut declared = Capabilities::default();
        for capability in Capability::ALL {
            let reason = || "the spy lacks it".to_owned();
            let found = capabilities
                .contains(capability)
                .then_some(())
                .ok_or_else(reason);
            declared.note(*capability, found);
        }
        Arc::new(Self {
            info: DriverInfo {
                name: DriverName::new("spy").unwrap(),
                root: "/spy".into(),
                durability: Durability::Volatile,
                backing: "none".into(),
            },
            capabilities: declared,
            counters: Counters::default(),
            calls: Mutex::default(),
        })
    }

    fn fail<T>(&self, call: &'static str) -> Result<T> {
        self.calls.lock().unwrap().push(call);
        Err(Error::new(ErrorKind::Busy, "inside"))
    }

    fn calls(&self) -> Vec<&'static str> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl StorageDriver for Spy {
    fn info(&self) -> &DriverInfo {
        &self.info
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn counters(&self) -> &Counters {
        &self.counters
    }
    async fn prepare(
        &self,
        _: &SnapshotName,
        _: Option<&SnapshotName>,
        _: &PrepareOptions,
    ) -> Result<()> {
        self.fail("prepare")
    }
    async fn view(
        &self,
        _: &SnapshotName,
        _: Option<&SnapshotName>,
        _: &PrepareOptions,
    ) -> Result<()> {
        self.fail("view")
    }
    async fn mounts(&self, _: &SnapshotName) -> Result<MountPlan> {
        self.fail("mounts")
    }
    async fn commit(&self, _: &SnapshotName, _: &SnapshotName, _: &CommitOptions) -> Result<()> {
        self.fail("commit")
    }
    async fn remove(&self, _: &SnapshotName) -> Result<()> {
        self.fail("remove")
    }
    async fn stat(&self, _: &SnapshotName) -> Result<SnapshotInfo> {
        self.fail("stat")
    }
    async fn list(&self) -> Result<Vec<SnapshotInfo>> {
        self.fail("list")
    }
    async fn relabel(&self, _: &SnapshotName, _: &Labels) -> Result<()> {
        self.fail("relabel")
    }
    async fn usage(&self, _: &SnapshotName) -> Result<Usage> {
        self.counters.add_entries_walked(100);
        self.fail("usage")
    }
    async fn changes(&self, _: Option<&SnapshotName>, _: &SnapshotName) -> Result<Vec<Change>> {
        self.counters.add_entries_walked(7);
        self.fail("changes")
    }
    async fn diff(
        &self,
        _: Option<&SnapshotName>,
        _: &SnapshotName,
        _: &DiffOptions,
    ) -> Result<DiffStream> {
        self.counters.add_entries_walked(3);
        self.calls.lock().unwrap().push("diff");
        Ok(DiffSink::produce(|_| Ok(())))
    }
    async fn apply(
        &self,
        _: &SnapshotName,
        _: ChangesetSource,
        _: &ApplyOptions,
    ) -> Result<Applied> {
        self.fail("apply")
    }
    async fn reclaim(&self) -> Result<Reclaimed> {
        self.fail("reclaim")
    }
    async fn close(&self) -> Result<()> {
        self.fail("close")
    }
}

fn name(text: &str) -> SnapshotName {
    SnapshotName::new(text).unwrap()
}

#[tokio::test]
async fn gated_options_are_refused_before_the_driver_sees_them() {
    let spy = Spy::new(&[]);
    let checked = Checked::new(spy.clone());
    let limited = PrepareOptions::default().with_size_limit(strata_driver::Bytes(1));
    let late = CommitOptions::default().with_late_parent(name("p"));
    for (error, capability) in [
        (
            checked
                .prepare(&name("k"), None, &limited)
                .await
                .unwrap_err(),
            "quota",
        ),
        (
            checked.view(&name("k"), None, &limited).await.unwrap_err(),
            "quota",
        ),
        (
            checked
                .commit(&name("k"), &name("n"), &late)
                .await
                .unwrap_err(),
            "late_parent",
        ),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.context("capability"), Some(capability));
        assert!(error.to_string().contains("the spy lacks it"), "{error}");
    }
    assert_eq!(spy.calls(), Vec::<&str>::new());

    let able = Spy::new(&[Capability::Quota, Capability::LateParent]);
    let checked = Checked::new(able.clone());
    checked
        .prepare(&name("k"), None, &limited)
        .await
        .unwrap_err();
    checked.view(&name("k"), None, &limited).await.unwrap_err();
    checked
        .commit(&name("k"), &name("n"), &late)
        .await
        .unwrap_err();
    assert_eq!(able.calls(), ["prepare", "view", "commit"]);
}

#[tokio::test]
async fn errors_gain_operation_driver_and_names() {
    let checked = Checked::new(Spy::new(&[]));
    let parent = name("p");
    let options = PrepareOptions::default();
    let error = checked
        .prepare(&name("k"), Some(&parent), &options)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "prepare: busy (driver=`spy`, key=`k`, parent=`p`)"
    );
    let error = checked
        .commit(&name("k"), &name("n"), &CommitOptions::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.context("key"), error.context("name")),
        (Some("k"), Some("n"))
    );
    assert_eq!(
        checked.list().await.unwrap_err().to_string(),
        "list: busy (driver=`spy`)"
    );
}

#[tokio::test]
async fn walked_entries_are_those_of_the_latest_walk() {
    let checked = Checked::new(Spy::new(&[]));
    checked.usage(&name("k")).await.unwrap_err();
    assert_eq!(checked.last_entries_walked(), 100);
    checked.changes(None, &name("k")).await.unwrap_err();
    assert_eq!(checked.last_entries_walked(), 7);
    drop(
        checked
            .diff(None, &name("k"), &DiffOptions::default())
            .await
            .unwrap(),
    );
    checked.stat(&name("k")).await.unwrap_err();
    assert_eq!(checked.last_entries_walked(), 3);
}

#[test]
fn overrides_change_what_is_declared() {
    let overrides = CapabilityOverrides::parse(" quota=false, late_parent=true,,").unwrap();
    let checked = Checked::with_overrides(Spy::new(&[Capability::Quota]), &overrides);
    assert!(!checked.capabilities().has(Capability::Quota));
    assert!(
        checked
            .capabilities()
            .reason(Capability::Quota)
            .contains("STRATA_CAPABILITIES")
    );
    assert!(checked.capabilities().has(Capability::LateParent));
    assert_eq!(
        CapabilityOverrides::parse("").unwrap(),
        CapabilityOverrides::default()
    );
    for wrong in ["quota", "quota=no", "nonsense=false"] {
        let error = CapabilityOverrides::parse(wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}");
        assert!(error.hint_text().unwrap().contains("late_parent"));
    }
}

#[derive(Debug)]
struct SpyFactory;

impl DriverFactory for SpyFactory {
    fn name(&self) -> DriverName {
        DriverName::new("spy").unwrap()
    }
    fn summary(&self) -> &'static str {
        "notes what reaches it"
    }
    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }
    fn probe(&self, _: &Host, _: &Path) -> Availability {
        Availability::Available(Capabilities::default())
    }
    fn open(&self, _: &OpenOptions, _: &Host) -> Result<Arc<dyn StorageDriver>> {
        Ok(Spy::new(&[]))
    }
}

#[tokio::test]
async fn a_registry_opens_behind_the_checks() {
    let mut registry = Registry::new();
    registry.add(Arc::new(SpyFactory));
    let (options, host) = (OpenOptions::new("/spy"), Host::probe());
    let driver = registry.open("spy", &options, &host).unwrap();
    let limited = PrepareOptions::default().with_size_limit(strata_driver::Bytes(1));
    let error = driver
        .prepare(&name("k"), None, &limited)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = registry.open("nobody", &options, &host).unwrap_err();
    assert!(error.hint_text().unwrap().contains("spy"));
}
