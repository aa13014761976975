//! Names that cross the contract, checked once where they are made.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// The key or name of a snapshot within one driver root.
///
/// Any string that containerd may send: UTF-8, 1 to 255 bytes. `/` separates components, none
/// of which may be empty, `.` or `..`; control characters are refused. A name never becomes a
/// path on disk (drivers use the catalogue's numbers), so this only keeps names printable and
/// safe for callers that do make paths of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName(String);

impl SnapshotName {
    /// Longest name in bytes.
    pub const MAX_LEN: usize = 255;

    /// Checks `name`; the error is [`ErrorKind::InvalidInput`] and says what is wrong with it.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        match Self::fault(&name) {
            None => Ok(Self(name)),
            Some(fault) => Err(Error::new(ErrorKind::InvalidInput, "name")
                .with("name", name.escape_debug().take(80).collect::<String>())
                .because(fault)
                .hint("use 1 to 255 bytes of UTF-8 without control characters, empty, `.` or `..` components")),
        }
    }

    /// Checks bytes that may not be UTF-8 (command line arguments, wire data).
    pub fn from_bytes(name: &[u8]) -> Result<Self> {
        match std::str::from_utf8(name) {
            Ok(name) => Self::new(name),
            Err(_) => Err(Error::new(ErrorKind::InvalidInput, "name")
                .with("name", name.escape_ascii().to_string())
                .because("the name is not UTF-8")
                .hint("snapshot names are UTF-8 strings")),
        }
    }

    fn fault(name: &str) -> Option<&'static str> {
        if name.is_empty() {
            Some("the name is empty")
        } else if name.len() > Self::MAX_LEN {
            Some("the name is longer than 255 bytes")
        } else if name.chars().any(char::is_control) {
            Some("the name holds a control character")
        } else if name
            .split('/')
            .any(|part| part.is_empty() || part == "." || part == "..")
        {
            Some("a component of the name is empty, `.` or `..`")
        } else {
            None
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for SnapshotName {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

/// The name of a driver: lower-case ASCII letters, digits and `-`, at most 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriverName(String);

impl DriverName {
    /// Checks `name`.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 32 || !name.chars().all(letters) {
            return Err(Error::new(ErrorKind::InvalidInput, "driver name")
                .with("name", name.escape_debug().take(80).collect::<String>())
                .because("a driver's name is 1 to 32 of a-z, 0-9 and `-`"));
        }
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_accepts_what_containerd_sends() {
        for name in [
            "a",
            "default/12/extract-1 sha256:ab",
            "k8s.io/3/sha256:0",
            &"x".repeat(255),
        ] {
            assert_eq!(SnapshotName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn new_refuses_each_fault_with_a_way_out() {
        for name in [
            "",
            ".",
            "..",
            "a/../b",
            "/a",
            "a/",
            "a//b",
            "a\nb",
            "a\0",
            &"x".repeat(256),
        ] {
            let error = SnapshotName::new(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
            assert!(error.hint_text().is_some());
        }
        assert_eq!(
            SnapshotName::from_bytes(b"a\xff").unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }

    #[test]
    fn driver_name_refuses_paths() {
        assert!(DriverName::new("vfs-2").is_ok());
        for name in ["", "../x", "Vfs", "a b"] {
            assert!(DriverName::new(name).is_err(), "{name:?}");
        }
    }
}
