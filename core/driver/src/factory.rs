//! The plug-in point: factories open drivers, a registry knows factories.

use crate::capability::Capabilities;
use crate::checked::{CapabilityOverrides, Checked};
use crate::driver::StorageDriver;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::name::DriverName;
use crate::options::Durability;
use crate::snapshot::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a driver is opened with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Directory of the driver; made if it is missing (its parent must exist).
    pub root: PathBuf,
    /// Durability class of every operation of this instance.
    pub durability: Durability,
    /// The driver's own options, by the names that [`DriverFactory::options`] lists.
    pub settings: BTreeMap<String, String>,
}

impl OpenOptions {
    /// Default options for a driver in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            durability: Durability::default(),
            settings: BTreeMap::new(),
        }
    }

    /// Sets the durability class.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets one of the driver's own options.
    #[must_use]
    pub fn with_setting(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(key.into(), value.into());
        self
    }
}

/// One option that a driver understands.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct OptionSpec {
    /// Its key.
    pub key: &'static str,
    /// Its default, as it would be written.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

/// Why a driver cannot run here, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unavailable {
    /// What is missing.
    pub missing: String,
    /// What to do about it.
    pub hint: String,
}

impl Unavailable {
    /// What is missing, and what to do about it.
    pub fn new(missing: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            missing: missing.into(),
            hint: hint.into(),
        }
    }

    /// The same as an error of `operation`.
    pub fn into_error(self, operation: &'static str) -> Error {
        Error::new(ErrorKind::Unavailable, operation)
            .because(self.missing)
            .hint(self.hint)
    }
}

/// The outcome of a probe.
#[derive(Clone, Debug)]
pub enum Availability {
    /// It runs here, with these capabilities.
    Available(Capabilities),
    /// It does not.
    Unavailable(Unavailable),
}

/// Opens one kind of driver.
pub trait DriverFactory: std::fmt::Debug + Send + Sync {
    /// The driver's name.
    fn name(&self) -> DriverName;
    /// What it is, in one line.
    fn summary(&self) -> &'static str;
    /// The options that it understands.
    fn options(&self) -> &'static [OptionSpec];
    /// Whether it runs on `host` with its root at or below `root`, found out by doing; leaves
    /// nothing behind. `root` need not exist; its nearest existing ancestor decides.
    fn probe(&self, host: &Host, root: &Path) -> Availability;
    /// Room that a root takes of a file system of this type before its first snapshot,
    /// about.
    fn room_of_root(&self, _file_system: &str) -> Bytes {
        Bytes(0)
    }
    /// Opens the driver, recovering what a crash left. Blocking.
    ///
    /// The root of another driver is [`ErrorKind::InvalidInput`] naming both
    /// (`open_refuses_foreign_root`); a setting that [`options`](Self::options) does not list is
    /// [`ErrorKind::InvalidInput`] naming it, before anything is made
    /// (`open_refuses_unknown_settings`); what the host lacks is [`ErrorKind::Unavailable`].
    fn open(&self, options: &OpenOptions, host: &Host) -> Result<Arc<dyn StorageDriver>>;
}

/// The drivers that a program knows, in order of preference.
#[derive(Debug, Default)]
pub struct Registry {
    factories: Vec<Arc<dyn DriverFactory>>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a factory; a later one of the same name takes the earlier one's place.
    pub fn add(&mut self, factory: Arc<dyn DriverFactory>) -> &mut Self {
        match self
            .factories
            .iter_mut()
            .find(|known| known.name() == factory.name())
        {
            Some(known) => *known = factory,
            None => self.factories.push(factory),
        }
        self
    }

    /// All factories.
    pub fn factories(&self) -> &[Arc<dyn DriverFactory>] {
        &self.factories
    }

    /// The factory called `name`; the error lists those that there are.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn DriverFactory>> {
        self.factories
            .iter()
            .find(|factory| factory.name().as_str() == name)
            .ok_or_else(|| {
                let known: Vec<_> = self
                    .factories
                    .iter()
                    .map(|f| f.name().to_string())
                    .collect();
                Error::new(ErrorKind::NotFound, "choose driver")
                    .because("no such driver")
                    .with("driver", name)
                    .hint(format!("known drivers: {}", known.join(", ")))
            })
    }

    /// Opens the driver called `name` behind the [checks](Checked), with the overrides of
    /// [`OVERRIDES_VARIABLE`](crate::OVERRIDES_VARIABLE). Blocking.
    pub fn open(
        &self,
        name: &str,
        options: &OpenOptions,
        host: &Host,
    ) -> Result<Arc<dyn StorageDriver>> {
        let overrides = CapabilityOverrides::from_environment()?;
        let driver = self
            .get(name)?
            .open(options, host)
            .map_err(|error| error.with("driver", name))?;
        Ok(Arc::new(Checked::with_overrides(driver, &overrides)))
    }
}
