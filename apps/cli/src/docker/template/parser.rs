//! Tokens made into a tree.

use super::lexer::{self, Kind, Token};
use super::{TemplateError, functions};
use serde_json::Value;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
}

/// `if`, `with` or `range`, and what is done otherwise.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    /// Variables that take the value; two of them in `range` take key and value.
    pub(super) variables: Vec<String>,
    pub(super) is_declaration: bool,
    /// Each is given the value of the one before as its last argument.
    pub(super) commands: Vec<Vec<Operand>>,
}

#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) kind: OperandKind,
    /// Fields looked up in it, one in the other.
    pub(super) fields: Vec<String>,
    /// Where errors say that it stands.
    pub(super) at: usize,
}

#[derive(Clone, Debug)]
pub(super) enum OperandKind {
    Dot,
    Variable(String),
    Function(String),
    Literal(Value),
    Nested(Box<Pipeline>),
}

/// Parses a whole template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser {
        text,
        tokens: lexer::tokens(text)?,
        next: 0,
        variables: vec![String::new()],
    };
    let (nodes, end) = parser.list()?;
    match end {
        None => Ok(nodes),
        Some(word) => Err(parser.error(&format!("unexpected {{{{{word}}}}}"))),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
    /// Those in sight; the first is `$`.
    variables: Vec<String>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn at(&self) -> usize {
        self.tokens
            .get(self.next)
            .map_or(self.text.len(), |token| token.at)
    }

    fn error(&self, message: &str) -> TemplateError {
        let at = self
            .tokens
            .get(self.next.saturating_sub(1))
            .map_or(self.text.len(), |token| token.at);
        let line = self.text[..at].matches('\n').count() + 1;
        TemplateError::new(format!(":{line}: {message}"))
    }

    fn unexpected(&mut self, place: &str) -> TemplateError {
        match self.take().map(|token| token.kind) {
            None => self.error("unexpected EOF"),
            Some(kind) => self.error(&format!("unexpected {} in {place}", show(&kind))),
        }
    }

    /// Nodes up to the end of the template, or to `end` or `else`, which is told.
    fn list(&mut self) -> Result<(Vec<Node>, Option<String>), TemplateError> {
        let mut nodes = Vec::new();
        loop {
            match self.take().map(|token| token.kind) {
                None => return Ok((nodes, None)),
                Some(Kind::Text(text)) => nodes.push(Node::Text(text)),
                Some(_) => match self.peek().cloned() {
                    Some(Kind::Word(word)) => match word.as_str() {
                        "if" | "with" | "range" => {
                            self.next += 1;
                            nodes.push(self.branch(&word)?);
                        }
                        "end" => {
                            self.next += 1;
                            self.close("end")?;
                            return Ok((nodes, Some(word)));
                        }
                        "else" => {
                            self.next += 1;
                            return Ok((nodes, Some(word)));
                        }
                        "define" | "template" | "block" | "break" | "continue" => {
                            self.next += 1;
                            return Err(self.error(&format!("{{{{{word}}}}} is not supported")));
                        }
                        _ => nodes.push(self.action()?),
                    },
                    _ => nodes.push(self.action()?),
                },
            }
        }
    }

    fn action(&mut self) -> Result<Node, TemplateError> {
        let pipeline = self.pipeline("command", &Kind::Close)?;
        Ok(Node::Action(pipeline))
    }

    fn close(&mut self, place: &str) -> Result<(), TemplateError> {
        if self.peek() == Some(&Kind::Close) {
            self.next += 1;
            return Ok(());
        }
        Err(self.unexpected(place))
    }

    fn branch(&mut self, word: &str) -> Result<Node, TemplateError> {
        let in_sight = self.variables.len();
        let pipeline = self.pipeline(word, &Kind::Close)?;
        let (then, end) = self.list()?;
        let otherwise = match end.as_deref() {
            Some("end") => Vec::new(),
            Some(_) => self.otherwise(word)?,
            None => return Err(self.error("unexpected EOF")),
        };
        self.variables.truncate(in_sight);
        let branch = Branch {
            pipeline,
            then,
            otherwise,
        };
        Ok(match word {
            "if" => Node::If(branch),
            "with" => Node::With(branch),
            _ => Node::Range(branch),
        })
    }

    /// What follows `else`, up to and with the `end` that it shares.
    fn otherwise(&mut self, word: &str) -> Result<Vec<Node>, TemplateError> {
        if word != "range" && self.peek() == Some(&Kind::Word(word.to_owned())) {
            self.next += 1;
            return Ok(vec![self.branch(word)?]);
        }
        self.close("else")?;
        match self.list()? {
            (nodes, Some(end)) if end == "end" => Ok(nodes),
            (_, Some(_)) => Err(self.error("expected end; found {{else}}")),
            (_, None) => Err(self.error("unexpected EOF")),
        }
    }

    fn pipeline(&mut self, place: &str, end: &Kind) -> Result<Pipeline, TemplateError> {
        let (variables, is_declaration) = self.declaration(place)?;
        let mut commands = vec![self.command(place)?];
        while self.peek() == Some(&Kind::Pipe) {
            self.next += 1;
            commands.push(self.command(place)?);
        }
        if self.peek() != Some(end) {
            return Err(self.unexpected(place));
        }
        self.next += 1;
        if is_declaration {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline {
            variables,
            is_declaration,
            commands,
        })
    }

    /// `$a :=`, `$a, $b :=` or `$a =`, where one stands.
    fn declaration(&mut self, place: &str) -> Result<(Vec<String>, bool), TemplateError> {
        let start = self.next;
        let mut variables = Vec::new();
        while let Some(Kind::Variable(name)) = self.peek().cloned() {
            self.next += 1;
            variables.push(name);
            match self.peek() {
                Some(Kind::Comma) if place == "range" && variables.len() == 1 => self.next += 1,
                Some(Kind::Comma) => {
                    return Err(self.error(&format!("too many declarations in {place}")));
                }
                Some(Kind::Declare) => {
                    self.next += 1;
                    return Ok((variables, true));
                }
                Some(Kind::Assign) => {
                    self.next += 1;
                    return Ok((variables, false));
                }
                _ => break,
            }
        }
        self.next = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, place: &str) -> Result<Vec<Operand>, TemplateError> {
        let mut operands = Vec::new();
        loop {
            match self.peek() {
                Some(Kind::Pipe | Kind::Close | Kind::CloseParenthesis) if !operands.is_empty() => {
                    return Ok(operands);
                }
                Some(Kind::Close | Kind::CloseParenthesis) => {
                    let message = format!("missing value for {place}");
                    return Err(self.error(&message));
                }
                Some(Kind::Pipe) => return Err(self.unexpected(place)),
                _ => operands.push(self.operand()?),
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, TemplateError> {
        let mut at = self.at();
        let mut fields = Vec::new();
        let kind = match self.peek().cloned() {
            Some(Kind::Dot) => OperandKind::Dot,
            Some(Kind::Field(name)) => {
                fields.push(name);
                OperandKind::Dot
            }
            Some(Kind::Variable(name)) if self.variables.contains(&name) => {
                OperandKind::Variable(name)
            }
            Some(Kind::Variable(name)) => {
                self.next += 1;
                return Err(self.error(&format!("undefined variable \"${name}\"")));
            }
            Some(Kind::Literal(text)) => OperandKind::Literal(Value::String(text)),
            Some(Kind::Number(text)) => OperandKind::Literal(self.number(&text)?),
            Some(Kind::Word(word)) => match word.as_str() {
                "true" => OperandKind::Literal(Value::Bool(true)),
                "false" => OperandKind::Literal(Value::Bool(false)),
                "nil" => OperandKind::Literal(Value::Null),
                word if functions::exists(word) => OperandKind::Function(word.to_owned()),
                word => {
                    self.next += 1;
                    return Err(self.error(&format!("function \"{word}\" not defined")));
                }
            },
            Some(Kind::OpenParenthesis) => {
                self.next += 1;
                let nested = self.pipeline("parenthesized pipeline", &Kind::CloseParenthesis)?;
                self.next -= 1;
                OperandKind::Nested(Box::new(nested))
            }
            _ => return Err(self.unexpected("operand")),
        };
        self.next += 1;
        while let Some(token) = self.tokens.get(self.next)
            && let Kind::Field(name) = &token.kind
            && !token.is_spaced
        {
            // Go gives a chain of fields the place of its second link.
            if fields.len() < 2 {
                at = token.at;
            }
            fields.push(name.clone());
            self.next += 1;
        }
        Ok(Operand { kind, fields, at })
    }

    fn number(&mut self, text: &str) -> Result<Value, TemplateError> {
        if let Ok(number) = text.parse::<i64>() {
            return Ok(number.into());
        }
        match text.parse::<f64>() {
            Ok(number) if text.contains('.') => Ok(number.into()),
            _ => {
                self.next += 1;
                Err(self.error(&format!("bad number syntax: {text:?}")))
            }
        }
    }
}

fn show(kind: &Kind) -> String {
    let text = match kind {
        Kind::Text(text) | Kind::Word(text) | Kind::Number(text) | Kind::Literal(text) => text,
        Kind::Field(name) => return format!("<.{name}>"),
        Kind::Variable(name) => return format!("<${name}>"),
        Kind::Dot => return "<.>".to_owned(),
        Kind::Open => return "{{".to_owned(),
        Kind::Close => return "\"}}\"".to_owned(),
        Kind::Pipe => return "\"|\"".to_owned(),
        Kind::OpenParenthesis => return "\"(\"".to_owned(),
        Kind::CloseParenthesis => return "\")\"".to_owned(),
        Kind::Comma => return "\",\"".to_owned(),
        Kind::Declare => return "\":=\"".to_owned(),
        Kind::Assign => return "\"=\"".to_owned(),
    };
    format!("{text:?}")
}
