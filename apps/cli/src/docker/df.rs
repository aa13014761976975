//! `docker system df`.
//!
//! Source: docker/cli `cli/command/formatter/disk_usage.go`, v20.10: what images could give back is
//! computed by the client, from the size of all layers.

mod verbose;

use super::format::{Columns, Fields, Format, RAW, TABLE};
use super::rows::{BuildCache, DiskUsage, ImageSummary};
use super::template::TemplateError;
use super::units::{self, Clock};

const COLUMNS: Columns = Columns {
    type_name: "*formatter.diskUsageImagesContext",
    headers: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
};
const DEFAULT: &str =
    "table {{.Type}}\\t{{.TotalCount}}\\t{{.Active}}\\t{{.Size}}\\t{{.Reclaimable}}";
const DEFAULT_RAW: &str = "type: {{.Type}}\\ntotal: {{.TotalCount}}\\nactive: {{.Active}}\\n\
                           size: {{.Size}}\\nreclaimable: {{.Reclaimable}}\\n";

/// Writes one line for each kind of thing; with `is_verbose` one for each thing.
pub(crate) fn write(
    usage: &DiskUsage,
    is_verbose: bool,
    format: Option<&str>,
    clock: &Clock,
) -> Result<String, TemplateError> {
    let format = format.filter(|format| !format.is_empty()).unwrap_or(TABLE);
    if is_verbose {
        return verbose::write(usage, format, clock);
    }
    let format = match format {
        TABLE => Format::new(DEFAULT),
        RAW => Format::new(DEFAULT_RAW),
        custom => Format::new(custom),
    };
    let lines = [
        Line::of_images(&usage.images, usage.layers_size),
        Line::of_nothing("Containers"),
        Line::of_nothing("Local Volumes"),
        Line::of_build_cache(&usage.build_cache),
    ];
    format.write(&COLUMNS, lines.iter().map(Line::fields))
}

/// Bytes of what only the build cache holds.
fn build_cache_size(cache: &[BuildCache]) -> i64 {
    sum(cache
        .iter()
        .filter(|item| !item.shared)
        .map(|item| item.size))
}

/// Go's numbers of 64 bits go round at their ends.
fn sum(sizes: impl Iterator<Item = i64>) -> i64 {
    sizes.fold(0, i64::wrapping_add)
}

struct Line {
    kind: &'static str,
    total: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
    has_percentage: bool,
}

impl Line {
    fn of_images(images: &[ImageSummary], layers_size: i64) -> Self {
        let is_counted = |image: &&ImageSummary| {
            image.containers != 0 && image.virtual_size != -1 && image.shared_size != -1
        };
        let used = images.iter().filter(is_counted);
        let used = sum(used.map(|image| image.virtual_size.wrapping_sub(image.shared_size)));
        Self {
            kind: "Images",
            total: images.len(),
            active: images.iter().filter(|image| image.containers > 0).count(),
            size: layers_size,
            reclaimable: layers_size.wrapping_sub(used),
            has_percentage: true,
        }
    }

    /// Of what a store of images has none of.
    fn of_nothing(kind: &'static str) -> Self {
        Self {
            kind,
            total: 0,
            active: 0,
            size: 0,
            reclaimable: 0,
            has_percentage: false,
        }
    }

    fn of_build_cache(cache: &[BuildCache]) -> Self {
        let size = build_cache_size(cache);
        let in_use = cache.iter().filter(|item| item.in_use && !item.shared);
        Self {
            kind: "Build Cache",
            total: cache.len(),
            active: cache.iter().filter(|item| item.in_use).count(),
            size,
            reclaimable: size.wrapping_sub(sum(in_use.map(|item| item.size))),
            has_percentage: false,
        }
    }

    fn fields(&self) -> Fields {
        let reclaimable = units::fine_size(self.reclaimable);
        let reclaimable = if self.has_percentage && self.size > 0 {
            let percentage = self.reclaimable.wrapping_mul(100) / self.size;
            format!("{reclaimable} ({percentage}%)")
        } else {
            reclaimable
        };
        vec![
            ("Active", self.active.to_string()),
            ("Reclaimable", reclaimable),
            ("Size", units::fine_size(self.size)),
            ("TotalCount", self.total.to_string()),
            ("Type", self.kind.to_owned()),
        ]
    }
}
