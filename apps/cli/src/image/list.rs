//! `images`, `tag`, `history`, `inspect`.

use super::flags::{HistoryFlags, InspectFlags, ListFlags, TagFlags};
use super::opened::Context;
use super::rows;
use crate::docker::filters::{Filters, ImageFilter, OF_IMAGES};
use crate::docker::history::{self, HistoryOptions, MISSING};
use crate::docker::images::{self, ImageOptions};
use crate::docker::inspect;
use crate::docker::rows::HistoryItem;
use crate::docker::units::Clock;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use strata_image::document::ImageConfig;
use strata_image::images::Images;
use strata_image::{ImageError, printable};
use strata_store::{ImageRow, Store};

pub(super) fn images(flags: &ListFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let store = context.look()?;
    let clock = Clock::of_host();
    let filters = Filters::parse(&flags.filter, OF_IMAGES)?;
    let mut filter = ImageFilter::new(&filters, &clock, |name| {
        let store = store.as_ref().ok_or_else(|| no_such(name))?;
        anyhow::Ok(created(&Images::of(store).find(name)?))
    })?;
    if let Some(pattern) = &flags.repository {
        filter.add_reference(pattern);
    }
    let mut shown = Vec::new();
    if let Some(store) = &store {
        let all = rows::summaries(store.facts())?;
        let parents: BTreeSet<_> = all.iter().filter_map(|(image, _)| image.parent).collect();
        for (image, summary) in all {
            // Steps of a build on the way to others.
            let is_between = summary.is_dangling() && parents.contains(&image.id);
            if is_between && !flags.all {
                continue;
            }
            shown.extend(filter.apply(&summary, created(&image))?);
        }
    }
    images::sort(&mut shown);
    let options = ImageOptions {
        is_quiet: flags.quiet,
        shows_digests: flags.digests,
        is_full: flags.no_trunc,
        format: flags.format.clone(),
    };
    put(&images::write(&shown, &options, &clock)?)
}

fn created(image: &ImageRow) -> Timestamp {
    Timestamp::from_second(image.created.unwrap_or(0)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Prints text that ends its own lines. A terminal is shown what would tell it to do more than
/// lines and columns.
pub(super) fn put(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        for piece in text.split_inclusive(['\n', '\t']) {
            let words = piece.trim_end_matches(['\n', '\t']);
            write!(out, "{}{}", printable(words), &piece[words.len()..])?;
        }
    } else {
        out.write_all(text.as_bytes())?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Words of somebody else as a field: on a terminal they have one line. Elsewhere they stay as
/// they are, as Docker has them everywhere.
pub(super) fn field(words: &str) -> String {
    if std::io::stdout().is_terminal() {
        printable(words)
    } else {
        words.to_owned()
    }
}

pub(super) fn no_such(name: &str) -> ImageError {
    ImageError::NoSuchImage {
        name: name.to_owned(),
    }
}

/// The store, for a command about an image that must be there.
pub(super) fn store_with(context: &Context<'_>, name: &str) -> anyhow::Result<Store> {
    Ok(context.look()?.ok_or_else(|| no_such(name))?)
}

pub(super) fn tag(flags: &TagFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let store = store_with(context, &flags.source)?;
    Images::of(&store).tag(&flags.source, &flags.target)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn history(flags: &HistoryFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let store = store_with(context, &flags.image)?;
    let image = Images::of(&store).find(&flags.image)?;
    let config = ImageConfig::parse(&store.document(&image.id)?)?;
    let layers = store.facts().layers_of(&image.id)?;
    let mut sizes = layers.iter().map(|layer| layer.contents.0 as i64);
    let mut items: Vec<HistoryItem> = if config.history.is_empty() {
        // An image without history still has layers.
        layers
            .iter()
            .map(|layer| HistoryItem {
                id: MISSING.to_owned(),
                size: layer.contents.0 as i64,
                ..HistoryItem::default()
            })
            .collect()
    } else {
        let steps = config.history.iter();
        steps
            .map(|step| HistoryItem {
                id: MISSING.to_owned(),
                created: seconds(step.created.as_deref()),
                created_by: field(&step.created_by.as_deref().unwrap_or("").replace('\t', " ")),
                tags: Vec::new(),
                size: if step.is_empty() {
                    0
                } else {
                    sizes.next().unwrap_or_default()
                },
                comment: field(step.comment.as_deref().unwrap_or("")),
            })
            .collect()
    };
    items.reverse();
    if let Some(top) = items.first_mut() {
        top.id = image.id.to_string();
    }
    let options = HistoryOptions {
        is_human: flags.human,
        is_quiet: flags.quiet,
        is_full: flags.no_trunc,
        format: flags.format.clone(),
    };
    put(&history::write(&items, &options, &Clock::of_host())?)
}

fn seconds(text: Option<&str>) -> i64 {
    text.and_then(|text| text.parse::<Timestamp>().ok())
        .map_or(0, Timestamp::as_second)
}

/// What there is of each image; what there is not is told on standard error, as Docker does.
pub(super) fn inspect(flags: &InspectFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let store = context.look()?;
    let mut found = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for name in &flags.images {
        let looked = match &store {
            Some(store) => Images::of(store).find(name).map_err(anyhow::Error::from),
            None => Err(no_such(name).into()),
        };
        match looked {
            Ok(image) => {
                let store = store.as_ref().ok_or_else(|| no_such(name))?;
                found.push(described(store, &image, context)?);
            }
            Err(error) => {
                crate::show_error(&error);
                code = ExitCode::FAILURE;
            }
        }
    }
    put(&inspect::write(&found, flags.format.as_deref())?)?;
    Ok(code)
}

/// An image as the Engine API tells it (`GET /images/NAME/json`).
fn described(
    store: &Store,
    image: &ImageRow,
    context: &Context<'_>,
) -> anyhow::Result<serde_json::Value> {
    let bytes = store.document(&image.id)?;
    let config = ImageConfig::parse(&bytes)?;
    let summary = rows::summary(image, &store.facts().references_of(&image.id)?);
    let layers = store.facts().layers_of(&image.id)?;
    let driver = strata_driver::catalog::Catalog::peek(&store.layout().driver())?;
    let top = config.history.last();
    let platform = &config.platform;
    let mut described = json!({
        "Id": summary.id,
        "RepoTags": summary.repo_tags,
        "RepoDigests": summary.repo_digests,
        "Parent": image.parent.map(|id| id.to_string()).unwrap_or_default(),
        "Comment": top.and_then(|step| step.comment.clone()).unwrap_or_default(),
        "Created": config.created.clone().unwrap_or_default(),
        "Author": config.author.clone().unwrap_or_default(),
        "Config": config.config,
        "Architecture": platform.architecture,
        "Os": platform.os,
        "Size": image.size.0,
        "GraphDriver": {
            "Data": {
                "Root": context.settings.root.value,
                "Layers": layers.iter().map(|layer| layer.chain.to_string()).collect::<Vec<_>>(),
            },
            "Name": driver.map(|name| name.to_string()),
        },
        "RootFS": {
            "Type": "layers",
            "Layers": config.diff_ids.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
    });
    if !platform.variant.is_empty()
        && let Some(map) = described.as_object_mut()
    {
        map.insert("Variant".to_owned(), json!(platform.variant));
    }
    Ok(described)
}
