//! `docker system df -v`: four tables, or one template for all. Those of containers and volumes are
//! empty.

use super::build_cache_size;
use crate::docker::format::{Columns, Fields, Format, RAW, TABLE, object};
use crate::docker::images::{self, NONE, RowName};
use crate::docker::rows::{BuildCache, DiskUsage, ImageSummary};
use crate::docker::template::{Subject, TemplateError};
use crate::docker::units::{self, Clock};
use serde_json::{Map, Value};
use strata_image::Reference;

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

/// The rows of the sections that have any.
struct Rows {
    images: Vec<Fields>,
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
        ("Containers", list(Vec::new())),
        ("Volumes", list(Vec::new())),
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
        &write(CONTAINER_TABLE, &CONTAINERS, Vec::new())?,
        "\nLocal Volumes space usage:\n\n",
        &write(VOLUME_TABLE, &VOLUMES, Vec::new())?,
        &format!("\nBuild cache usage: {}\n\n", units::fine_size(cache_size)),
        &write(CACHE_TABLE, &BUILD_CACHE, rows.build_cache)?,
    ]
    .concat())
}

fn raw() -> String {
    let image = images::raw(true);
    format!(
        "{{{{range .Images}}}}type: Image\n{image}\n{{{{end -}}}}\n\
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
        let first = Reference::parse(first).ok()?;
        if let Some(tag) = first.tag() {
            name = RowName::new(&first.repository().familiar(), tag, "");
        }
    }
    Some(images::fields(image, &name, is_full, clock))
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
