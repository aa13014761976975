//! What a layer says once all of it is said: its journal replayed, without contents.

use super::record::{Kind, Record, damaged};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use strata_driver::changeset::{EntryPath, Metadata};
use strata_driver::{Bytes, DiffId};

/// One name that a layer gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// What it is.
    pub kind: Kind,
    /// Permissions, owner, time.
    pub metadata: Metadata,
}

/// All that a layer says: of names that it gives twice, the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Names that it gives.
    pub entries: BTreeMap<EntryPath, Stated>,
    /// Names of lower layers that it hides.
    pub whiteouts: BTreeSet<EntryPath>,
    /// Directories of which it hides what lower layers have below them.
    pub opaque: BTreeSet<EntryPath>,
    /// An entry was reached through a link of the layer, so that paths alone do not say where it
    /// went.
    pub is_linked: bool,
    /// The sha256 of its tar.
    pub diff: DiffId,
    /// Bytes of its tar.
    pub size: Bytes,
    /// Bytes of all contents in its tar, also of those that it covers itself.
    pub contents: Bytes,
}

impl Statement {
    /// Replays a journal to its end.
    pub fn read(records: impl Iterator<Item = io::Result<Record>>) -> io::Result<Self> {
        let mut said = Self {
            entries: BTreeMap::new(),
            whiteouts: BTreeSet::new(),
            opaque: BTreeSet::new(),
            is_linked: false,
            diff: DiffId::from_sha256([0; 32]),
            size: Bytes(0),
            contents: Bytes(0),
        };
        for record in records {
            match record? {
                Record::Entry {
                    path,
                    kind,
                    metadata,
                } => said.give(path, Stated { kind, metadata }),
                Record::Whiteout { directory, name } => {
                    let path = directory.join(&name);
                    let path = path.map_err(|rule| damaged(format!("a path is none: {rule}")))?;
                    said.whiteouts.insert(path);
                }
                Record::Opaque(directory) => drop(said.opaque.insert(directory)),
                Record::Raw(_) | Record::Inline(_) | Record::Content { .. } => {}
                Record::End { digest, size } => {
                    said.diff = DiffId::from_sha256(digest);
                    said.size = Bytes(size);
                    return Ok(said);
                }
            }
        }
        Err(damaged("it ends too early"))
    }

    fn give(&mut self, path: EntryPath, stated: Stated) {
        if let Kind::File(size) = stated.kind {
            self.contents.0 += size;
        }
        let mut above = path.parent();
        while let Some(directory) = above {
            match self.entries.get(&directory).map(|found| &found.kind) {
                // What is above that was looked at when it came.
                Some(Kind::Directory) => break,
                Some(_) => self.is_linked = true,
                None => {}
            }
            above = directory.parent();
        }
        if stated.kind != Kind::Directory {
            let covered: Vec<EntryPath> = self.below(&path).map(|(path, _)| path.clone()).collect();
            for covered in covered {
                self.entries.remove(&covered);
            }
        }
        self.entries.insert(path, stated);
    }

    /// Whether a difference to the layer below at `path` follows from what it says: of that name,
    /// of one below, or of a directory above.
    pub fn explains(&self, path: &EntryPath) -> bool {
        let covers = |above: &EntryPath| {
            self.whiteouts.contains(above)
                || self.opaque.contains(above)
                || matches!(self.entries.get(above), Some(stated) if stated.kind != Kind::Directory)
        };
        let below = |names: &BTreeSet<EntryPath>| {
            let next = names.range(path.clone()..).next();
            next.is_some_and(|next| next.starts_with(path))
        };
        self.entries.contains_key(path)
            || self.below(path).next().is_some()
            || below(&self.whiteouts)
            || below(&self.opaque)
            || std::iter::successors(path.parent(), EntryPath::parent).any(|above| covers(&above))
    }

    /// The names that it gives below a directory.
    pub fn below<'a>(
        &'a self,
        directory: &'a EntryPath,
    ) -> impl Iterator<Item = (&'a EntryPath, &'a Stated)> {
        let from = self.entries.range(directory.clone()..);
        from.take_while(move |(path, _)| path.starts_with(directory))
            .filter(move |(path, _)| *path != directory)
    }

    /// Where the hard links from `path` lead, and what is there.
    pub fn linked<'a>(&'a self, path: &'a EntryPath) -> Option<(&'a EntryPath, &'a Stated)> {
        let mut at = path;
        // A link leads to what was given before it; names given twice could still make a circle.
        for _ in 0..=self.entries.len() {
            let stated = self.entries.get(at)?;
            match &stated.kind {
                Kind::HardLink(target) => at = target,
                _ => return Some((at, stated)),
            }
        }
        None
    }
}
