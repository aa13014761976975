//! JSON as Go writes it.
//!
//! Source: Go's `encoding/json`. Unlike `serde_json` it escapes the two line separators of
//! Unicode, and, where asked to, what HTML gives a meaning.

use serde_json::Value;

/// In one line, without blanks. `escapes_html` writes `<`, `>` and `&` as `\u003c` and so on.
pub(crate) fn compact(value: &Value, escapes_html: bool) -> String {
    let mut out = String::new();
    write(value, escapes_html, None, 0, &mut out);
    out
}

/// With one name or element a line, each level four blanks further in.
pub(crate) fn indented(value: &Value) -> String {
    let mut out = String::new();
    write(value, false, Some("    "), 0, &mut out);
    out
}

fn write(value: &Value, html: bool, indent: Option<&str>, depth: usize, out: &mut String) {
    let is_empty = match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    // Go puts nothing between the brackets of what is empty.
    let line = |depth: usize, out: &mut String| {
        if let Some(indent) = indent.filter(|_| !is_empty) {
            out.push('\n');
            out.extend(std::iter::repeat_n(indent, depth));
        }
    };
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => string(text, html, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                line(depth + 1, out);
                write(item, html, indent, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (at, (name, field)) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                line(depth + 1, out);
                string(name, html, out);
                out.push_str(if indent.is_some() { ": " } else { ":" });
                write(field, html, indent, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
    }
}

fn string(text: &str, html: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' if !html => out.push(c),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let escape = format!("\\u{:04x}", u32::from(c));
                out.push_str(&escape);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
