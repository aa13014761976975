//! Reading scripts.

use super::{NANOSECONDS, is_plain, quoted};
use crate::model::operation::{
    Acl, AclKind, Data, FileOperation, HoldHow, LayerOperation, Operation, RenameHow, Special,
};
use crate::tree::TreePath;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use std::str::{Chars, FromStr};

/// What follows each kind.
pub(super) const FORMS: &[(&str, &str)] = &[
    ("create", "PATH MODE"),
    ("read", "PATH"),
    ("write", "PATH AT DATA"),
    ("append", "PATH DATA"),
    ("rewrite", "PATH DATA"),
    ("truncate", "PATH SIZE"),
    ("allocate", "PATH AT LENGTH"),
    ("punch", "PATH AT LENGTH"),
    ("map-write", "PATH AT DATA"),
    ("mkdir", "PATH MODE"),
    ("rmdir", "PATH"),
    ("unlink", "PATH"),
    ("remove-tree", "PATH"),
    ("link", "FROM TO"),
    ("symlink", "TARGET PATH"),
    ("rename", "FROM TO"),
    ("rename-noreplace", "FROM TO"),
    ("rename-exchange", "FROM TO"),
    ("character", "PATH MAJOR:MINOR MODE"),
    ("block", "PATH MAJOR:MINOR MODE"),
    ("fifo", "PATH MODE"),
    ("socket", "PATH MODE"),
    ("tmpfile", "PATH MODE DATA"),
    ("chmod", "PATH MODE"),
    ("chown", "PATH UID GID"),
    ("utimens", "PATH SECONDS.NANOSECONDS"),
    ("set-xattr", "PATH KEY VALUE"),
    ("remove-xattr", "PATH KEY"),
    (
        "acl",
        "PATH access|default none|owner=BITS user:ID=BITS group=BITS mask=BITS other=BITS",
    ),
    ("list", "PATH"),
    ("read-link", "PATH"),
    ("hold", "SLOT PATH read|write|map"),
    ("held-read", "SLOT"),
    ("held-write", "SLOT AT DATA"),
    ("held-truncate", "SLOT SIZE"),
    ("release", "SLOT"),
    ("commit", ""),
    ("remount", ""),
    ("reopen", ""),
    ("view", "LAYER"),
    ("sibling", "LAYER|none"),
    ("diff", ""),
    ("compare", "LAYER|none LAYER"),
    ("rebase", "LAYER"),
    ("relabel", "LAYER"),
    ("misuse", ""),
    ("fork", "LAYER|none"),
    ("apply", "LAYER"),
    ("remove", "LAYER"),
    ("check", ""),
];

/// Reads a script; empty lines and comments are skipped.
pub fn parse_script(text: &str) -> Result<Vec<Operation>> {
    let lines = (1..).zip(text.lines());
    let script: Vec<_> = lines
        .filter(|(_, line)| !matches!(line.trim_start().bytes().next(), None | Some(b'#')))
        .map(|(number, line)| within_limits(line).with_context(|| format!("line {number}")))
        .collect::<Result<_>>()?;
    ensure!(!script.is_empty(), "there is no operation in it");
    Ok(script)
}

fn within_limits(line: &str) -> Result<Operation> {
    let operation = Operation::parse(line)?;
    super::limits::check(&operation)
        .map_err(|why| anyhow!("no script can say `{}`: {why}", line.trim()))?;
    Ok(operation)
}

impl Operation {
    /// Reads a line, whatever it asks for.
    pub fn parse(line: &str) -> Result<Self> {
        let line = line.trim();
        let cannot = |why: anyhow::Error| anyhow!("cannot read `{line}`: {why}");
        let mut words = split(line).map_err(cannot)?.into_iter();
        let first = words.next().unwrap_or_default();
        let first = String::from_utf8_lossy(&first.bytes);
        let Some((kind, form)) = FORMS.iter().find(|(kind, _)| *kind == first) else {
            let kinds: Vec<_> = FORMS.iter().map(|(kind, _)| *kind).collect();
            bail!(
                "cannot read `{line}`: `{first}` is no operation; these are: {}",
                kinds.join(", ")
            );
        };
        let mut words = Words(words);
        let read = words.operation(kind).and_then(|operation| {
            words.end()?;
            Ok(operation)
        });
        let usage = format!("{kind} {form}");
        read.map_err(|why| cannot(anyhow!("{why}; write `{}`", usage.trim_end())))
    }
}

#[derive(Default)]
struct Word {
    bytes: Vec<u8>,
    quoted: bool,
}

fn split(line: &str) -> Result<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = match rest.strip_prefix('"') {
            Some(inside) => unquote(inside)?,
            None => bare(rest)?,
        };
        ensure!(
            after.is_empty() || after.starts_with(|letter: char| letter.is_ascii_whitespace()),
            "`{after}` sticks to the word before it; put a space between them"
        );
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

fn bare(text: &str) -> Result<(Word, &str)> {
    let end = text
        .find(|letter: char| letter.is_ascii_whitespace())
        .unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    ensure!(
        word.bytes().all(is_plain),
        "`{word}` has letters that are not plain; put it in `\"`, as {}",
        quoted(word.as_bytes())
    );
    let word = Word {
        bytes: word.as_bytes().to_vec(),
        quoted: false,
    };
    Ok((word, after))
}

/// The word that ends at the next quote, and what follows.
fn unquote(text: &str) -> Result<(Word, &str)> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '"' => {
                let word = Word {
                    bytes,
                    quoted: true,
                };
                return Ok((word, rest.as_str()));
            }
            '\\' => bytes.push(unescape(&mut rest)?),
            _ => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bail!("the quote before `{text}` is not closed; end the word with `\"`")
}

/// What stands after a backslash.
fn unescape(rest: &mut Chars<'_>) -> Result<u8> {
    let text = rest.as_str();
    let byte = match rest.next() {
        Some('t') => Some(b'\t'),
        Some('r') => Some(b'\r'),
        Some('n') => Some(b'\n'),
        Some(letter @ ('"' | '\'' | '\\')) => Some(letter as u8),
        Some('x') => {
            let digits: String = rest.by_ref().take(2).collect();
            let all = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            all.then(|| u8::from_str_radix(&digits, 16).ok()).flatten()
        }
        _ => None,
    };
    byte.with_context(|| {
        format!(
            "`\\{text}` begins with no escape; these are \\t, \\r, \\n, \\\", \\', \\\\ and \\xNN \
             with two hexadecimal digits"
        )
    })
}

/// The words that follow the kind, taken one by one. What is asked for is named as in [`FORMS`].
struct Words(std::vec::IntoIter<Word>);

impl Words {
    fn operation(&mut self, kind: &str) -> Result<Operation> {
        Ok(Operation::Layer(match kind {
            "commit" => LayerOperation::Commit,
            "remount" => LayerOperation::Remount,
            "reopen" => LayerOperation::Reopen,
            "view" => LayerOperation::View(self.number("LAYER")?),
            "sibling" => LayerOperation::Sibling(self.layer_or_none()?),
            "diff" => LayerOperation::Diff,
            "compare" => LayerOperation::Compare(self.layer_or_none()?, self.number("LAYER")?),
            "rebase" => LayerOperation::Rebase(self.number("LAYER")?),
            "relabel" => LayerOperation::Relabel(self.number("LAYER")?),
            "misuse" => LayerOperation::Misuse,
            "fork" => LayerOperation::Fork(self.layer_or_none()?),
            "apply" => LayerOperation::Apply(self.number("LAYER")?),
            "remove" => LayerOperation::Remove(self.number("LAYER")?),
            "check" => LayerOperation::Check,
            "hold" | "held-read" | "held-write" | "held-truncate" | "release" => {
                return Ok(Operation::File(self.held(kind)?));
            }
            "symlink" => {
                return Ok(Operation::File(FileOperation::Symlink {
                    target: self.next("TARGET")?.bytes,
                    path: self.path("PATH")?,
                }));
            }
            "link" | "rename" | "rename-noreplace" | "rename-exchange" => {
                return Ok(Operation::File(self.two_paths(kind)?));
            }
            _ => {
                let path = self.path("PATH")?;
                return Ok(Operation::File(self.on_path(kind, path)?));
            }
        }))
    }

    fn held(&mut self, kind: &str) -> Result<FileOperation> {
        let slot = self.number("SLOT")?;
        Ok(match kind {
            "hold" => FileOperation::Hold {
                slot,
                path: self.path("PATH")?,
                how: self.one_of(&[
                    ("read", HoldHow::Read),
                    ("write", HoldHow::Write),
                    ("map", HoldHow::Map),
                ])?,
            },
            "held-read" => FileOperation::HeldRead { slot },
            "held-write" => FileOperation::HeldWrite {
                slot,
                at: self.number("AT")?,
                data: self.data()?,
            },
            "held-truncate" => FileOperation::HeldTruncate {
                slot,
                size: self.number("SIZE")?,
            },
            _ => FileOperation::Release { slot },
        })
    }

    fn two_paths(&mut self, kind: &str) -> Result<FileOperation> {
        let (from, to) = (self.path("FROM")?, self.path("TO")?);
        let how = match kind {
            "link" => return Ok(FileOperation::Link { from, to }),
            "rename-noreplace" => RenameHow::NoReplace,
            "rename-exchange" => RenameHow::Exchange,
            _ => RenameHow::Replace,
        };
        Ok(FileOperation::Rename { from, to, how })
    }

    fn on_path(&mut self, kind: &str, path: TreePath) -> Result<FileOperation> {
        use FileOperation as Is;
        let (at, size, length) = ("AT", "SIZE", "LENGTH");
        Ok(match kind {
            "create" => Is::Create {
                path,
                mode: self.mode()?,
            },
            "read" => Is::Read { path },
            "write" => Is::Write {
                path,
                at: self.number(at)?,
                data: self.data()?,
            },
            "append" => Is::Append {
                path,
                data: self.data()?,
            },
            "rewrite" => Is::Rewrite {
                path,
                data: self.data()?,
            },
            "truncate" => Is::Truncate {
                path,
                size: self.number(size)?,
            },
            "allocate" => Is::Allocate {
                path,
                at: self.number(at)?,
                length: self.number(length)?,
            },
            "punch" => Is::Punch {
                path,
                at: self.number(at)?,
                length: self.number(length)?,
            },
            "map-write" => Is::MapWrite {
                path,
                at: self.number(at)?,
                data: self.data()?,
            },
            "mkdir" => Is::Mkdir {
                path,
                mode: self.mode()?,
            },
            "rmdir" => Is::Rmdir { path },
            "unlink" => Is::Unlink { path },
            "remove-tree" => Is::RemoveTree { path },
            "character" | "block" | "fifo" | "socket" => {
                let special = self.special(kind)?;
                Is::Mknod {
                    path,
                    special,
                    mode: self.mode()?,
                }
            }
            "tmpfile" => Is::Tmpfile {
                path,
                mode: self.mode()?,
                data: self.data()?,
            },
            "chmod" => Is::Chmod {
                path,
                mode: self.mode()?,
            },
            "chown" => Is::Chown {
                path,
                uid: self.number("UID")?,
                gid: self.number("GID")?,
            },
            "utimens" => Is::Utimens {
                path,
                mtime: self.time()?,
            },
            "set-xattr" => {
                let key = self.text("KEY")?;
                Is::SetXattr {
                    path,
                    key,
                    value: self.next("VALUE")?.bytes,
                }
            }
            "remove-xattr" => Is::RemoveXattr {
                path,
                key: self.text("KEY")?,
            },
            "acl" => {
                let kinds = [("access", AclKind::Access), ("default", AclKind::Default)];
                let kind = self.one_of(&kinds)?;
                Is::SetAcl {
                    path,
                    kind,
                    acl: self.acl()?,
                }
            }
            "list" => Is::List { path },
            "read-link" => Is::ReadLink { path },
            _ => bail!("`{kind}` has no reader"),
        })
    }

    fn next(&mut self, what: &str) -> Result<Word> {
        self.0.next().with_context(|| format!("{what} is missing"))
    }

    fn end(&mut self) -> Result<()> {
        match self.0.next() {
            None => Ok(()),
            Some(word) => bail!("`{}` is too much", word.bytes.escape_ascii()),
        }
    }

    fn text(&mut self, what: &str) -> Result<String> {
        let word = self.next(what)?;
        String::from_utf8(word.bytes).map_err(|error| {
            let bytes = error.as_bytes().escape_ascii();
            anyhow!("{what} `{bytes}` is not UTF-8")
        })
    }

    /// Reads with `read`, or says what was `expected`.
    fn read<T>(
        &mut self,
        what: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T> {
        let text = self.text(what)?;
        read(&text).with_context(|| format!("{what} `{text}` is not {expected}"))
    }

    fn number<T: FromStr>(&mut self, what: &str) -> Result<T> {
        self.read(what, "a number, or is too large", |text| text.parse().ok())
    }

    fn one_of<T: Copy>(&mut self, choices: &[(&str, T)]) -> Result<T> {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let names = names.join("|");
        self.read(&names, "one of these", |text| {
            let found = choices.iter().find(|(name, _)| *name == text);
            found.map(|(_, choice)| *choice)
        })
    }

    /// A path from the root. Its components are names: a script says where something is, and
    /// leaves `..` to the links.
    fn path(&mut self, what: &str) -> Result<TreePath> {
        let word = self.next(what)?;
        if word.bytes.is_empty() || word.bytes == b"." && !word.quoted {
            return Ok(TreePath::root());
        }
        let mut components = word.bytes.split(|byte| *byte == b'/');
        let odd = components.any(|name| matches!(name, b"" | b"." | b".."));
        ensure!(
            !odd && !word.bytes.contains(&0),
            "{what} `{}` has a component that is no name: it starts at the root without `/`, and \
             has no `.`, `..` or NUL",
            word.bytes.escape_ascii()
        );
        Ok(TreePath::new(word.bytes))
    }

    fn mode(&mut self) -> Result<u32> {
        self.read("MODE", "twelve bits in octal such as 0644", |text| {
            let mode = u32::from_str_radix(text, 8).ok();
            mode.filter(|mode| *mode <= 0o7777)
        })
    }

    fn data(&mut self) -> Result<Data> {
        self.read("DATA", "SEEDxLENGTH such as 7x5000", |text| {
            let (seed, length) = text.split_once('x')?;
            Some(Data {
                seed: seed.parse().ok()?,
                length: length.parse().ok()?,
            })
        })
    }

    fn special(&mut self, kind: &str) -> Result<Special> {
        Ok(match kind {
            "fifo" => Special::Fifo,
            "socket" => Special::Socket,
            _ => {
                let (major, minor) = self.read("MAJOR:MINOR", "two numbers", |text| {
                    let (major, minor) = text.split_once(':')?;
                    Some((major.parse().ok()?, minor.parse().ok()?))
                })?;
                match kind {
                    "block" => Special::Block(major, minor),
                    _ => Special::Character(major, minor),
                }
            }
        })
    }

    fn time(&mut self) -> Result<i64> {
        let expected = "a time with nine digits after the point such as 12.000000034";
        self.read("SECONDS.NANOSECONDS", expected, |text| {
            let (sign, size) = text.strip_prefix('-').map_or((1, text), |size| (-1, size));
            let (seconds, part) = size.split_once('.')?;
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            if part.len() != 9 || !digits(part) || !digits(seconds) {
                return None;
            }
            let size = i128::from(seconds.parse::<u64>().ok()?) * i128::from(NANOSECONDS)
                + i128::from(part.parse::<u64>().ok()?);
            i64::try_from(sign * size).ok()
        })
    }

    fn layer_or_none(&mut self) -> Result<Option<usize>> {
        self.read("LAYER", "a number or `none`", |text| match text {
            "none" => Some(None),
            number => number.parse().ok().map(Some),
        })
    }

    fn acl(&mut self) -> Result<Option<Acl>> {
        let first = self.text("none|owner=BITS")?;
        if first == "none" {
            return Ok(None);
        }
        let wrong = || format!("`{first}` is neither `none` nor `owner=` with three bits");
        let owner = first.strip_prefix("owner=").and_then(bits);
        let owner = owner.with_context(wrong)?;
        let named = self.read("user:ID=BITS", "a user with three bits", |text| {
            let (user, named) = text.strip_prefix("user:")?.split_once('=')?;
            Some((user.parse().ok()?, bits(named)?))
        })?;
        let mut entry = |what: &str| {
            self.read(what, "three bits, 0 to 7", |text| {
                bits(text.strip_prefix(what.strip_suffix("BITS")?)?)
            })
        };
        Ok(Some(Acl {
            owner,
            named,
            group: entry("group=BITS")?,
            mask: entry("mask=BITS")?,
            other: entry("other=BITS")?,
        }))
    }
}

/// Three bits.
fn bits(text: &str) -> Option<u8> {
    text.parse().ok().filter(|bits| *bits <= 7)
}
