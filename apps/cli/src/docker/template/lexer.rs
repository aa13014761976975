//! A template cut into text and tokens.

use super::TemplateError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Where it begins in the template.
    pub(super) at: usize,
    /// Whether space stood before it, which ends the operand before.
    pub(super) is_spaced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What stands outside of braces.
    Text(String),
    Open,
    Close,
    /// `.Name`
    Field(String),
    Dot,
    /// `$` or `$name`, without the sign.
    Variable(String),
    /// A function or a keyword.
    Word(String),
    Literal(String),
    Number(String),
    Pipe,
    OpenParenthesis,
    CloseParenthesis,
    Comma,
    Declare,
    Assign,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// Cuts `text` into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut lexer = Lexer {
        text,
        at: 0,
        tokens: Vec::new(),
    };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind, length: usize, is_spaced: bool) {
        self.tokens.push(Token {
            kind,
            at: self.at,
            is_spaced,
        });
        self.at += length;
    }

    fn error(&self, message: &str) -> TemplateError {
        let line = self.text[..self.at].matches('\n').count() + 1;
        TemplateError::new(format!(":{line}: {message}"))
    }

    fn run(&mut self) -> Result<(), TemplateError> {
        let mut trims = false;
        while self.at < self.text.len() {
            let length = self.rest().find(OPEN).unwrap_or(self.rest().len());
            let body = &self.rest()[..length];
            let is_last = length == self.rest().len();
            let trims_end = !is_last && begins_trim(&self.rest()[length + OPEN.len()..]);
            let body = if trims { body.trim_start() } else { body };
            let body = if trims_end { body.trim_end() } else { body };
            if !body.is_empty() {
                let body = body.to_owned();
                self.push(Kind::Text(body), 0, false);
            }
            self.at += length;
            if is_last {
                break;
            }
            trims = self.action(trims_end)?;
        }
        Ok(())
    }

    /// One pair of braces; tells whether the text after it is to be trimmed.
    fn action(&mut self, is_trimmed: bool) -> Result<bool, TemplateError> {
        let marker = if is_trimmed { 2 } else { 0 };
        if self.rest()[OPEN.len() + marker..].starts_with("/*") {
            return self.comment();
        }
        self.push(Kind::Open, OPEN.len() + marker, false);
        let mut depth = 0_usize;
        loop {
            let blanks = self.rest().len() - self.rest().trim_start().len();
            self.at += blanks;
            let is_spaced = blanks > 0;
            if is_spaced && self.rest().starts_with("-}}") {
                self.push(Kind::Close, 1 + CLOSE.len(), false);
                return Ok(true);
            }
            if self.rest().starts_with(CLOSE) {
                if depth > 0 {
                    return Err(self.error("unclosed left paren"));
                }
                self.push(Kind::Close, CLOSE.len(), false);
                return Ok(false);
            }
            let Some(first) = self.rest().chars().next() else {
                return Err(self.error("unclosed action"));
            };
            match first {
                '(' => {
                    depth += 1;
                    self.push(Kind::OpenParenthesis, 1, is_spaced);
                }
                ')' if depth == 0 => return Err(self.error("unexpected right paren")),
                ')' => {
                    depth -= 1;
                    self.push(Kind::CloseParenthesis, 1, is_spaced);
                }
                '|' => self.push(Kind::Pipe, 1, is_spaced),
                ',' => self.push(Kind::Comma, 1, is_spaced),
                '=' => self.push(Kind::Assign, 1, is_spaced),
                ':' if self.rest().starts_with(":=") => self.push(Kind::Declare, 2, is_spaced),
                ':' => return Err(self.error("expected :=")),
                '"' => self.quoted(is_spaced)?,
                '`' => self.raw(is_spaced)?,
                '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    let name = word(&self.rest()[1..]).to_owned();
                    let length = 1 + name.len();
                    let kind = if name.is_empty() {
                        Kind::Dot
                    } else {
                        Kind::Field(name)
                    };
                    self.push(kind, length, is_spaced);
                }
                '$' => {
                    let name = word(&self.rest()[1..]).to_owned();
                    let length = 1 + name.len();
                    self.push(Kind::Variable(name), length, is_spaced);
                }
                '+' | '-' | '.' | '0'..='9' => {
                    let number = number(self.rest()).to_owned();
                    let length = number.len();
                    self.push(Kind::Number(number), length, is_spaced);
                }
                c if c == '_' || c.is_alphabetic() => {
                    let name = word(self.rest()).to_owned();
                    let length = name.len();
                    self.push(Kind::Word(name), length, is_spaced);
                }
                c => {
                    let message = format!("unexpected {:?} in command", c.to_string());
                    return Err(self.error(&message));
                }
            }
        }
    }

    fn comment(&mut self) -> Result<bool, TemplateError> {
        let Some(end) = self.rest().find("*/") else {
            return Err(self.error("unclosed comment"));
        };
        let after = &self.rest()[end + 2..];
        let trimmed = after.trim_start();
        let (length, trims) = if after.starts_with(CLOSE) {
            (CLOSE.len(), false)
        } else if trimmed.len() < after.len() && trimmed.starts_with("-}}") {
            (after.len() - trimmed.len() + 1 + CLOSE.len(), true)
        } else {
            return Err(self.error("comment ends before closing delimiter"));
        };
        self.at += end + 2 + length;
        Ok(trims)
    }

    fn quoted(&mut self, is_spaced: bool) -> Result<(), TemplateError> {
        let mut value = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.push(Kind::Literal(value), at + 1, is_spaced);
                    return Ok(());
                }
                '\n' => break,
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 't')) => value.push('\t'),
                    Some((_, 'r')) => value.push('\r'),
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    _ => break,
                },
                c => value.push(c),
            }
        }
        Err(self.error("unterminated quoted string"))
    }

    fn raw(&mut self, is_spaced: bool) -> Result<(), TemplateError> {
        let Some(length) = self.rest()[1..].find('`') else {
            return Err(self.error("unterminated raw quoted string"));
        };
        let value = self.rest()[1..=length].to_owned();
        self.push(Kind::Literal(value), length + 2, is_spaced);
        Ok(())
    }
}

/// Whether what follows `{{` asks for the text before it to be trimmed.
fn begins_trim(after: &str) -> bool {
    after
        .strip_prefix('-')
        .is_some_and(|rest| rest.starts_with([' ', '\t', '\r', '\n']))
}

fn word(text: &str) -> &str {
    let end = text
        .find(|c: char| !(c == '_' || c.is_alphanumeric()))
        .unwrap_or(text.len());
    &text[..end]
}

fn number(text: &str) -> &str {
    let end = text[1..]
        .find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_'))
        .map_or(text.len(), |at| at + 1);
    &text[..end]
}
