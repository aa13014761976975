//! Layers laid upon each other: what each says of a path and of what is above it.

use super::{Cover, LayerOf, Said, entry_of, shown};
use strata_driver::changeset::EntryPath;
use strata_store::journal::{Kind, Statement};

/// The layers of an image, base first.
pub(super) struct Layered {
    pub(super) layers: Vec<(LayerOf, Statement)>,
}

/// Who says what of a path; layers by their place, from 0.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) given: Option<usize>,
    pub(super) shares: Vec<usize>,
    pub(super) covered: Vec<(usize, Cover, usize)>,
}

impl Layered {
    /// Goes through the layers from the top.
    pub(super) fn look(&self, path: &EntryPath) -> Seen {
        let mut seen = Seen::default();
        // What hides all that lies below, and where it stands.
        let mut hidden: Option<(Cover, usize)> = None;
        for (at, (_, said)) in self.layers.iter().enumerate().rev() {
            if let Some(is_directory) = has(said, path) {
                match (&hidden, seen.given) {
                    (Some((cover, by)), _) => seen.covered.push((at, cover.clone(), *by)),
                    (None, None) => seen.given = Some(at),
                    (None, Some(by)) if !is_directory => {
                        // A directory in place of something else.
                        seen.covered.push((at, Cover::Name(shown(path)), by));
                    }
                    (None, Some(_)) => seen.shares.push(at),
                }
                if hidden.is_none() && !is_directory {
                    hidden = Some((Cover::Name(shown(path)), at));
                }
            }
            if hidden.is_none() {
                hidden = hides(said, path).map(|cover| (cover, at));
            }
        }
        seen
    }

    /// The target of a symbolic link that a layer gives.
    pub(super) fn symlink(&self, at: usize, path: &EntryPath) -> Option<&[u8]> {
        match &self.layers[at].1.entries.get(path)?.kind {
            Kind::Symlink(target) => Some(target),
            _ => None,
        }
    }

    pub(super) fn said(&self, at: usize, path: &EntryPath) -> Said {
        let (layer, said) = &self.layers[at];
        Said {
            layer: layer.clone(),
            entry: entry_of(said, path),
        }
    }

    /// Other names of a file that its layer gives and none above takes.
    pub(super) fn other_names(&self, at: usize, path: &EntryPath) -> Vec<String> {
        let said = &self.layers[at].1;
        let Some((file, stated)) = said.linked(path) else {
            return Vec::new();
        };
        if stated.kind == Kind::Directory {
            return Vec::new();
        }
        said.entries
            .iter()
            .filter(|(name, stated)| {
                *name != path && (*name == file || matches!(stated.kind, Kind::HardLink(_)))
            })
            .filter(|(name, _)| said.linked(name).is_some_and(|(found, _)| found == file))
            .filter(|(name, _)| self.look(name).given == Some(at))
            .map(|(name, _)| shown(name))
            .collect()
    }
}

/// Whether a layer has a path, and then whether as a directory.
fn has(said: &Statement, path: &EntryPath) -> Option<bool> {
    match said.entries.get(path) {
        Some(stated) => Some(stated.kind == Kind::Directory),
        // A directory that only the paths of others name.
        None => said.below(path).next().map(|_| true),
    }
}

/// How a layer hides a path from those below it.
fn hides(said: &Statement, path: &EntryPath) -> Option<Cover> {
    if said.whiteouts.contains(path) {
        return Some(Cover::Whiteout(shown(path)));
    }
    // An opaque directory is new: those below have no part in it.
    if said.opaque.contains(path) {
        return Some(Cover::Opaque(shown(path)));
    }
    std::iter::successors(path.parent(), EntryPath::parent).find_map(|above| {
        if said.whiteouts.contains(&above) {
            return Some(Cover::Whiteout(shown(&above)));
        }
        if said.opaque.contains(&above) {
            return Some(Cover::Opaque(shown(&above)));
        }
        let stated = said.entries.get(&above)?;
        (stated.kind != Kind::Directory).then(|| Cover::Other(shown(&above)))
    })
}
