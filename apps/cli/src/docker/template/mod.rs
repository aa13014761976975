//! The part of Go's `text/template` that `--format` is used with.
//!
//! Fields, literals, pipelines, parentheses, variables, `if`, `with`, `range`, `else`, comments and
//! trim marks are known; templates that define or call others are not. Errors are worded as
//! Docker words them.

mod evaluate;
mod functions;
mod json;
mod lexer;
mod parser;

pub(crate) use json::{compact, indented};

use serde_json::Value;
use std::fmt;

/// A template that does not parse, or does not fit what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    message: String,
}

impl TemplateError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "template parsing error: template: {}", self.message)
    }
}

impl std::error::Error for TemplateError {}

/// What the fields of a template are looked up in, which decides on how their absence is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A row of a table, of the Go type of this name. Objects are written as JSON the way Docker
    /// writes rows: with `<`, `>` and `&` escaped.
    Row(&'static str),
    /// The names of a table's columns: functions leave them as they are.
    Header,
    /// An object as the engine describes it.
    Document,
}

/// A parsed template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    text: String,
    nodes: Vec<parser::Node>,
}

impl Template {
    /// Parses `text`, in which `\t` and `\n` have been replaced already.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Self {
            text: text.to_owned(),
            nodes: parser::parse(text)?,
        })
    }

    /// Appends to `out` what the template makes of `value`; what came before an error stays.
    pub(crate) fn execute(
        &self,
        subject: Subject,
        value: &Value,
        out: &mut String,
    ) -> Result<(), TemplateError> {
        evaluate::Evaluation::new(&self.text, subject, value).run(&self.nodes, out)
    }
}

/// Line, from one, and byte within it, from none, as Go tells them.
fn place(text: &str, position: usize) -> String {
    let before = &text[..position];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    format!(":{line}:{}", position - start)
}
