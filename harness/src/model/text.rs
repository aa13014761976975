//! Scripts as text: one operation a line, `#` comments.
//!
//! The first word is the operation's kind, its arguments follow in the order of its fields.
//! A word of plain letters stands as it is, all others in `"..."` with the escapes of
//! [`u8::escape_ascii`]. The root is `.`; modes are octal; data is `SEEDxLENGTH`.

mod limits;
mod parse;

pub use parse::parse_script;

use super::operation::{
    Acl, AclKind, Data, FileOperation, HoldHow, LayerOperation, Operation, Special,
};
use crate::tree::TreePath;
use std::fmt;

const NANOSECONDS: u64 = 1_000_000_000;

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.seed, self.length)
    }
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, named) = self.named;
        write!(
            f,
            "owner={} user:{user}={named} group={} mask={} other={}",
            self.owner, self.group, self.mask, self.other
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(operation) => operation.fmt(f),
            Self::Layer(operation) => operation.fmt(f),
        }
    }
}

impl fmt::Display for LayerOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Commit
            | Self::Remount
            | Self::Reopen
            | Self::Diff
            | Self::Misuse
            | Self::Check => Ok(()),
            Self::Compare(None, upper) => write!(f, " none {upper}"),
            Self::Compare(Some(lower), upper) => write!(f, " {lower} {upper}"),
            Self::Fork(None) | Self::Sibling(None) => f.write_str(" none"),
            Self::View(layer)
            | Self::Sibling(Some(layer))
            | Self::Fork(Some(layer))
            | Self::Apply(layer)
            | Self::Rebase(layer)
            | Self::Relabel(layer)
            | Self::Remove(layer) => write!(f, " {layer}"),
        }
    }
}

impl fmt::Display for FileOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Create { path, mode }
            | Self::Mkdir { path, mode }
            | Self::Chmod { path, mode } => {
                write!(f, " {} {mode:04o}", shown(path))
            }
            Self::Read { path }
            | Self::Rmdir { path }
            | Self::Unlink { path }
            | Self::RemoveTree { path }
            | Self::List { path }
            | Self::ReadLink { path } => write!(f, " {}", shown(path)),
            Self::Write { path, at, data } | Self::MapWrite { path, at, data } => {
                write!(f, " {} {at} {data}", shown(path))
            }
            Self::Append { path, data } | Self::Rewrite { path, data } => {
                write!(f, " {} {data}", shown(path))
            }
            Self::Truncate { path, size } => write!(f, " {} {size}", shown(path)),
            Self::Allocate { path, at, length } | Self::Punch { path, at, length } => {
                write!(f, " {} {at} {length}", shown(path))
            }
            Self::Link { from, to } | Self::Rename { from, to, .. } => {
                write!(f, " {} {}", shown(from), shown(to))
            }
            Self::Symlink { target, path } => write!(f, " {} {}", quoted(target), shown(path)),
            Self::Mknod {
                path,
                special,
                mode,
            } => match special {
                Special::Character(major, minor) | Special::Block(major, minor) => {
                    write!(f, " {} {major}:{minor} {mode:04o}", shown(path))
                }
                Special::Fifo | Special::Socket => write!(f, " {} {mode:04o}", shown(path)),
            },
            Self::Tmpfile { path, mode, data } => {
                write!(f, " {} {mode:04o} {data}", shown(path))
            }
            Self::Chown { path, uid, gid } => write!(f, " {} {uid} {gid}", shown(path)),
            Self::Utimens { path, mtime } => write!(f, " {} {}", shown(path), seconds(*mtime)),
            Self::SetXattr { path, key, value } => {
                let key = word(key.as_bytes());
                write!(f, " {} {key} {}", shown(path), quoted(value))
            }
            Self::RemoveXattr { path, key } => {
                write!(f, " {} {}", shown(path), word(key.as_bytes()))
            }
            Self::SetAcl { path, kind, acl } => {
                let kind = match kind {
                    AclKind::Access => "access",
                    AclKind::Default => "default",
                };
                let acl = acl.map_or("none".to_owned(), |acl| acl.to_string());
                write!(f, " {} {kind} {acl}", shown(path))
            }
            Self::Hold { slot, path, how } => {
                let how = match how {
                    HoldHow::Read => "read",
                    HoldHow::Write => "write",
                    HoldHow::Map => "map",
                };
                write!(f, " {slot} {} {how}", shown(path))
            }
            Self::HeldRead { slot } | Self::Release { slot } => write!(f, " {slot}"),
            Self::HeldWrite { slot, at, data } => write!(f, " {slot} {at} {data}"),
            Self::HeldTruncate { slot, size } => write!(f, " {slot} {size}"),
        }
    }
}

fn shown(path: &TreePath) -> String {
    match path.as_bytes() {
        b"" => ".".to_owned(),
        bytes => word(bytes),
    }
}

fn word(bytes: &[u8]) -> String {
    if !bytes.is_empty() && bytes[0] != b'#' && bytes.iter().all(|byte| is_plain(*byte)) {
        return bytes.escape_ascii().to_string();
    }
    quoted(bytes)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\')
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

fn seconds(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let size = nanoseconds.unsigned_abs();
    format!("{sign}{}.{:09}", size / NANOSECONDS, size % NANOSECONDS)
}

/// The script as text.
pub fn render_script(operations: &[Operation]) -> String {
    let lines: Vec<_> = operations.iter().map(ToString::to_string).collect();
    lines
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect()
}

#[cfg(test)]
mod tests;
