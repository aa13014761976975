//! `docker system df -v`: four tables, or one template for all.

use super::build_cache_size;
use crate::docker::format::{Columns, Fields, Format, RAW, TABLE, object};
use crate::docker::images::{self, NONE, RowName};
use crate::docker::names::Familiar;
use crate::docker::rows::{BuildCache, ContainerSummary, DiskUsage, ImageSummary, Volume};
use crate::docker::template::{Subject, TemplateError};
use crate::docker::text::{ellipsis, quote};
use crate::docker::units::{self, Clock};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const IMAGE_TABLE: &str = "table {{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{.CreatedSince}}\\t\
    {{.VirtualSize}}\\t{{.SharedSize}}\\t{{.UniqueSize}}\\t{{.Containers}}";
const CONTAINER_TABLE: &str = "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.LocalVolumes}}\\t\
    {{.Size}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Names}}";
const VOLUME_TABLE: &str = "table {{.Name}}\\t{{.Links}}\\t{{.Size}}";
const CACHE_TABLE: &str = "table {{.ID}}\\t{{.CacheType}}\\t{{.Size}}\\t{{.CreatedSince}}\\t\
    {{.LastUsedSince}}\\t{{.UsageCount}}\\t{{.Shared}}";

const CONTAINERS: Columns = Columns {
    type_name: "*formatter.ContainerContext",
    headers: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
};
const VOLUMES: Columns = Columns {
    type_name: "*formatter.volumeContext",
    headers: &[
        ("Name", "VOLUME NAME"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
    ],
};
const BUILD_CACHE: Columns = Columns {
    type_name: "*formatter.buildCacheContext",
    headers: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
};
const NAME_COLUMNS: usize = 15;
const COMMAND_COLUMNS: usize = 20;

/// All rows of the four sections.
struct Rows {
    images: Vec<Fields>,
    containers: Vec<Fields>,
    volumes: Vec<Fields>,
    build_cache: Vec<Fields>,
}

pub(super) fn write(
    usage: &DiskUsage,
    format: &str,
    clock: &Clock,
) -> Result<String, TemplateError> {
    let is_full = !format.starts_with(TABLE);
    let rows = Rows {
        images: usage
            .images
            .iter()
            .filter_map(|image| image_fields(image, is_full, clock))
            .collect(),
        containers: usage
            .containers
            .iter()
            .map(|container| container_fields(container, is_full, clock))
            .collect(),
        volumes: usage.volumes.iter().map(volume_fields).collect(),
        build_cache: sorted(&usage.build_cache)
            .into_iter()
            .map(|item| cache_fields(item, is_full, clock))
            .collect(),
    };
    if format == TABLE {
        return tables(rows, build_cache_size(&usage.build_cache));
    }
    let format = match format {
        RAW => Format::new(raw()),
        custom => Format::new(custom),
    };
    let list = |rows: Vec<Fields>| rows.into_iter().map(object).collect::<Value>();
    let sections = [
        ("Images", list(rows.images)),
        ("Containers", list(rows.containers)),
        ("Volumes", list(rows.volumes)),
        ("BuildCache", list(rows.build_cache)),
    ];
    let sections = sections.map(|(name, rows)| (name.to_owned(), rows));
    let mut out = String::new();
    format.template()?.execute(
        Subject::Row("*formatter.diskUsageContext"),
        &Value::Object(Map::from_iter(sections)),
        &mut out,
    )?;
    Ok(out)
}

fn tables(rows: Rows, cache_size: i64) -> Result<String, TemplateError> {
    let write = |table: &str, columns, rows| Format::new(table).write(columns, rows);
    Ok([
        "Images space usage:\n\n",
        &write(IMAGE_TABLE, &images::COLUMNS, rows.images)?,
        "\nContainers space usage:\n\n",
        &write(CONTAINER_TABLE, &CONTAINERS, rows.containers)?,
        "\nLocal Volumes space usage:\n\n",
        &write(VOLUME_TABLE, &VOLUMES, rows.volumes)?,
        &format!("\nBuild cache usage: {}\n\n", units::fine_size(cache_size)),
        &write(CACHE_TABLE, &BUILD_CACHE, rows.build_cache)?,
    ]
    .concat())
}

fn raw() -> String {
    let image = images::raw(true);
    format!(
        "{{{{range .Images}}}}type: Image\n{image}\n{{{{end -}}}}\n\
         {{{{range .Containers}}}}type: Container\ncontainer_id: {{{{.ID}}}}\n\
         image: {{{{.Image}}}}\ncommand: {{{{.Command}}}}\ncreated_at: {{{{.CreatedAt}}}}\n\
         state: {{{{- pad .State 1 0}}}}\nstatus: {{{{- pad .Status 1 0}}}}\nnames: {{{{.Names}}}}\n\
         labels: {{{{- pad .Labels 1 0}}}}\nports: {{{{- pad .Ports 1 0}}}}\nsize: {{{{.Size}}}}\n\
         \n{{{{end -}}}}\n\
         {{{{range .Volumes}}}}type: Volume\nname: {{{{.Name}}}}\ndriver: {{{{.Driver}}}}\n\
         \n{{{{end -}}}}\n\
         {{{{range .BuildCache}}}}type: Build Cache\nbuild_cache_id: {{{{.ID}}}}\n\
         parent_id: {{{{.Parent}}}}\nbuild_cache_type: {{{{.CacheType}}}}\n\
         description: {{{{.Description}}}}\ncreated_at: {{{{.CreatedAt}}}}\n\
         created_since: {{{{.CreatedSince}}}}\nlast_used_at: {{{{.LastUsedAt}}}}\n\
         last_used_since: {{{{.LastUsedSince}}}}\nusage_count: {{{{.UsageCount}}}}\n\
         in_use: {{{{.InUse}}}}\nshared: {{{{.Shared}}}}\n\n{{{{end -}}}}"
    )
}

/// Only the first tag of an image is shown; what has none that can be read is passed over.
fn image_fields(image: &ImageSummary, is_full: bool, clock: &Clock) -> Option<Fields> {
    let mut name = RowName::new(NONE, NONE, "");
    if let Some(first) = image.repo_tags.first()
        && !image.is_dangling()
    {
        let familiar = Familiar::parse(first)?;
        if let Some(tag) = familiar.tag {
            name = RowName::new(&familiar.name, &tag, "");
        }
    }
    Some(images::fields(image, &name, is_full, clock))
}

fn container_fields(container: &ContainerSummary, is_full: bool, clock: &Clock) -> Fields {
    let cut = |text: &str, columns: usize| {
        if is_full {
            text.to_owned()
        } else {
            ellipsis(text, columns)
        }
    };
    let id = if is_full {
        &container.id
    } else {
        units::short_id(&container.id)
    };
    let local = container
        .mounts
        .iter()
        .filter(|mount| mount.driver == "local");
    let mounts: Vec<_> = container
        .mounts
        .iter()
        .map(|mount| {
            if mount.name.is_empty() {
                &mount.source
            } else {
                &mount.name
            }
        })
        .map(|name| cut(name, NAME_COLUMNS))
        .collect();
    vec![
        ("Command", quote(&cut(&container.command, COMMAND_COLUMNS))),
        ("CreatedAt", clock.moment(container.created)),
        ("ID", id.to_owned()),
        ("Image", image_of(container, is_full)),
        ("Labels", labels(&container.labels)),
        ("LocalVolumes", local.count().to_string()),
        ("Mounts", mounts.join(",")),
        ("Names", names_of(container, is_full)),
        ("Networks", String::new()),
        ("Ports", String::new()),
        ("RunningFor", clock.since(container.created)),
        ("Size", units::size(container.size_rw)),
        ("State", container.state.clone()),
        ("Status", container.status.clone()),
    ]
}

/// The name without a registry's digest, or the short id where there was no name.
fn image_of(container: &ContainerSummary, is_full: bool) -> String {
    if container.image.is_empty() {
        return "<no image>".to_owned();
    }
    if is_full {
        return container.image.clone();
    }
    let id = units::short_id(&container.image_id);
    if id == units::short_id(&container.image) {
        return id.to_owned();
    }
    match Familiar::parse(&container.image) {
        Some(familiar) => Familiar {
            digest: None,
            ..familiar
        }
        .to_string(),
        None => container.image.clone(),
    }
}

/// All names, or the first that no link of another container made.
fn names_of(container: &ContainerSummary, is_full: bool) -> String {
    let names = container.names.iter();
    let names: Vec<_> = names
        .map(|name| name.strip_prefix('/').unwrap_or(name))
        .collect();
    let own = names.iter().find(|name| !name.contains('/'));
    match own {
        Some(own) if !is_full => (*own).to_owned(),
        _ => names.join(","),
    }
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels.join(",")
}

fn volume_fields(volume: &Volume) -> Fields {
    let (links, size) = match volume.usage_data {
        Some(usage) => (usage.ref_count.to_string(), units::fine_size(usage.size)),
        None => ("N/A".to_owned(), "N/A".to_owned()),
    };
    vec![
        ("Driver", volume.driver.clone()),
        ("Labels", labels(&volume.labels)),
        ("Links", links),
        ("Mountpoint", volume.mountpoint.clone()),
        ("Name", volume.name.clone()),
        ("Scope", volume.scope.clone()),
        ("Size", size),
    ]
}

/// What was never used first, then by the time of the last use.
fn sorted(cache: &[BuildCache]) -> Vec<&BuildCache> {
    let mut sorted: Vec<_> = cache.iter().collect();
    sorted.sort_by_key(|item| {
        let used = item.last_used_at.as_deref();
        let used = used.and_then(|used| used.parse::<jiff::Timestamp>().ok());
        (used, &item.id)
    });
    sorted
}

fn cache_fields(item: &BuildCache, is_full: bool, clock: &Clock) -> Fields {
    let short = |id: &str| {
        let id = if is_full { id } else { units::short_id(id) };
        id.to_owned()
    };
    let at = |text: &str| clock.moment_of_text(text).unwrap_or_default();
    let since = |text: &str| {
        let moment = text.parse().ok();
        moment.map_or_else(String::new, |moment| clock.since_moment(moment))
    };
    let used = item.last_used_at.as_deref().unwrap_or_default();
    let mark = if item.in_use { "*" } else { "" };
    vec![
        ("CacheType", item.kind.clone()),
        ("CreatedAt", at(&item.created_at)),
        ("CreatedSince", since(&item.created_at)),
        ("Description", item.description.clone()),
        ("ID", short(&item.id) + mark),
        ("InUse", item.in_use.to_string()),
        ("LastUsedAt", at(used)),
        ("LastUsedSince", since(used)),
        ("Parent", short(&item.parent)),
        ("Shared", item.shared.to_string()),
        ("Size", units::size(item.size)),
        ("UsageCount", item.usage_count.to_string()),
    ]
}
