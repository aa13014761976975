//! The functions of a template: those of Go, and those that docker/cli adds.

use super::{Subject, json};
use serde_json::Value;
use std::cmp::Ordering;

const NAMES: [&str; 22] = [
    "and", "eq", "ge", "gt", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "split", "title", "truncate", "upper",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function. The error says what does not fit, as Go says it.
pub(super) fn call(name: &str, arguments: &[Value], subject: Subject) -> Result<Value, String> {
    let counts = match name {
        "json" | "lower" | "upper" | "title" | "len" | "not" => 1..=1,
        "split" | "join" | "truncate" | "ne" | "lt" | "le" | "gt" | "ge" => 2..=2,
        "pad" => 3..=3,
        "and" | "or" | "index" | "printf" | "eq" => 1..=usize::MAX,
        _ => 0..=usize::MAX,
    };
    if !counts.contains(&arguments.len()) {
        let (wanted, got) = (counts.start(), arguments.len());
        let at_least = if counts.end() > wanted {
            "at least "
        } else {
            ""
        };
        return Err(format!(
            "wrong number of args for {name}: want {at_least}{wanted} got {got}"
        ));
    }
    // A header shows the name of its column, whatever is done to what stands below.
    if subject == Subject::Header
        && matches!(
            name,
            "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate"
        )
    {
        return text(&arguments[0]).map(Into::into);
    }
    match name {
        "json" => Ok(json_of(&arguments[0], subject).into()),
        "lower" => Ok(text(&arguments[0])?.to_lowercase().into()),
        "upper" => Ok(text(&arguments[0])?.to_uppercase().into()),
        "title" => Ok(title(text(&arguments[0])?).into()),
        "split" => split(&arguments[0], &arguments[1]),
        "join" => join(&arguments[0], &arguments[1]),
        "truncate" => truncate(&arguments[0], &arguments[1]),
        "pad" => pad(&arguments[0], &arguments[1], &arguments[2]),
        "len" => length(&arguments[0]),
        "index" => index(arguments),
        "not" => Ok((!truth(&arguments[0])).into()),
        "and" => Ok(last_or(arguments, |value| !truth(value))),
        "or" => Ok(last_or(arguments, truth)),
        "eq" => Ok(arguments[1..].contains(&arguments[0]).into()),
        "ne" => Ok((arguments[0] != arguments[1]).into()),
        "lt" => Ok(order(arguments)?.is_lt().into()),
        "le" => Ok(order(arguments)?.is_le().into()),
        "gt" => Ok(order(arguments)?.is_gt().into()),
        "ge" => Ok(order(arguments)?.is_ge().into()),
        "print" => Ok(spaced(arguments, false).into()),
        "println" => Ok((spaced(arguments, true) + "\n").into()),
        "printf" => Ok(printf(text(&arguments[0])?, &arguments[1..]).into()),
        _ => Err(format!("function \"{name}\" not defined")),
    }
}

/// Whether Go holds `value` to be true: anything but nothing.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// As Go prints `value`.
pub(super) fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(print).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|field| field.0);
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, field)| format!("{name}:{}", print(field)))
                .collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

/// What Go calls the type of `value`, as far as it can be known.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "interface {}",
        Value::Bool(_) => "bool",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]string",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// The JSON of a row is escaped for HTML, that of a field is not.
fn json_of(value: &Value, subject: Subject) -> String {
    let is_row = match value {
        Value::Array(items) => items.iter().any(Value::is_object),
        other => other.is_object(),
    };
    json::compact(value, is_row && matches!(subject, Subject::Row(_)))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| mismatch("string", value))
}

fn mismatch(wanted: &str, value: &Value) -> String {
    let got = type_name(value);
    format!("wrong type for value; expected {wanted}; got {got}")
}

fn number(value: &Value) -> Result<usize, String> {
    let number = value.as_i64().ok_or_else(|| mismatch("int", value))?;
    Ok(usize::try_from(number).unwrap_or(0))
}

/// Each letter that follows no letter or digit in upper case.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_start = true;
    for c in text.chars() {
        if is_start {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        is_start = if c.is_ascii() {
            !(c.is_ascii_alphanumeric() || c == '_')
        } else {
            c.is_whitespace()
        };
    }
    out
}

fn split(value: &Value, separator: &Value) -> Result<Value, String> {
    let (value, separator) = (text(value)?, text(separator)?);
    if separator.is_empty() {
        return Ok(value.chars().map(String::from).collect());
    }
    Ok(value.split(separator).collect())
}

fn join(value: &Value, separator: &Value) -> Result<Value, String> {
    let separator = text(separator)?;
    let parts: Vec<String> = match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().map(print).collect(),
        Value::Object(fields) => {
            let mut parts: Vec<_> = fields.values().map(print).collect();
            parts.sort();
            parts
        }
        other => return Err(mismatch("[]string", other)),
    };
    Ok(parts.join(separator).into())
}

/// Go cuts at bytes; a character that is cut through goes as a whole.
fn truncate(value: &Value, length: &Value) -> Result<Value, String> {
    let (value, length) = (text(value)?, number(length)?);
    Ok(value[..value.floor_char_boundary(length)].into())
}

fn pad(value: &Value, before: &Value, after: &Value) -> Result<Value, String> {
    let value = text(value)?;
    if value.is_empty() {
        return Ok("".into());
    }
    let (before, after) = (" ".repeat(number(before)?), " ".repeat(number(after)?));
    Ok(format!("{before}{value}{after}").into())
}

fn length(value: &Value) -> Result<Value, String> {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(fields) => Ok(fields.len().into()),
        Value::Null => Ok(0.into()),
        other => Err(format!(
            "error calling len: len of type {}",
            type_name(other)
        )),
    }
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let mut value = &arguments[0];
    for key in &arguments[1..] {
        value = match (value, key) {
            (Value::Array(items), Value::Number(at)) => {
                let item = at.as_u64().and_then(|at| items.get(at as usize));
                item.ok_or_else(|| {
                    format!("error calling index: reflect: slice index out of range: {at}")
                })?
            }
            // What a map does not hold is nothing.
            (Value::Object(fields), Value::String(name)) => {
                static NOTHING: Value = Value::String(String::new());
                fields.get(name).unwrap_or(&NOTHING)
            }
            (value, _) => {
                let kind = type_name(value);
                return Err(format!(
                    "error calling index: can't index item of type {kind}"
                ));
            }
        };
    }
    Ok(value.clone())
}

/// The first value that decides, or the last.
fn last_or(arguments: &[Value], decides: impl Fn(&Value) -> bool) -> Value {
    let found = arguments.iter().find(|value| decides(value));
    found.or(arguments.last()).cloned().unwrap_or(Value::Null)
}

fn order(arguments: &[Value]) -> Result<Ordering, String> {
    match (&arguments[0], &arguments[1]) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64(), b.as_f64());
            a.partial_cmp(&b).ok_or_else(|| "incomparable".to_owned())
        }
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

/// Go's `Print` puts a blank between two operands neither of which is a text, `Println` always.
fn spaced(arguments: &[Value], always: bool) -> String {
    let mut out = String::new();
    for (at, value) in arguments.iter().enumerate() {
        if at > 0 && (always || !(value.is_string() || arguments[at - 1].is_string())) {
            out.push(' ');
        }
        out.push_str(&print(value));
    }
    out
}

/// `%s`, `%v`, `%d`, `%q` and `%%`, with a width where one is given.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest
            .find(|c: char| !(c == '-' || c.is_ascii_digit()))
            .unwrap_or(rest.len());
        let width: i64 = rest[..end].parse().unwrap_or(0);
        let verb = rest[end..].chars().next();
        rest = &rest[end + verb.map_or(0, char::len_utf8)..];
        let shown = match (verb, arguments.as_slice().first()) {
            (Some('%'), _) => {
                out.push('%');
                continue;
            }
            (None, _) => "%!(NOVERB)".to_owned(),
            (Some(verb), None) => format!("%!{verb}(MISSING)"),
            (Some('q'), Some(Value::String(text))) => crate::docker::text::quote(text),
            (Some(_), Some(value)) => print(value),
        };
        arguments.next();
        let missing = (width.unsigned_abs() as usize).saturating_sub(shown.chars().count());
        let padding = " ".repeat(missing);
        if width < 0 {
            out.push_str(&(shown + &padding));
        } else {
            out.push_str(&(padding + &shown));
        }
    }
    out + rest
}
