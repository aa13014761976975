//! `docker search`, with the column AUTOMATED that it had until Docker 25.
//!
//! Source: docker/cli `cli/command/registry/{search,formatter_search}.go`, v20.10.

use super::format::{Columns, Fields, Format, JSON, TABLE};
use super::rows::SearchResult;
use super::template::TemplateError;
use super::text::ellipsis;

const COLUMNS: Columns = Columns {
    type_name: "*registry.searchContext",
    headers: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
};
const DEFAULT: &str =
    "table {{.Name}}\\t{{.Description}}\\t{{.StarCount}}\\t{{.IsOfficial}}\\t{{.IsAutomated}}";
const DESCRIPTION_COLUMNS: usize = 45;

/// Writes hits, those with the most stars first.
pub(crate) fn write(
    results: &[SearchResult],
    is_full: bool,
    format: Option<&str>,
) -> Result<String, TemplateError> {
    let format = match format {
        None | Some("" | TABLE) => Format::new(DEFAULT),
        Some(custom) => Format::new(custom),
    };
    // In a row that is written as JSON as a whole, yes and no have names.
    let is_json = format == Format::new(JSON) || format.contains("{{json .}}");
    let mut results: Vec<_> = results.iter().collect();
    results.sort_by_key(|result| std::cmp::Reverse(result.star_count));
    format.write(
        &COLUMNS,
        results
            .into_iter()
            .map(|result| fields(result, is_full, is_json)),
    )
}

fn fields(result: &SearchResult, is_full: bool, is_json: bool) -> Fields {
    let description = result.description.replace(['\n', '\r'], " ");
    let description = if is_full {
        description
    } else {
        ellipsis(&description, DESCRIPTION_COLUMNS)
    };
    let flag = |value: bool| match (value, is_json) {
        (value, true) => value.to_string(),
        (true, false) => "[OK]".to_owned(),
        (false, false) => String::new(),
    };
    vec![
        ("Description", description),
        ("IsAutomated", flag(result.is_automated)),
        ("IsOfficial", flag(result.is_official)),
        ("Name", result.name.clone()),
        ("StarCount", result.star_count.to_string()),
    ]
}
