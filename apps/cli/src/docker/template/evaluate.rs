//! A tree carried out on a value.

use super::functions::{self, Misfit};
use super::parser::{Branch, Node, Operand, OperandKind, Pipeline};
use super::{Subject, TemplateError, place};
use serde_json::Value;

/// Lists that an image's description may leave out or give as null; Go prints them as `[]`.
const LISTS: [&str; 8] = [
    "Cmd",
    "Entrypoint",
    "Env",
    "Layers",
    "OnBuild",
    "RepoDigests",
    "RepoTags",
    "Shell",
];
/// Likewise maps, printed as `map[]`.
const MAPS: [&str; 4] = ["Data", "ExposedPorts", "Labels", "Volumes"];
/// Likewise texts, printed as nothing.
const TEXTS: [&str; 6] = [
    "Author",
    "Comment",
    "OsVersion",
    "Parent",
    "StopSignal",
    "Variant",
];
/// Likewise what is printed as `<nil>`.
const OTHERS: [&str; 2] = ["Healthcheck", "StopTimeout"];

pub(super) struct Evaluation<'a> {
    text: &'a str,
    subject: Subject,
    dot: Value,
    /// Those in sight, the nearest last; the first is `$`.
    variables: Vec<(String, Value)>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(text: &'a str, subject: Subject, value: &Value) -> Self {
        Self {
            text,
            subject,
            dot: value.clone(),
            variables: vec![(String::new(), value.clone())],
        }
    }

    pub(super) fn run(&mut self, nodes: &[Node], out: &mut String) -> Result<(), TemplateError> {
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline)?;
                    if pipeline.variables.is_empty() {
                        self.print(pipeline, &value, out);
                    }
                }
                Node::If(branch) => {
                    let in_sight = self.variables.len();
                    let holds = functions::truth(&self.pipeline(&branch.pipeline)?);
                    self.run(branch.side(holds), out)?;
                    self.variables.truncate(in_sight);
                }
                Node::With(branch) => {
                    let in_sight = self.variables.len();
                    let value = self.pipeline(&branch.pipeline)?;
                    let holds = functions::truth(&value);
                    let before = self.dot.clone();
                    if holds {
                        self.dot = value;
                    }
                    self.run(branch.side(holds), out)?;
                    self.dot = before;
                    self.variables.truncate(in_sight);
                }
                Node::Range(branch) => self.range(branch, out)?,
            }
        }
        Ok(())
    }

    fn range(&mut self, branch: &Branch, out: &mut String) -> Result<(), TemplateError> {
        let in_sight = self.variables.len();
        let items: Vec<(Value, Value)> = match self.commands(&branch.pipeline)? {
            Value::Array(items) => {
                let numbered = items.into_iter().enumerate();
                numbered.map(|(at, item)| (at.into(), item)).collect()
            }
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.into_iter().collect();
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                let pairs = fields.into_iter();
                pairs.map(|(name, field)| (name.into(), field)).collect()
            }
            Value::Null => Vec::new(),
            other => {
                let shown = functions::print(&other);
                let message = format!("range can't iterate over {shown}");
                return Err(self.error(branch.pipeline.first(), &message));
            }
        };
        if items.is_empty() {
            self.run(&branch.otherwise, out)?;
        }
        let before = self.dot.clone();
        for (key, value) in items {
            let names = &branch.pipeline.variables;
            if let Some(last) = names.last() {
                self.variables.push((last.clone(), value.clone()));
            }
            if let [first, _] = names.as_slice() {
                self.variables.push((first.clone(), key));
            }
            self.dot = value;
            self.run(&branch.then, out)?;
            self.variables.truncate(in_sight);
        }
        self.dot = before;
        Ok(())
    }

    fn print(&self, pipeline: &Pipeline, value: &Value, out: &mut String) {
        let name = match pipeline.commands.as_slice() {
            [command] if command.len() == 1 => command[0].fields.last(),
            _ => None,
        };
        match name {
            Some(name) if value.is_null() && self.subject == Subject::Document => {
                let name = name.as_str();
                out.push_str(match () {
                    () if LISTS.contains(&name) => "[]",
                    () if MAPS.contains(&name) => "map[]",
                    () if TEXTS.contains(&name) => "",
                    () => "<nil>",
                });
            }
            _ => out.push_str(&functions::print(value)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> Result<Value, TemplateError> {
        let value = self.commands(pipeline)?;
        for name in &pipeline.variables {
            let known = self.variables.iter_mut().rev();
            let mut known = known.filter(|(known, _)| known == name);
            match known.next() {
                Some(known) if !pipeline.is_declaration => known.1 = value.clone(),
                _ => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline) -> Result<Value, TemplateError> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value)?);
        }
        Ok(value.unwrap_or(Value::Null))
    }

    fn command(
        &mut self,
        operands: &[Operand],
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let (first, rest) = operands
            .split_first()
            .expect("the parser makes no empty command");
        let OperandKind::Function(name) = &first.kind else {
            let has_arguments = !rest.is_empty() || piped.is_some();
            let message = match first.fields.last() {
                Some(field) if has_arguments => {
                    format!("{field} is not a method but has arguments")
                }
                None if has_arguments => {
                    format!("can't give argument to non-function {}", first.show())
                }
                None if matches!(first.kind, OperandKind::Literal(Value::Null)) => {
                    "nil is not a command".to_owned()
                }
                _ => return self.operand(first),
            };
            return Err(self.error(first, &message));
        };
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand)?);
        }
        arguments.extend(piped);
        functions::call(name, &arguments, self.subject)
            .map_err(|misfit| self.misfit(misfit, operands, &arguments))
            .and_then(|value| self.fields(first, value))
    }

    fn operand(&mut self, operand: &Operand) -> Result<Value, TemplateError> {
        let value = match &operand.kind {
            OperandKind::Dot => self.dot.clone(),
            OperandKind::Variable(name) => {
                let mut known = self.variables.iter().rev();
                let known = known.find(|(known, _)| known == name);
                known.map_or(Value::Null, |(_, value)| value.clone())
            }
            OperandKind::Literal(value) => value.clone(),
            OperandKind::Nested(pipeline) => self.pipeline(pipeline)?,
            OperandKind::Function(name) => functions::call(name, &[], self.subject)
                .map_err(|misfit| self.misfit(misfit, std::slice::from_ref(operand), &[]))?,
        };
        self.fields(operand, value)
    }

    fn fields(&self, operand: &Operand, mut value: Value) -> Result<Value, TemplateError> {
        for name in &operand.fields {
            value = match value.get_mut(name) {
                Some(field) => field.take(),
                None => self.absent(operand, name, &value)?,
            };
        }
        Ok(value)
    }

    fn absent(
        &self,
        operand: &Operand,
        name: &str,
        within: &Value,
    ) -> Result<Value, TemplateError> {
        let message = match self.subject {
            Subject::Header => return Ok("<no value>".into()),
            Subject::Document => {
                let known = [&LISTS[..], &MAPS, &TEXTS, &OTHERS].concat();
                if known.contains(&name) {
                    return Ok(Value::Null);
                }
                if within.is_object() {
                    format!("map has no entry for key \"{name}\"")
                } else {
                    format!("can't evaluate field {name} in type interface {{}}")
                }
            }
            Subject::Row(row) => {
                let kind = match within {
                    Value::Object(_) => row,
                    other => functions::type_name(other),
                };
                format!("can't evaluate field {name} in type {kind}")
            }
        };
        Err(self.error(operand, &message))
    }

    fn error(&self, operand: &Operand, message: &str) -> TemplateError {
        self.error_at(operand.at, &operand.show(), message)
    }

    fn error_at(&self, at: usize, shown: &str, message: &str) -> TemplateError {
        let place = place(self.text, at);
        TemplateError::new(format!("{place}: executing \"\" at <{shown}>: {message}"))
    }

    /// Go points at the function, at the argument, or at the whole command.
    fn misfit(&self, misfit: Misfit, operands: &[Operand], arguments: &[Value]) -> TemplateError {
        let function = &operands[0];
        match misfit {
            Misfit::Count(message) => self.error(function, &message),
            Misfit::Type { argument, wanted } => {
                let got = match &arguments[argument] {
                    // The engine's numbers are kept as they were written.
                    Value::Number(_) if self.subject == Subject::Document => "json.Number",
                    other => functions::type_name(other),
                };
                let operand = operands.get(argument + 1).unwrap_or(function);
                let message = format!("wrong type for value; expected {wanted}; got {got}");
                self.error(operand, &message)
            }
            Misfit::Inside(message) => {
                let shown: Vec<_> = operands.iter().map(Operand::show).collect();
                let message = format!("error calling {}: {message}", function.show());
                self.error_at(function.at, &shown.join(" "), &message)
            }
        }
    }
}

impl Branch {
    fn side(&self, holds: bool) -> &[Node] {
        if holds { &self.then } else { &self.otherwise }
    }
}

impl Pipeline {
    fn first(&self) -> &Operand {
        &self.commands[0][0]
    }
}

impl Operand {
    /// As Go writes it back.
    fn show(&self) -> String {
        let start = match &self.kind {
            OperandKind::Dot if self.fields.is_empty() => ".".to_owned(),
            OperandKind::Dot => String::new(),
            OperandKind::Variable(name) => format!("${name}"),
            OperandKind::Function(name) => name.clone(),
            OperandKind::Literal(Value::Null) => "nil".to_owned(),
            OperandKind::Literal(value) => value.to_string(),
            OperandKind::Nested(_) => "(...)".to_owned(),
        };
        self.fields
            .iter()
            .fold(start, |shown, field| shown + "." + field)
    }
}
