//! What `--change` takes: lines of a Dockerfile that say how an image is run.
//!
//! The instructions and their forms are those of Docker's Dockerfile reference. Variables are not
//! expanded: nothing is set before them but by the changes themselves.

use crate::{ImageError, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Ports of the widest range, which are written out one by one.
const MOST_PORTS: u32 = 65536;

/// How an image is run, as changes have made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    user: String,
    ports: BTreeSet<String>,
    environment: Vec<(String, String)>,
    command: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    volumes: BTreeSet<String>,
    directory: String,
    labels: BTreeMap<String, String>,
    triggers: Vec<String>,
    signal: String,
}

impl Changes {
    /// Reads one instruction after the other.
    ///
    /// # Errors
    /// The first line that is none of the instructions that are allowed here.
    pub fn parse<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut changes = Self::default();
        for line in lines {
            changes.change(line.as_ref().trim())?;
        }
        Ok(changes)
    }

    fn change(&mut self, line: &str) -> Result<()> {
        let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (instruction, rest) = (instruction.to_ascii_uppercase(), rest.trim());
        let refused = |why: &str| ImageError::Configuration {
            what: format!("invalid change `{line}`"),
            why: why.to_owned(),
        };
        let needs_one = || refused(&format!("{instruction} requires at least one argument"));
        // An empty CMD is one that runs nothing.
        if rest.is_empty() && !matches!(&*instruction, "CMD" | "ENTRYPOINT") {
            return Err(match &*instruction {
                "" => refused("it is empty"),
                _ => needs_one(),
            });
        }
        match &*instruction {
            "CMD" => self.command = Some(command(rest)),
            "ENTRYPOINT" => self.entrypoint = Some(command(rest)),
            "ENV" => {
                for (name, value) in pairs(rest).map_err(|why| refused(&why))? {
                    match self
                        .environment
                        .iter_mut()
                        .find(|(known, _)| *known == name)
                    {
                        Some((_, old)) => *old = value,
                        None => self.environment.push((name, value)),
                    }
                }
            }
            "LABEL" => self
                .labels
                .extend(pairs(rest).map_err(|why| refused(&why))?),
            "EXPOSE" => {
                for word in words(rest).map_err(|why| refused(&why))? {
                    for port in ports(&word).map_err(|why| refused(&why))? {
                        self.ports.insert(port);
                    }
                }
            }
            "VOLUME" => {
                let paths = match json_list(rest) {
                    Some(paths) => paths,
                    None => words(rest).map_err(|why| refused(&why))?,
                };
                if paths.iter().any(|path| path.trim().is_empty()) {
                    return Err(refused("VOLUME specified can not be an empty string"));
                }
                self.volumes.extend(paths);
            }
            "USER" => self.user = one(rest).map_err(|why| refused(&why))?,
            "STOPSIGNAL" => self.signal = one(rest).map_err(|why| refused(&why))?,
            "WORKDIR" => {
                let path = one(rest).map_err(|why| refused(&why))?;
                self.directory = joined(&self.directory, &path);
            }
            "ONBUILD" => {
                let first = rest.split_whitespace().next().unwrap_or_default();
                let first = first.to_ascii_uppercase();
                if matches!(&*first, "ONBUILD" | "FROM" | "MAINTAINER") {
                    return Err(refused(&format!(
                        "{first} isn't allowed as an ONBUILD trigger"
                    )));
                }
                self.triggers.push(rest.to_owned());
            }
            _ => {
                return Err(refused(&format!(
                    "{instruction} is not a valid change command"
                )));
            }
        }
        Ok(())
    }

    /// The object `config` of an image's configuration.
    pub fn to_config(&self) -> Value {
        let mut config = Map::new();
        let mut put = |key: &str, value: Value, is_set: bool| {
            if is_set {
                config.insert(key.to_owned(), value);
            }
        };
        let set = |names: &BTreeSet<String>| -> Value {
            let names = names.iter().map(|name| (name.clone(), json!({})));
            Value::Object(names.collect())
        };
        let environment = self.environment.iter();
        let environment: Vec<String> = environment
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        put("User", json!(self.user), !self.user.is_empty());
        put("ExposedPorts", set(&self.ports), !self.ports.is_empty());
        put("Env", json!(environment), !environment.is_empty());
        put(
            "Entrypoint",
            json!(self.entrypoint),
            self.entrypoint.is_some(),
        );
        put("Cmd", json!(self.command), self.command.is_some());
        put("Volumes", set(&self.volumes), !self.volumes.is_empty());
        put(
            "WorkingDir",
            json!(self.directory),
            !self.directory.is_empty(),
        );
        put("Labels", json!(self.labels), !self.labels.is_empty());
        put("OnBuild", json!(self.triggers), !self.triggers.is_empty());
        put("StopSignal", json!(self.signal), !self.signal.is_empty());
        config.into()
    }
}

/// The exec form, a list, or the shell form, a line for the shell.
fn command(text: &str) -> Vec<String> {
    match json_list(text) {
        Some(words) => words,
        None if text.is_empty() => Vec::new(),
        None => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()],
    }
}

fn json_list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[')
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

/// `NAME=VALUE ...`, or `NAME VALUE` where the value is the rest of the line.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("`{text}` has no value"))?;
        return Ok(vec![(name.to_owned(), unquoted(value.trim())?)]);
    }
    let words = words(text)?.into_iter();
    words
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err("names can not be blank".to_owned()),
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!(
                "can't find = in \"{word}\", must be of the form: name=value"
            )),
        })
        .collect()
}

fn one(text: &str) -> Result<String, String> {
    unquoted(text)
}

/// The words of a line, without their quotation marks.
fn words(text: &str) -> Result<Vec<String>, String> {
    split(text, true)
}

/// A line without its quotation marks.
fn unquoted(text: &str) -> Result<String, String> {
    Ok(split(text, false)?.concat())
}

/// Takes quotation marks and escapes away as a shell does: all between single ones stays as it
/// is, and between double ones all but `\"`, `\\` and `\$`.
fn split(text: &str, at_spaces: bool) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_space = quote.is_none() && at_spaces && letter.is_whitespace();
        if is_space {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match (quote, letter) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (Some('"'), '\\') if !matches!(letters.peek(), Some('"' | '\\' | '$')) => {
                word.push('\\');
            }
            (None | Some('"'), '\\') => word.extend(letters.next()),
            _ => word.push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quotation mark is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

/// `PORT[-PORT][/PROTOCOL]`, each port by itself.
fn ports(text: &str) -> Result<Vec<String>, String> {
    let refused = || format!("invalid containerPort: {text}");
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(&*protocol, "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| text.parse::<u32>().ok().filter(|port| *port < MOST_PORTS);
    let first = port(first).ok_or_else(refused)?;
    let last = port(last)
        .filter(|last| *last >= first)
        .ok_or_else(refused)?;
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

/// A path upon another, cleaned.
fn joined(base: &str, path: &str) -> String {
    let base = if path.starts_with('/') { "" } else { base };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(lines: &[&str]) -> Value {
        Changes::parse(lines).unwrap().to_config()
    }

    #[test]
    fn instructions_have_dockers_meaning() {
        let made = config(&[
            r#"CMD ["/bin/a", "b c"]"#,
            "ENTRYPOINT run it",
            r#"ENV A=1 B="two words" C=three\ words"#,
            "env A 2 and more",
            "EXPOSE 80 8000-8001/udp",
            "LABEL org.example.a='x \" y' b=",
            "USER 1000:1000",
            r#"VOLUME ["/a b", "/c"]"#,
            "VOLUME /d /e",
            "WORKDIR /srv",
            "WORKDIR ../app/./x",
            "ONBUILD RUN make",
            "STOPSIGNAL SIGINT",
        ]);
        let wanted = json!({
            "User": "1000:1000",
            "ExposedPorts": { "80/tcp": {}, "8000/udp": {}, "8001/udp": {} },
            "Env": ["A=2 and more", "B=two words", "C=three words"],
            "Entrypoint": ["/bin/sh", "-c", "run it"],
            "Cmd": ["/bin/a", "b c"],
            "Volumes": { "/a b": {}, "/c": {}, "/d": {}, "/e": {} },
            "WorkingDir": "/app/x",
            "Labels": { "b": "", "org.example.a": "x \" y" },
            "OnBuild": ["RUN make"],
            "StopSignal": "SIGINT",
        });
        assert_eq!(made, wanted);
        assert_eq!(config(&[]), json!({}));
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for bad in [
            "",
            "RUN make",
            "ENV",
            "ENV A",
            "ENV =x",
            "ENV A=1 B",
            "LABEL a='open",
            "EXPOSE 99999",
            "EXPOSE 9-8",
            "EXPOSE 80/icmp",
            "VOLUME [\"\"]",
            "ONBUILD FROM x",
        ] {
            assert!(Changes::parse([bad]).is_err(), "{bad}");
        }
    }
}
