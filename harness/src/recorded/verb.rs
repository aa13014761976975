//! The verbs of the recordings.

use super::data::octal;
use rustix::fs::OFlags;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// A verb, and the user who says it if that is not root.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub user: Option<u32>,
    pub verb: Verb,
}

/// One operation. Files, maps, programs and inodes that are held have symbolic names.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[rustfmt::skip]
pub(super) enum Verb {
    Append { path: String, data: String },
    Blocks { path: String },
    BlocksLt { path: String, most: u64 },
    Chmod { path: String, #[serde(deserialize_with = "octal")] mode: u32 },
    Chown { path: String, uid: u32, gid: u32 },
    Close { file: String },
    Creatlen { length: usize },
    Create { path: String },
    DevEq { one: String, two: String },
    Fallocate { file: String, at: u64, length: u64 },
    Fchmod { file: String, #[serde(deserialize_with = "octal")] mode: u32 },
    Fchown { file: String, uid: u32, gid: u32 },
    FinoSame { inode: String, file: String },
    Flinkat { file: String, path: String },
    Flock { file: String, how: LockHow },
    Fstat { file: String },
    Fsync { file: String },
    Ftruncate { file: String, size: u64 },
    Getxattr { path: String, key: String },
    InoEq { one: String, two: String },
    InoSame { inode: String, path: String },
    InoSave { inode: String, path: String },
    Kill { program: String },
    Lchown { path: String, uid: u32, gid: u32 },
    Link { from: String, to: String },
    Linklen { from: String, length: usize },
    Listxattr { path: String },
    LowerSame {},
    Mkdir { path: String },
    Mkdirlen { length: usize },
    Mknod { path: String, kind: NodeKind, #[serde(default)] major: u32, #[serde(default)] minor: u32 },
    Mmap { map: String, file: String, how: MapHow, length: usize },
    Mread { map: String, at: usize, length: usize },
    Mwrite { map: String, at: usize, data: String },
    Names { path: String },
    Open { file: String, path: String, #[serde(deserialize_with = "flags")] flags: OFlags },
    Openq { path: String, #[serde(deserialize_with = "flags")] flags: OFlags },
    Pread { file: String, at: u64, length: usize },
    Put { path: String, data: String },
    Pwrite { file: String, at: u64, data: String },
    Read { path: String },
    Readdir { path: String },
    ReaddirDuring { path: String, made: String, gone: String },
    Readlink { path: String },
    Remount {},
    Removexattr { path: String, key: String },
    Rename { from: String, to: String },
    Rename2 { from: String, to: String, how: RenameHow },
    Renamelen { from: String, length: usize },
    Rmdir { path: String },
    Rmr { path: String },
    Setxattr { path: String, key: String, value: String },
    Spawn { program: String, path: String },
    Stat { path: String },
    Statlen { length: usize },
    Symlink { target: String, path: String },
    Symlinklen { length: usize },
    Times { path: String },
    TimesNs { path: String },
    Tmpfile { file: String, path: String },
    Truncate { path: String, size: u64 },
    Uls { path: String },
    Unlink { path: String },
    Unlinklen { length: usize },
    Ustat { path: String },
    Utimens { path: String, atime: i64, mtime: i64 },
    UtimensNs { path: String, atime: i64, mtime: i64 },
    Write { file: String, data: String },
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LockHow {
    Ex,
    Un,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NodeKind {
    Fifo,
    Sock,
    Chr,
    Blk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MapHow {
    R,
    Rw,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum RenameHow {
    NoReplace,
    Exchange,
    Whiteout,
}

fn flags<'de, D: Deserializer<'de>>(from: D) -> Result<OFlags, D::Error> {
    let text = String::deserialize(from)?;
    let mut flags = OFlags::empty();
    for name in text.split('|') {
        flags |= match name {
            "O_RDONLY" => OFlags::RDONLY,
            "O_WRONLY" => OFlags::WRONLY,
            "O_RDWR" => OFlags::RDWR,
            "O_APPEND" => OFlags::APPEND,
            "O_CREAT" => OFlags::CREATE,
            "O_DIRECTORY" => OFlags::DIRECTORY,
            "O_TRUNC" => OFlags::TRUNC,
            _ => return Err(D::Error::custom(format!("unknown flag `{name}`"))),
        };
    }
    Ok(flags)
}

impl<'de> Deserialize<'de> for Operation {
    /// `[verb, argument ...]`, or `["as", user, verb, argument ...]`.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut words = Vec::<Value>::deserialize(from)?;
        let mut user = None;
        if words.first().and_then(Value::as_str) == Some("as") && words.len() > 2 {
            let number = words[1].as_u64().and_then(|id| u32::try_from(id).ok());
            user = Some(number.ok_or_else(|| D::Error::custom("`as` takes a user"))?);
            words.drain(..2);
        }
        let Some(verb) = words.first().and_then(Value::as_str).map(str::to_owned) else {
            return Err(D::Error::custom("an operation without a verb"));
        };
        // Text, because fields of a variant are taken by their order as well, but not from a `Value`.
        let text = json!({ verb.as_str(): words.split_off(1) }).to_string();
        match serde_json::from_str(&text) {
            Ok(verb) => Ok(Self { user, verb }),
            Err(error) => Err(D::Error::custom(format!("operation `{verb}`: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Operation, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_are_taken_in_order() {
        let operation = parse(r#"["as", 1000, "pwrite", "w", 7, "data"]"#).unwrap();
        assert_eq!(operation.user, Some(1000));
        assert!(matches!(
            operation.verb,
            Verb::Pwrite { file, at: 7, data } if file == "w" && data == "data"
        ));
        let fifo = parse(r#"["mknod", "p", "fifo"]"#).unwrap();
        assert!(matches!(
            fifo.verb,
            Verb::Mknod {
                kind: NodeKind::Fifo,
                major: 0,
                ..
            }
        ));
        assert!(matches!(
            parse(r#"["remount"]"#).unwrap().verb,
            Verb::Remount {}
        ));
    }

    #[test]
    fn parse_names_what_it_does_not_know() {
        for (text, named) in [
            (r#"["chmdo", "f", "0600"]"#, "`chmdo`"),
            (r#"["as", 1000, "crate", "f"]"#, "`crate`"),
            (r#"["open", "a", "f", "O_RDONLY|O_EXEC"]"#, "`O_EXEC`"),
            (r#"["rename2", "f", "g", "SIDEWAYS"]"#, "`SIDEWAYS`"),
            (r#"["mknod", "f", "door"]"#, "`door`"),
            (r#"["unlink"]"#, "`unlink`"),
            (r#"["unlink", "f", "g"]"#, "`unlink`"),
            (r#"["chmod", "f", "rw"]"#, "`chmod`"),
            ("[]", "without a verb"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
