//! `docker history`.
//!
//! Source: docker/cli `cli/command/image/formatter_history.go`, v20.10.

use super::format::{Columns, Fields, Format, QUIET, TABLE};
use super::rows::HistoryItem;
use super::template::TemplateError;
use super::text::ellipsis;
use super::units::{self, Clock};

const COLUMNS: Columns = Columns {
    type_name: "*image.historyContext",
    headers: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
};
const COMMAND_COLUMNS: usize = 45;

/// The id of a step that no image of this host ended with.
pub(crate) const MISSING: &str = "<missing>";

/// How a history is to be shown.
#[derive(Clone, Debug)]
pub(crate) struct HistoryOptions {
    /// `-H`, which is the default: sizes and times for people.
    pub(crate) is_human: bool,
    /// `-q`: ids alone.
    pub(crate) is_quiet: bool,
    /// `--no-trunc`: ids and commands as they are.
    pub(crate) is_full: bool,
    /// `--format`.
    pub(crate) format: Option<String>,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self {
            is_human: true,
            is_quiet: false,
            is_full: false,
            format: None,
        }
    }
}

/// Writes the steps of an image, which are given newest first.
pub(crate) fn write(
    items: &[HistoryItem],
    options: &HistoryOptions,
    clock: &Clock,
) -> Result<String, TemplateError> {
    let created = if options.is_human {
        "CreatedSince"
    } else {
        "CreatedAt"
    };
    let format = match options.format.as_deref() {
        None | Some("" | TABLE) if options.is_quiet => Format::new(QUIET),
        None | Some("" | TABLE) => Format::new(format!(
            "table {{{{.ID}}}}\\t{{{{.{created}}}}}\\t{{{{.CreatedBy}}}}\\t{{{{.Size}}}}\\t\
             {{{{.Comment}}}}"
        )),
        Some(custom) => Format::new(custom),
    };
    format.write(
        &COLUMNS,
        items.iter().map(|item| fields(item, options, clock)),
    )
}

fn fields(item: &HistoryItem, options: &HistoryOptions, clock: &Clock) -> Fields {
    let at = clock.moment_rfc3339(item.created);
    let created_by = item.created_by.replace('\t', " ");
    let (id, created_by) = if options.is_full {
        (item.id.as_str(), created_by)
    } else {
        (
            units::short_id(&item.id),
            ellipsis(&created_by, COMMAND_COLUMNS),
        )
    };
    let (since, size) = if options.is_human {
        (clock.since(item.created), units::size(item.size))
    } else {
        (at.clone(), item.size.to_string())
    };
    vec![
        ("Comment", item.comment.clone()),
        ("CreatedAt", at),
        ("CreatedBy", created_by),
        ("CreatedSince", since),
        ("ID", id.to_owned()),
        ("Size", size),
    ]
}
