//! The store that a command works on, opened as far as it needs.

use crate::config::Settings;
use crate::opening;
use anyhow::Context as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use strata_driver::{Host, OpenOptions, Registry, StorageDriver};
use strata_image::install::Cancel;
use strata_store::{Layers, Store};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// What every command of images has at hand.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) registry: &'a Registry,
    /// How often `-v` was given.
    pub(super) verbose: u8,
    pub(super) runtime: Runtime,
    /// Set by SIGINT, SIGTERM and SIGHUP.
    pub(super) cancel: Cancel,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        registry: &'a Registry,
        verbose: u8,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            settings,
            registry,
            verbose,
            runtime: opening::runtime()?,
            cancel: Cancel::default(),
        })
    }

    /// From now on a signal ends the work early, and not the process.
    pub(super) fn heed_signals(&self) -> anyhow::Result<()> {
        let _inside = self.runtime.enter();
        for kind in [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ] {
            let mut signals = signal(kind).context("cannot listen for signals")?;
            let cancel = self.cancel.clone();
            self.runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    // Who says it twice does not want to wait, and a kill does no harm.
                    if cancel.is_cancelled() {
                        std::process::exit(130);
                    }
                    cancel.cancel();
                }
            });
        }
        Ok(())
    }

    /// The facts of the store alone; none where there is no store yet.
    pub(super) fn look(&self) -> anyhow::Result<Option<Store>> {
        let root = &self.settings.root.value;
        if !Store::is_at(root)? {
            return Ok(None);
        }
        Ok(Some(Store::open(root, self.settings.durability.value)?))
    }

    /// The store with its driver; made if there is none. What a dead process left is mended.
    pub(super) fn open(&self) -> anyhow::Result<Layers> {
        let root = &self.settings.root.value;
        let store = Arc::new(Store::open(root, self.settings.durability.value)?);
        store.use_driver()?;
        let needs_recovery = store.needs_recovery()?;
        let driver = opening::open_at(&store.layout().driver(), self.settings, self.registry)?;
        let layers = Layers::new(store, driver);
        if needs_recovery {
            let recovered = self.runtime.block_on(layers.recover())?;
            tracing::info!(?recovered, "mended what an earlier process left");
            // It is derived, and keeps nobody from the store.
            if let Err(error) = strata_image::layout::rebuild(layers.store()) {
                tracing::warn!(%error, "the layout for other tools is not up to date");
            }
        }
        Ok(layers)
    }

    /// Opens another driver with the options that the configuration has for it.
    pub(super) fn opener(
        &self,
        driver: &str,
    ) -> impl FnOnce(&Path) -> strata_driver::Result<Arc<dyn StorageDriver>> + Send + 'static {
        let factory = self.registry.get(driver).cloned();
        let durability = self.settings.durability.value;
        let given = self
            .settings
            .options
            .get(driver)
            .cloned()
            .unwrap_or_default();
        move |root| {
            let mut options = OpenOptions::new(std::path::absolute(root).unwrap_or(root.into()))
                .with_durability(durability);
            for (key, setting) in given {
                options = options.with_setting(key, setting.value);
            }
            factory?.open(&options, &Host::probe())
        }
    }

    /// Closes the driver; an error of the work itself comes first.
    pub(super) fn close<T>(
        &self,
        layers: &Layers,
        outcome: anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let closed = self.runtime.block_on(layers.driver().close());
        let value = outcome?;
        closed?;
        Ok(value)
    }

    /// Lets another process delete what is doomed: who removes does not wait for bytes.
    pub(super) fn sweep_behind(&self) -> anyhow::Result<()> {
        use std::os::unix::process::CommandExt as _;
        let program = std::env::current_exe().context("cannot find this program again")?;
        let mut command = Command::new(program);
        command
            .arg("--root")
            .arg(std::path::absolute(&self.settings.root.value)?)
            .args(["--durability", self.settings.durability.value.as_str()]);
        if let Some(path) = &self.settings.file_path {
            command.arg("--config").arg(std::path::absolute(path)?);
        }
        for (key, setting) in self.settings.options.values().flatten() {
            command
                .arg("--option")
                .arg(format!("{key}={}", setting.value));
        }
        if let Some(driver) = &self.settings.driver {
            command.args(["--driver", &driver.value]);
        }
        // Whoever asks for a log gets that of the deletion too, and waits for its end.
        let is_logged = std::env::var_os("STRATA_LOG").is_some();
        let log = if is_logged {
            Stdio::inherit()
        } else {
            Stdio::null()
        };
        command
            .args(["system", "sweep"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .current_dir("/")
            .process_group(0);
        // It is nobody's child that is waited for: this process ends first.
        command
            .spawn()
            .map(drop)
            .context("cannot start the process that deletes what was removed")
    }
}
