//! Choosing a driver, opening it, and running its futures.

use crate::config::{Origin, Setting, Settings};
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_driver::catalog::Catalog;
use strata_driver::{Availability, Error, ErrorKind, Host, OpenOptions, Registry, StorageDriver};
use strata_store::{Layout, Store};

/// The driver that holds for this run: named, or what the root already holds, or the first
/// that probes well.
pub(crate) fn choose(
    root: &Path,
    settings: &Settings,
    registry: &Registry,
    host: &Host,
) -> anyhow::Result<Setting<String>> {
    let held = Catalog::peek(root)?;
    if let Some(named) = &settings.driver {
        // Another driver's root is refused by the catalogue itself, which names both.
        return Ok(named.clone());
    }
    if let Some(held) = held {
        return Ok(Setting {
            value: held.to_string(),
            origin: Origin::Root,
        });
    }
    let mut reasons = Vec::new();
    for factory in registry.factories() {
        match factory.probe(host, root) {
            Availability::Available(_) => {
                let name = factory.name().to_string();
                if strata_drivers::LAST_RESORT.contains(&name.as_str()) {
                    tracing::warn!(
                        driver = %name,
                        because = %reasons.join("; "),
                        "using the driver of last resort: every layer is a full copy"
                    );
                }
                return Ok(Setting {
                    value: name,
                    origin: Origin::Default,
                });
            }
            Availability::Unavailable(missing) => {
                reasons.push(format!("{}: {}", factory.name(), missing.missing));
            }
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "choose driver")
        .because(format!("no driver runs here: {}", reasons.join("; ")))
        .hint("`strata probe` says what each one needs")
        .into())
}

/// Opens the chosen driver.
pub(crate) fn open(
    settings: &Settings,
    registry: &Registry,
) -> anyhow::Result<Arc<dyn StorageDriver>> {
    open_at(&driver_root(settings)?, settings, registry)
}

/// Where the driver of these settings is: a store's root holds it below.
pub(crate) fn driver_root(settings: &Settings) -> anyhow::Result<PathBuf> {
    let root = &settings.root.value;
    Ok(if Store::is_at(root)? {
        Layout::new(root).driver()
    } else {
        root.clone()
    })
}

/// Opens the chosen driver at `root`.
pub(crate) fn open_at(
    root: &Path,
    settings: &Settings,
    registry: &Registry,
) -> anyhow::Result<Arc<dyn StorageDriver>> {
    let host = Host::probe();
    let name = choose(root, settings, registry, &host)?.value;
    let mut options = OpenOptions::new(absolute(root)?).with_durability(settings.durability.value);
    for (key, setting) in settings.options.get(&name).into_iter().flatten() {
        options = options.with_setting(key, &setting.value);
    }
    Ok(registry.open(&name, &options, &host)?)
}

/// Mount options need a path that means the same from everywhere.
fn absolute(root: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(root).context("the root cannot be made absolute")
}

/// The runtime for drivers: the calling thread does the blocking work itself.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no async runtime")
}
