//! `--format` as it was given, and rows written with it.
//!
//! Source: docker/cli `cli/command/formatter/formatter.go`. `json` alone is a JSON object a line,
//! as since Docker 23; 20.10 prints the word.

use super::tabwriter;
use super::template::{Subject, Template, TemplateError};
use serde_json::Value;

/// The format that prints ids alone.
pub(crate) const QUIET: &str = "{{.ID}}";
/// Stands for a command's own table.
pub(crate) const TABLE: &str = "table";
/// Stands for a command's own list of `key: value` lines.
pub(crate) const RAW: &str = "raw";
/// Stands for one JSON object a row.
pub(crate) const JSON: &str = "json";

/// Named fields of one row. They are given in the order of their names, which is that of JSON.
pub(crate) type Fields = Vec<(&'static str, String)>;

/// What a table's rows are, and what stands above its columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    /// The Go type of a row, which stands in Docker's messages.
    pub(crate) type_name: &'static str,
    /// Field and header.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

/// A format, its escapes still in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(String);

impl Format {
    /// Takes a format as given on the command line, in a configuration, or as a command's own.
    pub(crate) fn new(format: impl Into<String>) -> Self {
        Self(format.into())
    }

    /// Whether it asks for columns and their headers.
    pub(crate) fn is_table(&self) -> bool {
        self.0.starts_with(TABLE)
    }

    /// Whether `part` stands in it.
    pub(crate) fn contains(&self, part: &str) -> bool {
        self.0.contains(part)
    }

    /// The template in it.
    pub(crate) fn template(&self) -> Result<Template, TemplateError> {
        if self.0 == JSON {
            return Template::parse("{{json .}}");
        }
        let text = self.0.strip_prefix(TABLE).unwrap_or(&self.0);
        let text = text.trim_matches(' ');
        Template::parse(&text.replace("\\t", "\t").replace("\\n", "\n"))
    }

    /// Writes `rows`, under their headers where it is a table.
    pub(crate) fn write(
        &self,
        columns: &Columns,
        rows: impl IntoIterator<Item = Fields>,
    ) -> Result<String, TemplateError> {
        let template = self.template()?;
        let mut body = String::new();
        for row in rows {
            let subject = Subject::Row(columns.type_name);
            template.execute(subject, &object(row), &mut body)?;
            body.push('\n');
        }
        if !self.is_table() {
            return Ok(body);
        }
        let headers = columns.headers.iter();
        let headers = headers.map(|(name, header)| (*name, (*header).to_owned()));
        let mut text = String::new();
        // A header that a template cannot make ends there, as in Docker; rows have been made.
        drop(template.execute(Subject::Header, &object(headers.collect()), &mut text));
        text.push('\n');
        text.push_str(&body);
        Ok(tabwriter::align(&text))
    }
}

/// A row as a value.
pub(crate) fn object(fields: Fields) -> Value {
    let fields = fields.into_iter();
    Value::Object(
        fields
            .map(|(name, field)| (name.to_owned(), field.into()))
            .collect(),
    )
}
