//! The wrapper that checks every call of a driver: one span per call, refusal of what its
//! capabilities exclude, context in every error.

use crate::capability::{Capabilities, Capability};
use crate::counters::Counters;
use crate::driver::StorageDriver;
use crate::error::{Error, ErrorKind, Result};
use crate::name::SnapshotName;
use crate::options::{ApplyOptions, CommitOptions, DiffOptions, PrepareOptions};
use crate::plan::MountPlan;
use crate::snapshot::{Applied, Change, DriverInfo, Labels, Reclaimed, SnapshotInfo, Usage};
use crate::stream::{ChangesetSource, DiffStream};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::Instrument as _;

/// A driver behind the checks that no driver makes itself.
#[derive(Debug)]
pub struct Checked {
    inner: Arc<dyn StorageDriver>,
    capabilities: Capabilities,
    walked_before: AtomicU64,
}

/// Capabilities declared there or absent against the driver's own word; for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapabilityOverrides(BTreeMap<Capability, bool>);

/// The environment variable that [`CapabilityOverrides::from_environment`] reads.
pub const OVERRIDES_VARIABLE: &str = "STRATA_CAPABILITIES";

impl CapabilityOverrides {
    /// Reads `name=false,name=true`; spaces and empty parts are ignored. What cannot be
    /// understood is [`ErrorKind::InvalidInput`].
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |part: &str, reason: &str| {
            let known: Vec<_> = Capability::ALL.iter().map(|known| known.as_str()).collect();
            Error::new(ErrorKind::InvalidInput, "read capability overrides")
                .because(reason)
                .with("override", part)
                .hint(format!(
                    "write NAME=false or NAME=true; names: {}",
                    known.join(", ")
                ))
        };
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let overrides = parts.map(|part| {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| refuse(part, "it has no value"))?;
            let capability =
                Capability::parse(name.trim()).ok_or_else(|| refuse(part, "no such capability"))?;
            let value = value
                .trim()
                .parse()
                .map_err(|_| refuse(part, "the value is neither `true` nor `false`"))?;
            Ok((capability, value))
        });
        overrides.collect::<Result<_>>().map(Self)
    }

    /// Reads [`OVERRIDES_VARIABLE`]; nothing if it is not set.
    pub fn from_environment() -> Result<Self> {
        Self::parse(&std::env::var(OVERRIDES_VARIABLE).unwrap_or_default())
    }

    fn apply(&self, capabilities: &mut Capabilities) {
        for (capability, present) in &self.0 {
            capabilities.set.remove(capability);
            capabilities.absent.retain(|(known, _)| known != capability);
            let found = if *present {
                Ok(())
            } else {
                Err(format!("switched off by `{OVERRIDES_VARIABLE}`"))
            };
            capabilities.note(*capability, found);
        }
    }
}

impl Checked {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn StorageDriver>) -> Self {
        Self::with_overrides(inner, &CapabilityOverrides::default())
    }

    /// Wraps `inner` and changes what it says of itself.
    pub fn with_overrides(inner: Arc<dyn StorageDriver>, overrides: &CapabilityOverrides) -> Self {
        let mut capabilities = inner.capabilities().clone();
        overrides.apply(&mut capabilities);
        Self {
            inner,
            capabilities,
            walked_before: AtomicU64::new(0),
        }
    }

    /// Directory entries that the latest `diff`, `changes` or `usage` has looked at so far. A
    /// diff walks while its stream is read, so read that to its end first; with several such
    /// calls at once the number is theirs together.
    pub fn last_entries_walked(&self) -> u64 {
        let before = self.walked_before.load(Ordering::Relaxed);
        self.inner.counters().entries_walked() - before
    }

    fn starts_walking(&self) {
        let walked = self.inner.counters().entries_walked();
        self.walked_before.store(walked, Ordering::Relaxed);
    }

    fn require(&self, capability: Capability, option: &'static str) -> Result<()> {
        if self.capabilities.has(capability) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unsupported, "check")
            .because(self.capabilities.reason(capability))
            .with("capability", capability.as_str())
            .with("option", option)
            .hint("leave the option out, or choose a driver and a file system that have it"))
    }

    fn allow_prepare(&self, options: &PrepareOptions) -> Result<()> {
        match options.size_limit {
            Some(_) => self.require(Capability::Quota, "size_limit"),
            None => Ok(()),
        }
    }

    /// Runs one call of the driver in `call`'s span and completes its error.
    async fn run<T>(&self, call: Call<'_>, work: impl Future<Output = Result<T>>) -> Result<T> {
        let driver = &self.inner.info().name;
        let span = tracing::info_span!(
            "driver",
            operation = call.operation,
            %driver,
            key = call.key.map(SnapshotName::as_str),
            parent = call.parent.map(SnapshotName::as_str),
        );
        work.instrument(span).await.map_err(|error| {
            let mut error = error.during(call.operation).with("driver", driver);
            if let Some(key) = call.key
                && error.context("name") != Some(key.as_str())
            {
                error = error.with("key", key);
            }
            if let Some(parent) = call.parent {
                error = error.with("parent", parent);
            }
            error
        })
    }
}

/// What a span and an error tell of a call.
#[derive(Clone, Copy)]
struct Call<'a> {
    operation: &'static str,
    key: Option<&'a SnapshotName>,
    parent: Option<&'a SnapshotName>,
}

impl<'a> Call<'a> {
    fn new(operation: &'static str) -> Self {
        Self {
            operation,
            key: None,
            parent: None,
        }
    }

    fn on(operation: &'static str, key: &'a SnapshotName) -> Self {
        Self {
            key: Some(key),
            ..Self::new(operation)
        }
    }

    fn above(self, parent: Option<&'a SnapshotName>) -> Self {
        Self { parent, ..self }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl StorageDriver for Checked {
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
        self.run(Call::on("prepare", key).above(parent), async {
            self.allow_prepare(options)?;
            self.inner.prepare(key, parent, options).await
        })
        .await
    }

    async fn view(
        &self,
        key: &SnapshotName,
        parent: Option<&SnapshotName>,
        options: &PrepareOptions,
    ) -> Result<()> {
        self.run(Call::on("view", key).above(parent), async {
            self.allow_prepare(options)?;
            self.inner.view(key, parent, options).await
        })
        .await
    }

    async fn mounts(&self, key: &SnapshotName) -> Result<MountPlan> {
        self.run(Call::on("mounts", key), self.inner.mounts(key))
            .await
    }

    async fn commit(
        &self,
        key: &SnapshotName,
        name: &SnapshotName,
        options: &CommitOptions,
    ) -> Result<()> {
        let call = Call::on("commit", key).above(options.late_parent.as_ref());
        self.run(call, async {
            if options.late_parent.is_some() {
                self.require(Capability::LateParent, "late_parent")?;
            }
            let committed = self.inner.commit(key, name, options).await;
            committed.map_err(|error| error.with("name", name))
        })
        .await
    }

    async fn remove(&self, name: &SnapshotName) -> Result<()> {
        self.run(Call::on("remove", name), self.inner.remove(name))
            .await
    }

    async fn stat(&self, name: &SnapshotName) -> Result<SnapshotInfo> {
        self.run(Call::on("stat", name), self.inner.stat(name))
            .await
    }

    async fn list(&self) -> Result<Vec<SnapshotInfo>> {
        self.run(Call::new("list"), self.inner.list()).await
    }

    async fn relabel(&self, name: &SnapshotName, labels: &Labels) -> Result<()> {
        self.run(Call::on("relabel", name), self.inner.relabel(name, labels))
            .await
    }

    async fn usage(&self, name: &SnapshotName) -> Result<Usage> {
        self.starts_walking();
        self.run(Call::on("usage", name), self.inner.usage(name))
            .await
    }

    async fn changes(
        &self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
    ) -> Result<Vec<Change>> {
        self.starts_walking();
        self.run(
            Call::on("changes", upper).above(lower),
            self.inner.changes(lower, upper),
        )
        .await
    }

    async fn diff(
        &self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
        options: &DiffOptions,
    ) -> Result<DiffStream> {
        self.starts_walking();
        self.run(
            Call::on("diff", upper).above(lower),
            self.inner.diff(lower, upper, options),
        )
        .await
    }

    async fn apply(
        &self,
        key: &SnapshotName,
        changeset: ChangesetSource,
        options: &ApplyOptions,
    ) -> Result<Applied> {
        self.run(
            Call::on("apply", key),
            self.inner.apply(key, changeset, options),
        )
        .await
    }

    async fn reclaim(&self) -> Result<Reclaimed> {
        self.run(Call::new("reclaim"), self.inner.reclaim()).await
    }

    async fn close(&self) -> Result<()> {
        self.run(Call::new("close"), self.inner.close()).await
    }
}
