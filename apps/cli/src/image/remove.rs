//! `rmi`, `image prune`, `system prune`.

use super::flags::{PruneFlags, RemoveFlags};
use super::list::{no_such, put};
use super::opened::Context;
use super::rows;
use crate::docker::filters::{Filters, ImageFilter, OF_IMAGE_PRUNE, OF_SYSTEM_PRUNE};
use crate::docker::prune::{self, Prey};
use crate::docker::rows::DeletedItem;
use crate::docker::units::Clock;
use jiff::Timestamp;
use std::io::Write as _;
use std::process::ExitCode;
use strata_image::ImageError;
use strata_image::images::{Images, Removal, RemoveOptions, Removed};

pub(super) fn images(flags: &RemoveFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let store = context.look()?;
    let mut code = ExitCode::SUCCESS;
    let mut has_freed = false;
    for name in &flags.images {
        let options = RemoveOptions {
            force: flags.force,
            keep_parents: flags.no_prune,
        };
        let removed = match &store {
            Some(store) => Images::of(store).remove(name, options),
            None => Err(no_such(name)),
        };
        match removed {
            Ok(removal) => {
                has_freed |= removal.bytes > 0 || has_deleted(&removal);
                put(&prune::removed(&items(&removal)))?;
            }
            Err(error) => {
                // Docker: forced removal of what is not there is told and is no failure.
                let is_absent = matches!(error, ImageError::NoSuchImage { .. });
                if !(is_absent && flags.force) {
                    code = ExitCode::FAILURE;
                }
                crate::show_error(&error.into());
            }
        }
    }
    drop(store);
    if has_freed {
        context.sweep_behind()?;
    }
    Ok(code)
}

fn has_deleted(removal: &Removal) -> bool {
    removal
        .removed
        .iter()
        .any(|removed| !matches!(removed, Removed::Untagged(_)))
}

fn items(removal: &Removal) -> Vec<DeletedItem> {
    let item = |removed: &Removed| match removed {
        Removed::Untagged(name) => DeletedItem {
            untagged: name.clone(),
            ..DeletedItem::default()
        },
        Removed::Image(id) => DeletedItem {
            deleted: id.to_string(),
            ..DeletedItem::default()
        },
        Removed::Layer(chain) => DeletedItem {
            deleted: chain.to_string(),
            ..DeletedItem::default()
        },
    };
    removal.removed.iter().map(item).collect()
}

pub(super) fn prune_images(flags: &PruneFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let filters = Filters::parse(&flags.filter, OF_IMAGE_PRUNE)?;
    let prey = if flags.all {
        Prey::UnusedImages
    } else {
        Prey::DanglingImages
    };
    if !flags.force && !asked(&prune::ask_images(prey))? {
        return put(&prune::total(0));
    }
    if context.look()?.is_none() {
        return put(&prune::total(0));
    }
    let layers = context.open()?;
    let outcome = (|| {
        let removal = remove_unused(flags.all, &filters, layers.store())?;
        context.runtime.block_on(layers.sweep())?;
        put(&(prune::deleted_images(&items(&removal)) + &prune::total(removal.bytes as i64)))
    })();
    context.close(&layers, outcome)
}

/// Removes images: all without a container, or those without a name.
fn remove_unused(
    all: bool,
    filters: &Filters,
    store: &strata_store::Store,
) -> anyhow::Result<Removal> {
    let clock = Clock::of_host();
    let mut filter = ImageFilter::new(filters, &clock, |name: &str| -> anyhow::Result<_> {
        let image = Images::of(store).find(name)?;
        Ok(Timestamp::from_second(image.created.unwrap_or(0))?)
    })?;
    let takes_all = all || filter.dangling == Some(false);
    // What that means is asked of the store, which knows names that are shown to nobody.
    filter.dangling = None;
    Ok(Images::of(store).prune(|image, names| {
        let summary = rows::summary(image, names);
        let moment = Timestamp::from_second(image.created.unwrap_or(0)).unwrap_or_default();
        (takes_all || names.is_empty())
            && filter
                .apply(&summary, moment)
                .is_ok_and(|found| found.is_some())
    })?)
}

pub(super) fn prune_system(flags: &PruneFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let filters = Filters::parse(&flags.filter, OF_SYSTEM_PRUNE)?;
    let prey = if flags.all {
        [
            Prey::StoppedContainers,
            Prey::UnusedImages,
            Prey::AllBuildCache,
        ]
    } else {
        [
            Prey::StoppedContainers,
            Prey::DanglingImages,
            Prey::UnusedBuildCache,
        ]
    };
    if !flags.force && !asked(&prune::ask_system(&prey, &filters.shown()))? {
        return Ok(ExitCode::SUCCESS);
    }
    let Some(store) = context.look()? else {
        return put(&prune::total(0));
    };
    // What pulls left behind and nobody goes on with. First what takes no room to be deleted:
    // opening the driver takes some.
    let fetched = store.delete_idle_fetches()?;
    let at_once = store.free_blobs()?;
    drop(store);
    let layers = context.open()?;
    let outcome = (|| {
        let removal = remove_unused(flags.all, &filters, layers.store())?;
        let freed = layers.store().doom_unused()?;
        context.runtime.block_on(layers.sweep())?;
        let cache = at_once.layers.iter().chain(&freed.layers);
        let cache: Vec<String> = cache.map(ToString::to_string).collect();
        let bytes = removal.bytes + at_once.bytes.0 + freed.bytes.0 + fetched.0;
        put(&(prune::deleted_images(&items(&removal))
            + &prune::deleted_build_cache(&cache)
            + &prune::total(bytes as i64)))
    })();
    context.close(&layers, outcome)
}

fn asked(question: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(prune::is_yes(&answer))
}

/// Deletes what is doomed; run by `rmi` behind its back.
pub(super) fn sweep(context: &Context<'_>) -> anyhow::Result<ExitCode> {
    if context.look()?.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    let layers = context.open()?;
    let outcome = context.runtime.block_on(layers.sweep());
    context.close(&layers, outcome.map_err(Into::into))?;
    Ok(ExitCode::SUCCESS)
}
