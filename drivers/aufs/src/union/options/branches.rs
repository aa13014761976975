//! Branches in the words of a mount: `PATH[=PERMISSION[+ATTRIBUTE..]]`, separated by colons.

use super::{Access, BranchOption, CopyUpOnOpen, OptionError};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

const PERMISSIONS: &str = "rw, ro, rr";
const ATTRIBUTES: &str = "wh, nolwh, coo_reg, coo_all";

/// Cuts `text` at each `separator` that no backslash stands before. Escapes stay.
pub(super) fn split(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in text.iter().enumerate() {
        if *byte == separator && !escaped {
            parts.push(&text[start..at]);
            start = at + 1;
        }
        escaped = *byte == b'\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts
}

/// Takes the backslashes away: what follows one stands for itself, as in overlay.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let byte = if *byte == b'\\' {
            bytes.next().unwrap_or(byte)
        } else {
            byte
        };
        plain.push(*byte);
    }
    plain
}

/// The path that `text` is once its escapes are taken away, from the root on.
pub(super) fn path(word: &str, text: &[u8]) -> Result<PathBuf, OptionError> {
    let plain = PathBuf::from(OsString::from_vec(unescape(text)));
    std::path::absolute(&plain)
        .map_err(|error| OptionError::new(format!("`{word}` has no path: {error}")))
}

impl BranchOption {
    /// A writable branch.
    pub(super) fn writable(path: PathBuf) -> Self {
        Self {
            path,
            access: Access::ReadWrite,
            whiteouts: true,
            unlinked_whiteouts: false,
            copy_up_on_open: CopyUpOnOpen::No,
        }
    }

    /// A branch that is only read.
    pub(super) fn lower(path: PathBuf, whiteouts: bool) -> Self {
        Self {
            access: Access::ReadOnly,
            whiteouts,
            ..Self::writable(path)
        }
    }

    /// Reads `PATH[=PERMISSION[+ATTRIBUTE..]]`, in which a backslash takes what follows for
    /// itself. Without a permission the branch is written if it is the `first`, as in aufs.
    ///
    /// # Errors
    /// An empty path, and permissions and attributes that are not known, by name.
    pub fn parse(word: &str, text: &[u8], first: bool) -> Result<Self, OptionError> {
        let equals = text.iter().enumerate().rev().find(|(at, byte)| {
            let backslashes = text[..*at].iter().rev().take_while(|byte| **byte == b'\\');
            **byte == b'=' && backslashes.count() % 2 == 0
        });
        let (name, permission) = match equals {
            Some((at, _)) if !text[at..].contains(&b'/') => (&text[..at], Some(&text[at + 1..])),
            _ => (text, None),
        };
        if name.is_empty() {
            return Err(OptionError::new(format!(
                "`{word}` has a branch without a path"
            )));
        }
        let path = path(word, name)?;
        match permission {
            None if first => Ok(Self::writable(path)),
            None => Ok(Self::lower(path, false)),
            Some(permission) => Self::permitted(path, &String::from_utf8_lossy(permission)),
        }
    }

    fn permitted(path: PathBuf, permission: &str) -> Result<Self, OptionError> {
        let mut words = permission.split('+');
        let mut branch = match words.next().unwrap_or_default() {
            "rw" => Self::writable(path),
            "ro" => Self::lower(path, false),
            "rr" => Self {
                access: Access::RealReadOnly,
                ..Self::lower(path, false)
            },
            other => {
                let reason = format!(
                    "branch `{}` has permission `{other}`, of which there are {PERMISSIONS}",
                    path.display()
                );
                return Err(
                    OptionError::new(reason).hint("write `\\=` for a `=` that belongs to the path")
                );
            }
        };
        for attribute in words {
            match attribute {
                "wh" => branch.whiteouts = true,
                "nolwh" => branch.unlinked_whiteouts = true,
                "coo_reg" => branch.copy_up_on_open = CopyUpOnOpen::Files,
                "coo_all" => branch.copy_up_on_open = CopyUpOnOpen::All,
                other => {
                    let path = branch.path.display();
                    return Err(OptionError::new(format!(
                        "branch `{path}` has attribute `{other}`, of which there are {ATTRIBUTES}"
                    )));
                }
            }
        }
        Ok(branch)
    }

    /// Its permission and attributes, as [`parse`](Self::parse) reads them.
    pub fn permission(&self) -> String {
        let mut text = match self.access {
            Access::ReadWrite => "rw",
            Access::ReadOnly => "ro",
            Access::RealReadOnly => "rr",
        }
        .to_owned();
        if self.whiteouts && self.access != Access::ReadWrite {
            text.push_str("+wh");
        }
        if self.unlinked_whiteouts {
            text.push_str("+nolwh");
        }
        text.push_str(match self.copy_up_on_open {
            CopyUpOnOpen::No => "",
            CopyUpOnOpen::Files => "+coo_reg",
            CopyUpOnOpen::All => "+coo_all",
        });
        text
    }
}
