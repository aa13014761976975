//! The vocabulary of a changeset: paths, entries, whiteouts.

use std::cmp::Ordering;
use std::fmt;

use super::error::Rule;

/// What the names of whiteouts begin with.
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// The name of an opaque mark.
pub const OPAQUE_NAME: &[u8] = b".wh..wh..opq";
/// Names that aufs keeps its own records under; they mean nothing in a layer.
const AUFS_NAMES: [&[u8]; 3] = [b".wh..wh.plnk", b".wh..wh.orph", b".wh..wh.aufs"];
/// `NAME_MAX` of Linux.
const COMPONENT_BYTES: usize = 255;

/// A path inside a layer: components joined by `/`, none of them empty, `.` or `..`, and no NUL.
///
/// The root is the empty path. Paths sort bytewise by component, so a directory comes right before
/// its contents.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct EntryPath {
    bytes: Vec<u8>,
}

impl EntryPath {
    /// The root of the layer.
    pub const fn root() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Normalises a name as it stands in an archive.
    ///
    /// Leading and repeated slashes, a trailing slash and `.` components go. A `..` component, a
    /// NUL byte, an empty name and a component over 255 bytes are refused. Names that begin with
    /// `.wh.` are taken as they are, and may be longer by that prefix.
    pub fn parse(raw: &[u8]) -> Result<Self, Rule> {
        let mut path = Self::root();
        path.extend_normalised(raw)?;
        Ok(path)
    }

    /// Appends the components of `raw`; says whether one of them begins with `.wh.`.
    fn extend_normalised(&mut self, raw: &[u8]) -> Result<bool, Rule> {
        if raw.is_empty() {
            return Err(Rule::EmptyName);
        }
        if raw.contains(&0) {
            return Err(Rule::NulByte);
        }
        self.bytes.reserve(raw.len());
        let mut reserved = false;
        for component in raw.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(Rule::ParentComponent),
                _ => {}
            }
            let whiteout = component.starts_with(WHITEOUT_PREFIX);
            let prefix = if whiteout { WHITEOUT_PREFIX.len() } else { 0 };
            if component.len() > COMPONENT_BYTES + prefix {
                return Err(Rule::LongComponent);
            }
            reserved |= whiteout;
            self.push_unchecked(component);
        }
        Ok(reserved)
    }

    fn push_unchecked(&mut self, component: &[u8]) {
        if !self.bytes.is_empty() {
            self.bytes.push(b'/');
        }
        self.bytes.extend_from_slice(component);
    }

    /// Appends one component, as a walk down a tree does.
    ///
    /// # Errors
    /// The component is empty, `.`, `..`, holds a slash or NUL, or is over 255 bytes.
    pub fn push(&mut self, component: &[u8]) -> Result<(), Rule> {
        check_component(component)?;
        self.push_unchecked(component);
        Ok(())
    }

    /// Removes the last component; the root stays the root.
    pub fn pop(&mut self) {
        let length = self
            .bytes
            .iter()
            .rposition(|&byte| byte == b'/')
            .unwrap_or(0);
        self.bytes.truncate(length);
    }

    /// This path with one more component.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn join(&self, component: &[u8]) -> Result<Self, Rule> {
        check_component(component)?;
        let mut bytes = Vec::with_capacity(self.bytes.len() + 1 + component.len());
        bytes.extend_from_slice(&self.bytes);
        let mut path = Self { bytes };
        path.push_unchecked(component);
        Ok(path)
    }

    /// The path without a leading or trailing slash; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The components from the root downwards.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.bytes
            .split(|&byte| byte == b'/')
            .filter(|component| !component.is_empty())
    }

    /// The last component; `None` for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let mut parent = self.clone();
        parent.pop();
        Some(parent)
    }

    /// Whether this is `directory` or lies below it.
    pub fn starts_with(&self, directory: &Self) -> bool {
        match self.bytes.strip_prefix(directory.bytes.as_slice()) {
            Some(rest) => directory.is_root() || rest.is_empty() || rest[0] == b'/',
            None => false,
        }
    }
}

/// Whether a walk could meet this name in a directory.
pub(super) fn check_component(component: &[u8]) -> Result<(), Rule> {
    match component {
        b"" | b"." => Err(Rule::EmptyName),
        b".." => Err(Rule::ParentComponent),
        _ if component.contains(&0) => Err(Rule::NulByte),
        // A slash would make two components of one.
        _ if component.contains(&b'/') => Err(Rule::ParentComponent),
        _ if component.len() > COMPONENT_BYTES => Err(Rule::LongComponent),
        _ => Ok(()),
    }
}

impl Ord for EntryPath {
    fn cmp(&self, other: &Self) -> Ordering {
        // No component holds a byte below the separator's stand-in, since NUL is refused.
        let rank = |&byte: &u8| if byte == b'/' { 0 } else { byte };
        let common = self
            .bytes
            .iter()
            .zip(&other.bytes)
            .take_while(|(a, b)| a == b)
            .count();
        self.bytes[common..]
            .first()
            .map(rank)
            .cmp(&other.bytes[common..].first().map(rank))
    }
}

impl PartialOrd for EntryPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Shows the path escaped, `.` for the root.
impl fmt::Display for EntryPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return formatter.write_str(".");
        }
        write!(formatter, "{}", self.bytes.escape_ascii())
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{self}\"")
    }
}

/// What a name in an archive stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TarName {
    /// A path of the layer.
    Plain(EntryPath),
    /// `directory/.wh.name`.
    Whiteout {
        /// The directory that loses a name.
        directory: EntryPath,
        /// The name it loses.
        name: Vec<u8>,
    },
    /// `directory/.wh..wh..opq`.
    Opaque {
        /// The directory that hides what lower layers have in it.
        directory: EntryPath,
    },
    /// A record of aufs's own, or something below one.
    AufsMetadata(EntryPath),
}

impl TarName {
    /// Normalises a name as [`EntryPath::parse`] does and says what it stands for.
    ///
    /// # Errors
    /// What `parse` refuses; whiteouts of nothing; names that begin with `.wh.` in a place or a
    /// form that has no meaning.
    pub fn parse(raw: &[u8]) -> Result<Self, Rule> {
        let mut path = EntryPath::root();
        if !path.extend_normalised(raw)? {
            return Ok(Self::Plain(path));
        }
        if path
            .components()
            .any(|component| AUFS_NAMES.contains(&component))
        {
            return Ok(Self::AufsMetadata(path));
        }
        let last = path.file_name().unwrap_or_default().to_vec();
        path.pop();
        if path
            .components()
            .any(|component| component.starts_with(WHITEOUT_PREFIX))
        {
            return Err(Rule::WhiteoutName);
        }
        if last == OPAQUE_NAME {
            return Ok(Self::Opaque { directory: path });
        }
        match last.strip_prefix(WHITEOUT_PREFIX) {
            Some(b"" | b"." | b"..") => Err(Rule::EmptyWhiteout),
            Some(name) if !name.starts_with(WHITEOUT_PREFIX) => Ok(Self::Whiteout {
                directory: path,
                name: name.to_vec(),
            }),
            _ => Err(Rule::WhiteoutName),
        }
    }
}

/// One step of a changeset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Something that is in the upper tree.
    Entry(Entry),
    /// A name of the lower tree that is gone.
    Whiteout {
        /// The directory that loses a name.
        directory: EntryPath,
        /// The name it loses.
        name: Vec<u8>,
    },
    /// A directory that hides what lower layers have in it. Read, never part of a canonical diff.
    Opaque {
        /// The directory; may be the root.
        directory: EntryPath,
    },
}

/// One name of a changeset, with everything about it but its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// Permissions, owner, time.
    pub metadata: Metadata,
    /// Extended attributes, by name; those read are sorted and no name occurs twice.
    pub xattrs: Vec<Xattr>,
}

/// Name and value of an extended attribute.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; its content follows.
    File {
        /// Bytes of the content, holes included.
        size: u64,
    },
    /// A further name of a file of the same layer.
    HardLink {
        /// The other name.
        target: EntryPath,
    },
    /// A symbolic link.
    Symlink {
        /// What it says: any bytes but NUL, never resolved here.
        target: Vec<u8>,
    },
    /// A directory.
    Directory,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Permissions, owner and time of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The twelve permission bits; 0777 for symbolic links.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
}

/// A point in time: seconds since 1970, rounded down, and the nanoseconds after that second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds since the epoch, negative before it.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, less than a billion.
    pub nanoseconds: u32,
}
