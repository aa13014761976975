//! The oracle's own reader of directory trees, and their comparison.
//!
//! Shares nothing with the drivers' walk: everything that a changeset can carry is read through
//! plain system calls and compared, and whatever a driver loses shows as one readable line.

mod read;

pub(crate) use read::read_node;

use anyhow::{Context as _, Result, bail};
use read::Contents;
use sha2::{Digest as _, Sha256};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;

/// A path from the root of a tree, without a leading `/`; empty for the root.
///
/// Ordered by components, so that a directory stands directly before its contents.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Vec<u8>);

impl TreePath {
    /// The root.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path made of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The path of `name` in this directory.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path)
    }

    /// The directory that holds this; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|byte| *byte == b'/');
        &self.0[start.map_or(0, |slash| slash + 1)..]
    }

    /// Components; none for the root.
    pub fn depth(&self) -> usize {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty())
            .count()
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, components divided by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // No component holds a NUL, so a slash that counts as one compares components in turn.
        let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("./");
        }
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<&str> for TreePath {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

/// What kind of object a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    File,
    Directory,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Fifo,
    Socket,
}

/// One path of a tree, with all that can be told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its kind.
    pub kind: Kind,
    /// The twelve permission bits; 0777 for symbolic links.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file; 0 for everything else.
    pub size: u64,
    /// Digest of a file's content.
    pub content_digest: Option<[u8; 32]>,
    /// The content itself, if it was asked for.
    pub content: Option<Vec<u8>>,
    /// Target of a symbolic link.
    pub target: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, ACLs among them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Modification time in nanoseconds since 1970.
    pub mtime: i128,
    /// Link count as the file system tells it.
    pub link_count: u64,
    /// Least path of the names in this tree that are this object; none for directories.
    pub link_leader: Option<TreePath>,
    /// Inode number: for cases about inodes, never compared.
    pub inode: u64,
}

/// Something that a comparison looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facet {
    /// Modification times below the root.
    ModificationTime,
    /// The root's own modification time.
    RootModificationTime,
    /// Link counts of what is not a directory.
    LinkCount,
    /// Which names are one object.
    LinkGroups,
    /// Owners and groups.
    Owner,
}

/// Everything that [`Tree::compare`] looks at: what counts for a changeset.
const COUNTED: &[Facet] = &[Facet::ModificationTime, Facet::LinkGroups, Facet::Owner];

/// A directory tree as it was when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<TreePath, Node>,
}

impl Tree {
    /// Reads the tree below `directory`; file contents are digested and not kept.
    pub fn read(directory: &Path) -> Result<Self> {
        read::read(directory, Contents::Digested)
    }

    /// Reads the tree below `directory`, contents and all.
    pub fn read_with_contents(directory: &Path) -> Result<Self> {
        read::read(directory, Contents::Kept)
    }

    /// The tree of these nodes, which was not read but computed.
    pub fn from_nodes(nodes: BTreeMap<TreePath, Node>) -> Self {
        Self { nodes }
    }

    /// All paths in order, the root first.
    pub fn nodes(&self) -> &BTreeMap<TreePath, Node> {
        &self.nodes
    }

    /// The node at `path`.
    pub fn get(&self, path: impl Into<TreePath>) -> Option<&Node> {
        self.nodes.get(&path.into())
    }

    /// The node at `path`, or an error that names it.
    pub fn node(&self, path: impl Into<TreePath>) -> Result<&Node> {
        let path = path.into();
        self.nodes
            .get(&path)
            .with_context(|| format!("`{path}` is missing"))
    }

    /// Paths below the root as text, for short expectations.
    pub fn paths(&self) -> Vec<String> {
        self.nodes
            .keys()
            .filter(|path| !path.is_root())
            .map(ToString::to_string)
            .collect()
    }

    /// Differences in what counts for a changeset: everything but the root's time and link counts.
    pub fn compare(&self, other: &Self) -> Vec<String> {
        self.compare_by(other, COUNTED)
    }

    /// Differences in kind, mode, size, content, target, device, attributes, and in `facets`.
    pub fn compare_by(&self, other: &Self, facets: &[Facet]) -> Vec<String> {
        let mut differences = Vec::new();
        for (path, node) in &self.nodes {
            match other.nodes.get(path) {
                None => differences.push(format!("`{path}`: only in the first ({:?})", node.kind)),
                Some(twin) => node.compare(twin, path, facets, &mut differences),
            }
        }
        for (path, node) in &other.nodes {
            if !self.nodes.contains_key(path) {
                differences.push(format!("`{path}`: only in the second ({:?})", node.kind));
            }
        }
        differences
    }

    /// An error that lists what differs from `expected`, if anything does.
    pub fn expect_equal(&self, expected: &Self, what: &str) -> Result<()> {
        report(what, &self.compare(expected))
    }

    /// As [`Tree::expect_equal`], by `facets`.
    pub fn expect_equal_by(&self, expected: &Self, facets: &[Facet], what: &str) -> Result<()> {
        report(what, &self.compare_by(expected, facets))
    }

    /// One digest over everything that counts, in order.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for (path, node) in &self.nodes {
            field(path.as_bytes());
            field(&[node.kind as u8]);
            for number in [node.mode, node.uid, node.gid, node.device.0, node.device.1] {
                field(&number.to_le_bytes());
            }
            field(&node.size.to_le_bytes());
            field(
                node.content_digest
                    .as_ref()
                    .map_or(&[][..], |digest| &digest[..]),
            );
            field(&node.target);
            let mtime = if path.is_root() { 0 } else { node.mtime };
            field(&mtime.to_le_bytes());
            field(&(node.xattrs.len() as u64).to_le_bytes());
            for (key, value) in &node.xattrs {
                field(key);
                field(value);
            }
            field(
                node.link_leader
                    .as_ref()
                    .map_or(&[][..], TreePath::as_bytes),
            );
        }
        hash.finalize().into()
    }

    /// [`Tree::digest`] as hexadecimal text.
    pub fn digest_text(&self) -> String {
        hex::encode(self.digest())
    }
}

/// Turns a list of differences into one error.
pub fn report(what: &str, differences: &[String]) -> Result<()> {
    const SHOWN: usize = 12;
    if differences.is_empty() {
        return Ok(());
    }
    let mut text = format!("{what}: {} differences", differences.len());
    for line in differences.iter().take(SHOWN) {
        write!(text, "\n  {line}").expect("writing into a string cannot fail");
    }
    if differences.len() > SHOWN {
        text.push_str("\n  ...");
    }
    bail!(text)
}

impl Node {
    /// How it differs from what is `expected` at `path`, names of the same object left out.
    pub fn differences(&self, expected: &Self, path: &TreePath) -> Vec<String> {
        let facets = [
            Facet::ModificationTime,
            Facet::RootModificationTime,
            Facet::Owner,
        ];
        let mut found = Vec::new();
        self.compare(expected, path, &facets, &mut found);
        found
    }

    fn compare(&self, other: &Self, path: &TreePath, facets: &[Facet], found: &mut Vec<String>) {
        let wants = |facet| facets.contains(&facet);
        let mut check = |what: &str, same: bool, shown: [String; 2]| {
            if !same {
                found.push(format!("`{path}`: {what} {} != {}", shown[0], shown[1]));
            }
        };
        let text = |value: &dyn fmt::Debug| format!("{value:?}");
        check(
            "kind",
            self.kind == other.kind,
            [text(&self.kind), text(&other.kind)],
        );
        let octal = |mode| format!("{mode:04o}");
        check(
            "mode",
            self.mode == other.mode,
            [octal(self.mode), octal(other.mode)],
        );
        check(
            "size",
            self.size == other.size,
            [text(&self.size), text(&other.size)],
        );
        check(
            "content",
            self.content_digest == other.content_digest,
            [self.content_text(), other.content_text()],
        );
        let escaped = |bytes: &[u8]| bytes.escape_ascii().to_string();
        check(
            "target",
            self.target == other.target,
            [escaped(&self.target), escaped(&other.target)],
        );
        check(
            "device",
            self.device == other.device,
            [text(&self.device), text(&other.device)],
        );
        let keys = self.xattrs.keys().chain(other.xattrs.keys());
        for key in keys.collect::<std::collections::BTreeSet<_>>() {
            let shown = |value: Option<&Vec<u8>>| {
                value.map_or("absent".to_owned(), |value| {
                    escaped(&value[..value.len().min(60)])
                })
            };
            let (one, two) = (self.xattrs.get(key), other.xattrs.get(key));
            check(
                &format!("xattr {}", escaped(key)),
                one == two,
                [shown(one), shown(two)],
            );
        }
        if wants(Facet::Owner) {
            let (one, two) = ((self.uid, self.gid), (other.uid, other.gid));
            check("owner", one == two, [text(&one), text(&two)]);
        }
        let time = if path.is_root() {
            Facet::RootModificationTime
        } else {
            Facet::ModificationTime
        };
        if wants(time) {
            let same = self.mtime == other.mtime;
            check("mtime", same, [text(&self.mtime), text(&other.mtime)]);
        }
        if wants(Facet::LinkGroups) {
            let same = self.link_leader == other.link_leader;
            check(
                "link group of",
                same,
                [text(&self.link_leader), text(&other.link_leader)],
            );
        }
        if wants(Facet::LinkCount) && self.kind != Kind::Directory {
            let same = self.link_count == other.link_count;
            check(
                "link count",
                same,
                [text(&self.link_count), text(&other.link_count)],
            );
        }
    }

    fn content_text(&self) -> String {
        self.content_digest
            .map_or("none".into(), |digest| hex::encode(&digest[..6]))
    }
}
