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

/// What does not fit when a function is called, as Go says it.
#[derive(Debug)]
pub(super) enum Misfit {
    /// The number of arguments.
    Count(String),
    /// The type of one of them.
    Type {
        /// Which.
        argument: usize,
        /// Which type is wanted.
        wanted: &'static str,
    },
    /// What the function says itself.
    Inside(String),
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value], subject: Subject) -> Result<Value, Misfit> {
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
        return Err(Misfit::Count(format!(
            "wrong number of args for {name}: want {at_least}{wanted} got {got}"
        )));
    }
    // A header shows the name of its column, whatever is done to what stands below.
    if subject == Subject::Header
        && matches!(
            name,
            "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate"
        )
    {
        return text(arguments, 0).map(Into::into);
    }
    match name {
        "json" => Ok(json_of(&arguments[0], subject).into()),
        "lower" => Ok(text(arguments, 0)?.to_lowercase().into()),
        "upper" => Ok(text(arguments, 0)?.to_uppercase().into()),
        "title" => Ok(title(text(arguments, 0)?).into()),
        "split" => split(arguments),
        "join" => join(arguments),
        "truncate" => truncate(arguments),
        "pad" => pad(arguments),
        "len" => length(&arguments[0]),
        "index" => index(arguments).map_err(Misfit::Inside),
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
        "printf" => Ok(printf(text(arguments, 0)?, &arguments[1..]).into()),
        _ => Err(Misfit::Inside(format!("function \"{name}\" not defined"))),
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

fn text(arguments: &[Value], argument: usize) -> Result<&str, Misfit> {
    arguments[argument].as_str().ok_or(Misfit::Type {
        argument,
        wanted: "string",
    })
}

/// No text is padded to more than this, whatever a template asks for.
const WIDEST: usize = 1 << 16;

/// A number of characters or bytes; one below zero is none.
fn number(arguments: &[Value], argument: usize) -> Result<usize, Misfit> {
    let number = arguments[argument].as_i64().ok_or(Misfit::Type {
        argument,
        wanted: "int",
    })?;
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

fn split(arguments: &[Value]) -> Result<Value, Misfit> {
    let (value, separator) = (text(arguments, 0)?, text(arguments, 1)?);
    if separator.is_empty() {
        return Ok(value.chars().map(String::from).collect());
    }
    Ok(value.split(separator).collect())
}

fn join(arguments: &[Value]) -> Result<Value, Misfit> {
    let separator = text(arguments, 1)?;
    let parts: Vec<String> = match &arguments[0] {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().map(print).collect(),
        Value::Object(fields) => {
            let mut parts: Vec<_> = fields.values().map(print).collect();
            parts.sort();
            parts
        }
        _ => {
            return Err(Misfit::Type {
                argument: 0,
                wanted: "[]string",
            });
        }
    };
    Ok(parts.join(separator).into())
}

/// Go cuts at bytes; here a character that would be cut through goes as a whole.
fn truncate(arguments: &[Value]) -> Result<Value, Misfit> {
    let (value, length) = (text(arguments, 0)?, number(arguments, 1)?);
    Ok(value[..value.floor_char_boundary(length)].into())
}

fn pad(arguments: &[Value]) -> Result<Value, Misfit> {
    let value = text(arguments, 0)?;
    let before = number(arguments, 1)?.min(WIDEST);
    let after = number(arguments, 2)?.min(WIDEST);
    if value.is_empty() {
        return Ok("".into());
    }
    Ok(format!("{}{value}{}", " ".repeat(before), " ".repeat(after)).into())
}

fn length(value: &Value) -> Result<Value, Misfit> {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(fields) => Ok(fields.len().into()),
        Value::Null => Ok(0.into()),
        other => Err(Misfit::Inside(format!("len of type {}", type_name(other)))),
    }
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let mut value = arguments[0].clone();
    for key in &arguments[1..] {
        value = match (&value, key) {
            (Value::Array(items), Value::Number(at)) => {
                let item = at.as_u64().and_then(|at| items.get(at as usize));
                item.cloned().ok_or_else(|| out_of_range(at))?
            }
            (Value::String(text), Value::Number(at)) => {
                let byte = at.as_u64().and_then(|at| text.as_bytes().get(at as usize));
                (*byte.ok_or_else(|| out_of_range(at))?).into()
            }
            // What a map does not hold is nothing.
            (Value::Object(fields), Value::String(name)) => {
                fields.get(name).cloned().unwrap_or_else(|| "".into())
            }
            (Value::Array(_) | Value::String(_), key) => {
                let kind = type_name(key);
                return Err(format!("cannot index slice/array with type {kind}"));
            }
            (other, _) => return Err(format!("can't index item of type {}", type_name(other))),
        };
    }
    Ok(value)
}

fn out_of_range(at: &serde_json::Number) -> String {
    format!("index out of range: {at}")
}

/// The first value that decides, or the last.
fn last_or(arguments: &[Value], decides: impl Fn(&Value) -> bool) -> Value {
    let found = arguments.iter().find(|value| decides(value));
    found.or(arguments.last()).cloned().unwrap_or(Value::Null)
}

fn order(arguments: &[Value]) -> Result<Ordering, Misfit> {
    let order = match (&arguments[0], &arguments[1]) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        _ => None,
    };
    order.ok_or_else(|| Misfit::Inside("incompatible types for comparison".to_owned()))
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
        let wanted = (width.unsigned_abs() as usize).min(WIDEST);
        let missing = wanted.saturating_sub(shown.chars().count());
        let padding = " ".repeat(missing);
        if width < 0 {
            out.push_str(&(shown + &padding));
        } else {
            out.push_str(&(padding + &shown));
        }
    }
    out + rest
}
