//! `system df`.

use super::list::put;
use super::opened::Context;
use super::rows;
use crate::docker::df;
use crate::docker::rows::{BuildCache, DiskUsage};
use crate::docker::units::Clock;
use std::process::ExitCode;
use strata_store::{Layers, Store};

/// Shows what takes the space. What dead processes left is mended first, so that nothing is left
/// that the table does not show.
pub(super) fn df(format: Option<&str>, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let usage = match context.look()? {
        None => DiskUsage::default(),
        Some(store) if store.needs_recovery()? => {
            drop(store);
            let layers: Layers = context.open()?;
            let usage = usage(layers.store());
            context.close(&layers, usage)?
        }
        Some(store) => usage(&store)?,
    };
    let is_verbose = context.verbose > 0;
    put(&df::write(&usage, is_verbose, format, &Clock::of_host())?)
}

/// What the store takes, in Docker's four kinds.
///
/// The size of images is that of their layers and of the blobs that are kept for them. What pulls
/// have brought and no image has is build cache: it can be used by the next pull, or pruned.
fn usage(store: &Store) -> anyhow::Result<DiskUsage> {
    let space = store.facts().space()?;
    let mut images = Vec::new();
    for (image, mut summary) in rows::summaries(store.facts())? {
        let own = space.images.get(&image.id).copied().unwrap_or_default();
        summary.shared_size = own.shared.0 as i64;
        summary.containers = 0;
        images.push(summary);
    }
    let mut cache = Vec::new();
    let mut add = |id: &str, kind: &str, what: &str, size: u64| {
        cache.push(BuildCache {
            id: id.to_owned(),
            kind: kind.to_owned(),
            description: what.to_owned(),
            size: size as i64,
            ..BuildCache::default()
        });
    };
    for layer in store.facts().idle_layers()? {
        let id = layer.chain.to_string();
        add(&id, "layer", "layer of no image", layer.contents.0);
    }
    for (digest, size) in store.facts().idle_blobs()? {
        add(&digest.to_string(), "blob", "blob of no image", size.0);
    }
    for (path, size) in store.idle_fetches()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        add(&name, "fetch", "blob that was cut off", size.0);
    }
    Ok(DiskUsage {
        layers_size: (space.layers.0 + space.blobs.0) as i64,
        images,
        build_cache: cache,
    })
}
