//! A Rust text cut into code, string literals and comments; just enough of the grammar for that.

/// One line of a Rust text.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The code, each string literal replaced by `""` and each comment by nothing.
    pub(super) code: String,
    /// The string literals that begin on this line, with the byte in `code` where each stands.
    pub(super) literals: Vec<(usize, String)>,
    /// Part of the inline test module that ends the file.
    pub(super) is_test: bool,
}

/// Cuts `text` into lines. The result has as many lines as the text.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut reader = Reader {
        rest: text,
        lines: vec![Line::default()],
    };
    while !reader.rest.is_empty() {
        reader.step();
    }
    let mut lines = reader.lines;
    // Inline tests stand at the end of a file in this house.
    if let Some(start) = lines.windows(2).position(|pair| {
        pair[0].code.trim() == "#[cfg(test)]"
            && pair[1].code.trim_start().starts_with("mod ")
            && pair[1].code.contains('{')
    }) {
        for line in &mut lines[start..] {
            line.is_test = true;
        }
    }
    lines
}

/// Whether `word` stands in `code` as a whole word.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

struct Reader<'a> {
    rest: &'a str,
    lines: Vec<Line>,
}

impl Reader<'_> {
    fn step(&mut self) {
        let after_word = self
            .line()
            .code
            .ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.skip(end);
        } else if self.rest.starts_with("/*") {
            let end = block_comment(self.rest);
            self.skip(end);
        } else if self.rest.starts_with('"') {
            self.literal(1, plain_string(&self.rest[1..]), 1);
        } else if !after_word && let Some((open, close)) = raw_string(self.rest) {
            let body = self.rest[open..]
                .find(&close)
                .unwrap_or(self.rest.len() - open);
            self.literal(open, body, close.len());
        } else if let Some(length) = character(self.rest) {
            self.line().code.push_str("' '");
            self.skip(length);
        } else {
            let next = self
                .rest
                .chars()
                .next()
                .expect("the caller saw that there is more");
            if next != '\n' {
                self.line().code.push(next);
            }
            self.skip(next.len_utf8());
        }
    }

    fn line(&mut self) -> &mut Line {
        self.lines.last_mut().expect("there is always a line")
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length.min(self.rest.len()));
        for _ in skipped.matches('\n') {
            self.lines.push(Line::default());
        }
        self.rest = rest;
    }

    fn literal(&mut self, open: usize, body: usize, close: usize) {
        let value = self.rest[open..open + body].to_owned();
        let line = self.line();
        line.literals.push((line.code.len(), value));
        line.code.push_str("\"\"");
        self.skip(open + body + close);
    }
}

/// Bytes of the block comment that `text` begins with; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Bytes up to the quote that ends a string.
fn plain_string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at,
            _ => {}
        }
    }
    text.len()
}

/// For `r#"`, `br"` and so on: bytes of the opening, and the closing.
fn raw_string(text: &str) -> Option<(usize, String)> {
    let after = ["r", "br", "cr"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    let body = after[hashes..].strip_prefix('"')?;
    Some((text.len() - body.len(), format!("\"{}", "#".repeat(hashes))))
}

/// Bytes of the character literal that `text` begins with. A lifetime is none.
fn character(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    let mut characters = body.char_indices();
    let (_, first) = characters.next()?;
    if first == '\\' {
        let (escaped, _) = characters.next()?;
        let after = escaped + 1;
        return body[after..].find('\'').map(|end| 1 + after + end + 1);
    }
    let (end, second) = characters.next()?;
    (second == '\'').then_some(1 + end + 1)
}
