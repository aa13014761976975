//! `docker image inspect`.
//!
//! Source: docker/cli `cli/command/inspect/inspector.go`; the engine escapes nothing for HTML.

use super::template::{self, Subject, Template, TemplateError};
use serde_json::Value;

/// Writes what the engine knows of each object: as a list, or each by a template.
pub(crate) fn write(objects: &[Value], format: Option<&str>) -> Result<String, TemplateError> {
    let list = || Value::Array(objects.to_vec());
    match format {
        None | Some("") => Ok(template::indented(&list()) + "\n"),
        Some("json") => Ok(template::compact(&list(), false) + "\n"),
        Some(text) => {
            let template = Template::parse(text)?;
            let mut out = String::new();
            for object in objects {
                template.execute(Subject::Document, object, &mut out)?;
                out.push('\n');
            }
            if objects.is_empty() {
                out.push('\n');
            }
            Ok(out)
        }
    }
}
