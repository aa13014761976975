//! `docker images`.
//!
//! Source: docker/cli `cli/command/formatter/image.go`, v20.10. There repositories of one image
//! come in the order of a Go map, which is none; here they are sorted by name.

use super::format::{Columns, Fields, Format, QUIET, RAW, TABLE};
use super::rows::ImageSummary;
use super::template::TemplateError;
use super::units::{self, Clock};
use std::collections::BTreeMap;
use strata_image::Reference;

pub(super) const COLUMNS: Columns = Columns {
    type_name: "*formatter.imageContext",
    headers: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
};
pub(super) const NONE: &str = "<none>";

/// How images are to be shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImageOptions {
    /// `-q`: ids alone, one a row.
    pub(crate) is_quiet: bool,
    /// `--digests`.
    pub(crate) shows_digests: bool,
    /// `--no-trunc`: ids as they are.
    pub(crate) is_full: bool,
    /// `--format`.
    pub(crate) format: Option<String>,
}

/// Writes images in the order in which they are given; [`sort`] makes that of Docker's engine.
pub(crate) fn write(
    images: &[ImageSummary],
    options: &ImageOptions,
    clock: &Clock,
) -> Result<String, TemplateError> {
    let format = format(options);
    let needs_digest = options.shows_digests || format.contains("{{.Digest}}");
    let rows = images.iter().flat_map(|image| {
        names(image, needs_digest, options.shows_digests)
            .into_iter()
            .map(|name| fields(image, &name, options.is_full, clock))
    });
    format.write(&COLUMNS, rows)
}

/// The newest first, those of one moment by their ids, and the names of each in their order.
pub(crate) fn sort(images: &mut [ImageSummary]) {
    images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    for image in images {
        image.repo_tags.sort();
        image.repo_digests.sort();
    }
}

fn format(options: &ImageOptions) -> Format {
    let given = options.format.as_deref();
    let given = given.filter(|given| !given.is_empty()).unwrap_or(TABLE);
    let (is_quiet, has_digests) = (options.is_quiet, options.shows_digests);
    match given {
        TABLE if is_quiet => Format::new(QUIET),
        TABLE => {
            let digest = if has_digests { "{{.Digest}}\\t" } else { "" };
            Format::new(format!(
                "table {{{{.Repository}}}}\\t{{{{.Tag}}}}\\t{digest}{{{{.ID}}}}\\t\
                 {{{{.CreatedSince}}}}\\t{{{{.Size}}}}"
            ))
        }
        RAW if is_quiet => Format::new("image_id: {{.ID}}"),
        RAW => Format::new(raw(has_digests)),
        custom => {
            let mut custom = custom.to_owned();
            if custom.starts_with(TABLE) && has_digests && !custom.contains("{{.Digest}}") {
                custom.push_str("\\t{{.Digest}}");
            }
            Format::new(custom)
        }
    }
}

/// One `key: value` line a field, an empty line after each row.
pub(super) fn raw(has_digests: bool) -> String {
    let digest = if has_digests {
        "digest: {{.Digest}}\n"
    } else {
        ""
    };
    format!(
        "repository: {{{{.Repository}}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\n\
         created_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n"
    )
}

/// What a row calls its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowName {
    pub(super) repository: String,
    pub(super) tag: String,
    pub(super) digest: String,
}

impl RowName {
    pub(super) fn new(repository: &str, tag: &str, digest: &str) -> Self {
        Self {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest: digest.to_owned(),
        }
    }
}

/// One row a tag; with digests one for each pair of both. A repository that has digests and no tag
/// has one row, or one a digest.
fn names(image: &ImageSummary, needs_digest: bool, shows_digests: bool) -> Vec<RowName> {
    if image.is_dangling() {
        return vec![RowName::new(NONE, NONE, NONE)];
    }
    let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in image
        .repo_tags
        .iter()
        .filter_map(|name| Reference::parse(name).ok())
    {
        if let Some(tag) = name.tag() {
            let repository = name.repository().familiar();
            tags.entry(repository).or_default().push(tag.to_owned());
        }
    }
    let mut digests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in image
        .repo_digests
        .iter()
        .filter_map(|name| Reference::parse(name).ok())
    {
        if let Some(digest) = name.digest() {
            let repository = name.repository().familiar();
            let digests = digests.entry(repository).or_default();
            digests.push(digest.to_string());
        }
    }
    let mut rows = Vec::new();
    for (repository, tags) in &tags {
        let own = digests.remove(repository).filter(|_| needs_digest);
        for tag in tags {
            match &own {
                None => rows.push(RowName::new(repository, tag, NONE)),
                Some(own) => {
                    rows.extend(
                        own.iter()
                            .map(|digest| RowName::new(repository, tag, digest)),
                    );
                }
            }
        }
    }
    for (repository, own) in &digests {
        if shows_digests {
            rows.extend(
                own.iter()
                    .map(|digest| RowName::new(repository, NONE, digest)),
            );
        } else {
            rows.push(RowName::new(repository, NONE, ""));
        }
    }
    rows
}

/// The fields of one row.
pub(super) fn fields(image: &ImageSummary, name: &RowName, is_full: bool, clock: &Clock) -> Fields {
    let id = if is_full {
        image.id.as_str()
    } else {
        units::short_id(&image.id)
    };
    let or_unknown = |number: i64, shown: String| match number {
        -1 => "N/A".to_owned(),
        _ => shown,
    };
    let unique = image.virtual_size.wrapping_sub(image.shared_size);
    let unique = or_unknown(image.virtual_size, units::fine_size(unique));
    vec![
        (
            "Containers",
            or_unknown(image.containers, image.containers.to_string()),
        ),
        ("CreatedAt", clock.moment(image.created)),
        ("CreatedSince", clock.since(image.created)),
        ("Digest", name.digest.clone()),
        ("ID", id.to_owned()),
        ("Repository", name.repository.clone()),
        (
            "SharedSize",
            or_unknown(image.shared_size, units::fine_size(image.shared_size)),
        ),
        ("Size", units::size(image.size)),
        ("Tag", name.tag.clone()),
        ("UniqueSize", or_unknown(image.shared_size, unique)),
        ("VirtualSize", units::fine_size(image.virtual_size)),
    ]
}
