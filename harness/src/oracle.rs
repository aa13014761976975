//! The rules of the canonical changeset once more, literally, on trees held in memory.
//!
//! Slow on purpose and without any code of the drivers' own diff: what it writes is what
//! `docs/formats.md` says, so a driver's diff can be held against it byte by byte.

use crate::tar::{Entry, end};
use crate::tree::{Kind, Node, Tree, TreePath};
use anyhow::{Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use strata_driver::{Change, ChangeKind, DiffId};

type Nodes = BTreeMap<TreePath, Node>;
type Groups = BTreeMap<TreePath, BTreeSet<TreePath>>;

/// Sockets do not exist for a diff.
fn visible(tree: Option<&Tree>) -> Result<Nodes> {
    let mut nodes = Nodes::new();
    for (path, node) in tree.into_iter().flat_map(Tree::nodes) {
        if node.kind == Kind::Socket {
            continue;
        }
        ensure!(
            !path.name().starts_with(b".wh."),
            "`{path}` cannot be carried by the format"
        );
        nodes.insert(path.clone(), node.clone());
    }
    Ok(nodes)
}

/// The names of each object, by the least of them.
fn groups(nodes: &Nodes) -> Groups {
    let mut groups = Groups::new();
    for (path, node) in nodes {
        if let Some(leader) = &node.link_leader {
            groups
                .entry(leader.clone())
                .or_default()
                .insert(path.clone());
        }
    }
    groups
}

/// Attributes that travel.
fn carried(node: &Node) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
    const KEPT: &[&[u8]] = &[
        b"user.",
        b"trusted.",
        b"security.capability",
        b"system.posix_acl_access",
        b"system.posix_acl_default",
    ];
    node.xattrs
        .iter()
        .filter(|(key, _)| KEPT.iter().any(|kept| key.starts_with(kept)))
}

fn same(one: &Node, two: &Node, path: &TreePath) -> bool {
    one.kind == two.kind
        && one.mode == two.mode
        && (one.uid, one.gid) == (two.uid, two.gid)
        && (path.is_root() || one.mtime == two.mtime)
        && one.size == two.size
        && one.content_digest == two.content_digest
        && one.target == two.target
        && one.device == two.device
        && carried(one).eq(carried(two))
}

fn is_canonical_root(node: &Node) -> bool {
    node.mode == 0o755 && (node.uid, node.gid) == (0, 0) && carried(node).next().is_none()
}

/// What differs between two trees.
struct Delta {
    lower: Nodes,
    upper: Nodes,
    entries: BTreeSet<TreePath>,
    whiteouts: BTreeSet<TreePath>,
}

fn delta(lower: Option<&Tree>, upper: &Tree) -> Result<Delta> {
    let (lower, upper) = (visible(lower)?, visible(Some(upper))?);
    let (lower_groups, upper_groups) = (groups(&lower), groups(&upper));
    let mut entries = BTreeSet::new();
    for (path, node) in &upper {
        let unchanged = match lower.get(path) {
            Some(old) => same(node, old, path),
            None => path.is_root() && is_canonical_root(node),
        };
        if !unchanged {
            entries.insert(path.clone());
        }
    }
    // A group that gained a name or of which anything changed is written whole.
    for names in upper_groups.values() {
        let homes: BTreeSet<_> = names
            .iter()
            .map(|path| lower.get(path).and_then(|old| old.link_leader.as_ref()))
            .collect();
        if homes.len() > 1 || names.iter().any(|path| entries.contains(path)) {
            entries.extend(names.iter().cloned());
        }
    }
    // Of a group that fell apart only the piece with its least surviving name may stay unwritten.
    for names in lower_groups.values() {
        let mut surviving = names
            .iter()
            .filter(|path| upper.contains_key(*path) && !entries.contains(*path));
        let Some(keeper) = surviving.next().map(|path| upper[path].link_leader.clone()) else {
            continue;
        };
        let others: Vec<_> = surviving
            .filter_map(|path| upper[path].link_leader.clone())
            .collect();
        for leader in others
            .into_iter()
            .filter(|leader| Some(leader) != keeper.as_ref())
        {
            entries.extend(upper_groups[&leader].iter().cloned());
        }
    }
    let mut whiteouts = BTreeSet::new();
    for path in lower.keys().filter(|path| !upper.contains_key(*path)) {
        let is_directory = |nodes: &Nodes, path: &TreePath| {
            nodes
                .get(path)
                .is_some_and(|node| node.kind == Kind::Directory)
        };
        if let Some(parent) = path.parent()
            && is_directory(&lower, &parent)
            && is_directory(&upper, &parent)
        {
            whiteouts.insert(path.clone());
        }
    }
    let changed: Vec<_> = entries.iter().chain(&whiteouts).cloned().collect();
    for path in changed {
        let mut above = path.parent();
        while let Some(parent) = above.filter(|parent| !parent.is_root()) {
            above = parent.parent();
            entries.insert(parent);
        }
    }
    Ok(Delta {
        lower,
        upper,
        entries,
        whiteouts,
    })
}

/// Where a whiteout stands among the entries: by its own name.
fn whiteout_path(path: &TreePath) -> TreePath {
    let parent = path.parent().unwrap_or_default();
    parent.join(&[b".wh.", path.name()].concat())
}

impl Delta {
    /// Paths as they stand in the archive, and the lower path of those that are whiteouts.
    fn order(&self) -> BTreeMap<TreePath, Option<&TreePath>> {
        let entries = self.entries.iter().map(|path| (path.clone(), None));
        let whiteouts = self
            .whiteouts
            .iter()
            .map(|path| (whiteout_path(path), Some(path)));
        entries.chain(whiteouts).collect()
    }
}

/// The canonical changeset from `lower` to `upper`, which was read with its contents.
pub fn canonical_diff(lower: Option<&Tree>, upper: &Tree) -> Result<Vec<u8>> {
    let delta = delta(lower, upper)?;
    let upper_groups = groups(&delta.upper);
    let mut out = Vec::new();
    for (place, whiteout) in delta.order() {
        if whiteout.is_some() {
            Entry::new(place.as_bytes(), b'0').mode(0).write(&mut out);
            continue;
        }
        let node = &delta.upper[&place];
        // Among the names that exist for a diff, the least is the one that carries the content.
        let leader = node
            .link_leader
            .as_ref()
            .and_then(|leader| upper_groups[leader].first());
        entry(&place, node, leader)?.write(&mut out);
    }
    end(&mut out);
    Ok(out)
}

fn entry(path: &TreePath, node: &Node, leader: Option<&TreePath>) -> Result<Entry> {
    let flag = match node.kind {
        _ if leader.is_some_and(|leader| leader != path) => b'1',
        Kind::File => b'0',
        Kind::Symlink => b'2',
        Kind::CharacterDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
        Kind::Socket => bail!("`{path}` is a socket"),
    };
    let mut entry = Entry::new(path.as_bytes(), flag);
    entry.mode = node.mode;
    (entry.uid, entry.gid) = (u64::from(node.uid), u64::from(node.gid));
    entry.mtime = if path.is_root() { 0 } else { node.mtime };
    if flag == b'1' {
        entry.link = leader
            .map(|leader| leader.as_bytes().to_vec())
            .unwrap_or_default();
        return Ok(entry);
    }
    if flag == b'5' {
        entry.name = if path.is_root() {
            b"./".to_vec()
        } else {
            [path.as_bytes(), b"/"].concat()
        };
    }
    entry.link.clone_from(&node.target);
    entry.device = node.device;
    entry.xattrs = carried(node)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if flag == b'0' {
        match &node.content {
            Some(content) => entry.content.clone_from(content),
            None => bail!("`{path}` was read without its content"),
        }
    }
    Ok(entry)
}

/// The changes from `lower` to `upper`, in the order of the changeset.
pub fn changes(lower: Option<&Tree>, upper: &Tree) -> Result<Vec<Change>> {
    let delta = delta(lower, upper)?;
    let order = delta.order();
    let changes = order.into_iter().map(|(place, whiteout)| match whiteout {
        Some(path) => Change {
            path: path.as_bytes().to_vec(),
            kind: ChangeKind::Deleted,
        },
        None => Change {
            kind: if delta.lower.contains_key(&place) || place.is_root() {
                ChangeKind::Modified
            } else {
                ChangeKind::Added
            },
            path: place.as_bytes().to_vec(),
        },
    });
    Ok(changes.collect())
}

/// The digest of a changeset.
pub fn diff_id(archive: &[u8]) -> DiffId {
    DiffId::from_sha256(Sha256::digest(archive).into())
}

/// Demands equal bytes; the error says where they part, in terms of the headers there.
pub fn expect_same_archive(given: &[u8], expected: &[u8]) -> Result<()> {
    if given == expected {
        return Ok(());
    }
    let (given_names, expected_names) = (listing(given), listing(expected));
    let parted = given_names
        .iter()
        .zip(&expected_names)
        .position(|(one, two)| one != two);
    let at = parted.unwrap_or(given_names.len().min(expected_names.len()));
    let shown = |lines: &[String]| match lines.get(at) {
        Some(line) => line.clone(),
        None => "the end".to_owned(),
    };
    let offset = given.iter().zip(expected).position(|(one, two)| one != two);
    bail!(
        "the changeset differs from the rules at entry {at}:\n  given    {}\n  expected {}\n  \
         ({} and {} bytes; first different byte: {offset:?})",
        shown(&given_names),
        shown(&expected_names),
        given.len(),
        expected.len(),
    )
}

/// One line per header of an archive, for people.
pub fn listing(archive: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut offset = 0;
    while let Some(header) = archive.get(offset..offset + 512) {
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let text = |range: std::ops::Range<usize>| {
            let field = &header[range];
            let end = field
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(field.len());
            field[..end].escape_ascii().to_string()
        };
        let size = u64::from_str_radix(text(124..135).trim(), 8).unwrap_or(0) as usize;
        let body = archive
            .get(offset + 512..offset + 512 + size)
            .unwrap_or_default();
        let content = if header[156] == b'x' {
            body.escape_ascii().to_string()
        } else {
            format!("{size} bytes {}", &hex::encode(Sha256::digest(body))[..8])
        };
        lines.push(format!(
            "{} {} mode {} owner {}:{} mtime {} link `{}` {content}",
            char::from(header[156]),
            text(0..100),
            text(100..107),
            text(108..115),
            text(116..123),
            text(136..147),
            text(157..257),
        ));
        offset += 512 + size.next_multiple_of(512);
    }
    lines
}
