//! Choosing a driver, opening it, and running its futures.

use crate::config::{Origin, Setting, Settings};
use anyhow::Context as _;
use std::sync::Arc;
use strata_driver::catalog::Catalog;
use strata_driver::{Availability, Error, ErrorKind, Host, OpenOptions, Registry, StorageDriver};

/// The driver that holds for this run: named, or what the root already holds, or the first
/// that probes well.
pub(crate) fn choose(
    settings: &Settings,
    registry: &Registry,
    host: &Host,
) -> anyhow::Result<Setting<String>> {
    let held = Catalog::peek(&settings.root.value)?;
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
        match factory.probe(host, &settings.root.value) {
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
    let host = Host::probe();
    let name = choose(settings, registry, &host)?.value;
    let mut options =
        OpenOptions::new(absolute(settings)?).with_durability(settings.durability.value);
    for (key, setting) in settings.options.get(&name).into_iter().flatten() {
        options = options.with_setting(key, &setting.value);
    }
    Ok(registry.open(&name, &options, &host)?)
}

/// Mount options need a path that means the same from everywhere.
fn absolute(settings: &Settings) -> anyhow::Result<std::path::PathBuf> {
    std::path::absolute(&settings.root.value).context("the root cannot be made absolute")
}

/// The runtime for drivers: the calling thread does the blocking work itself.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no async runtime")
}
