//! Text cut and quoted as Docker's tables show it.

use unicode_width::UnicodeWidthChar as _;

/// Cuts `text` to so many columns, the last of them "…". Source: docker/cli
/// `formatter.Ellipsis`, in which East Asian wide characters count twice.
pub(crate) fn ellipsis(text: &str, columns: usize) -> String {
    let mut width = 0;
    let mut cut = None;
    for (at, c) in text.char_indices() {
        let next = width + columns_of(c);
        if next > columns - 1 && cut.is_none() {
            cut = Some(at);
        }
        width = next;
    }
    match cut {
        Some(cut) if width > columns => format!("{}…", &text[..cut]),
        _ => text.to_owned(),
    }
}

fn columns_of(c: char) -> usize {
    if c.width() == Some(2) { 2 } else { 1 }
}

/// A string literal as Go's `strconv.Quote` writes it, which is how commands are shown.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if is_printable(c) => out.push(c),
            c => {
                let escape = match u32::from(c) {
                    code @ ..0x80 => format!("\\x{code:02x}"),
                    code @ ..0x1_0000 => format!("\\u{code:04x}"),
                    code => format!("\\U{code:08x}"),
                };
                out.push_str(&escape);
            }
        }
    }
    out.push('"');
    out
}

/// The standard library escapes what is not printable. A mark that belongs to the letter before
/// it is printable, so it must not stand first.
fn is_printable(c: char) -> bool {
    let text = format!("a{c}");
    text.escape_debug().eq(text.chars()) || c == '\''
}
