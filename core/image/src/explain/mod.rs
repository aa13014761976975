//! Which layer gives a path of an image, and what else its layers say of it: by their journals
//! alone, without a mount.

mod render;
mod replay;

use crate::document::ImageConfig;
use crate::{ImageError, Result};
use replay::{Layered, Seen};
use std::fs::File;
use strata_driver::changeset::EntryPath;
use strata_driver::{DiffId, Error, ErrorKind};
use strata_store::journal::{JournalReader, Kind, Stated, Statement};
use strata_store::{ChainId, Digest, Store};

/// Links that are followed, as many as the kernel follows (`path_resolution(7)`).
const MOST_HOPS: usize = 40;

/// A layer of the image.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LayerOf {
    /// Its place from the base, which is 1.
    pub number: usize,
    /// The layer with all below it.
    pub chain: ChainId,
    /// The layer alone.
    pub diff: DiffId,
    /// What made it, as the image's history says.
    pub created_by: Option<String>,
}

/// What a layer says of a name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct EntryOf {
    /// `file`, `directory`, `symlink` or `node`.
    pub kind: &'static str,
    /// The twelve permission bits.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Bytes, of a file.
    pub size: Option<u64>,
    /// Time of last modification, in seconds since 1970.
    pub mtime: i64,
    /// Where it leads, of a symbolic link.
    pub target: Option<String>,
}

/// A layer that says something of the path.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Said {
    /// Which.
    #[serde(flatten)]
    pub layer: LayerOf,
    /// What; none for a directory that it names only in the paths of others.
    pub entry: Option<EntryOf>,
}

/// Why what a layer has is not seen.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "by", content = "path")]
pub enum Cover {
    /// A later layer gives the name.
    Name(String),
    /// A later layer deletes this name.
    Whiteout(String),
    /// A later layer hides what is below this directory.
    Opaque(String),
    /// A later layer has something else than a directory there.
    Other(String),
}

/// Something that is there and not seen.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Covered {
    /// What.
    #[serde(flatten)]
    pub said: Said,
    /// By what.
    pub cover: Cover,
    /// Number of the layer that covers it.
    pub in_layer: usize,
}

/// A symbolic link that was followed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Hop {
    /// The link.
    pub link: String,
    /// Where it leads, as it stands there.
    pub target: String,
    /// Number of the layer that gives it.
    pub in_layer: usize,
}

/// Where a symbolic link leads in the end.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct End {
    /// The path; none where links lead in a circle.
    pub path: Option<String>,
    /// Number of the layer that gives that; none where the image has no such path.
    pub in_layer: Option<usize>,
}

/// What became of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The image has it.
    Present,
    /// A layer had it, and another hides it.
    Deleted,
    /// No layer ever had it.
    Never,
    /// Links lead in a circle.
    Loop,
}

/// What the layers of an image say of a path.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    /// The image.
    pub image: Digest,
    /// The path that was asked for.
    pub asked: String,
    /// Links on the way, in order.
    pub hops: Vec<Hop>,
    /// Where they led.
    pub path: String,
    /// Whether it is there.
    pub verdict: Verdict,
    /// The layer that gives it.
    pub given: Option<Said>,
    /// Layers below that have a part in a directory.
    pub shares: Vec<Said>,
    /// What is not seen, the uppermost first.
    pub covered: Vec<Covered>,
    /// Other names of the same file.
    pub links: Vec<String>,
    /// Where a symbolic link at the end leads.
    pub leads_to: Option<End>,
    /// Layers of the image.
    pub layers: usize,
}

/// Says which layer of an image gives a path, and what hides what. Blocking.
pub fn explain(store: &Store, image: &Digest, path: &str) -> Result<Explanation> {
    let layered = layers_of(store, image)?;
    let asked = format!("/{}", path.trim_matches('/'));
    let mut walk = Walk {
        layered: &layered,
        hops: Vec::new(),
    };
    let (path, is_loop) = match walk.resolve(path.as_bytes(), Last::Kept)? {
        Some(path) => (path, false),
        None => (parse(path)?, true),
    };
    let Seen {
        given,
        shares,
        covered,
    } = layered.look(&path);
    let verdict = match (&given, covered.is_empty()) {
        _ if is_loop => Verdict::Loop,
        (Some(_), _) => Verdict::Present,
        (None, false) => Verdict::Deleted,
        (None, true) => Verdict::Never,
    };
    // A circle is told once.
    let mut hops: Vec<Hop> = Vec::new();
    for hop in &walk.hops {
        if !is_loop || !hops.contains(hop) {
            hops.push(hop.clone());
        }
    }
    let target = given
        .as_ref()
        .and_then(|at| layered.symlink(*at, &path).map(<[u8]>::to_vec));
    let leads_to = match target {
        None => None,
        Some(target) => Some(walk.end(&path, &target)?),
    };
    Ok(Explanation {
        image: *image,
        asked,
        hops,
        verdict,
        links: given.map_or_else(Vec::new, |at| layered.other_names(at, &path)),
        given: given.map(|at| layered.said(at, &path)),
        shares: shares.iter().map(|at| layered.said(*at, &path)).collect(),
        covered: covered
            .into_iter()
            .map(|(at, cover, by)| Covered {
                said: layered.said(at, &path),
                cover,
                in_layer: by + 1,
            })
            .collect(),
        path: shown(&path),
        leads_to,
        layers: layered.layers.len(),
    })
}

fn parse(path: &str) -> Result<EntryPath> {
    let bytes: Vec<&[u8]> = components(path.as_bytes()).collect();
    let joined = bytes.join(&b'/');
    if joined.is_empty() {
        return Ok(EntryPath::root());
    }
    EntryPath::parse(&joined).map_err(|rule| refused(path, &rule.to_string()))
}

fn refused(path: &str, why: &str) -> ImageError {
    Error::new(ErrorKind::InvalidInput, "explain path")
        .because(why)
        .with("path", path)
        .into()
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
}

fn shown(path: &EntryPath) -> String {
    if path.is_root() {
        return "/".to_owned();
    }
    format!("/{path}")
}

/// The layers of an image with all that they say.
fn layers_of(store: &Store, image: &Digest) -> Result<Layered> {
    let rows = store.facts().layers_of(image)?;
    let config = store.document(image).ok();
    let config = config.and_then(|bytes| ImageConfig::parse(&bytes).ok());
    let mut steps = config
        .iter()
        .flat_map(|config| &config.history)
        .filter(|step| !step.is_empty());
    let mut layers = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let journal = store.layout().journal(row.diff);
        let damaged = |error: std::io::Error| {
            Error::io("explain path", error)
                .because("the journal of a layer cannot be read")
                .with("layer", row.chain)
                .hint("`strata system check --repair` makes it again from the layer's blob")
        };
        let said = File::open(journal)
            .and_then(JournalReader::new)
            .and_then(Statement::read)
            .map_err(damaged)?;
        let layer = LayerOf {
            number: at + 1,
            chain: row.chain,
            diff: row.diff,
            created_by: steps.next().and_then(|step| step.created_by.clone()),
        };
        layers.push((layer, said));
    }
    Ok(Layered { layers })
}

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Kept,
    Followed,
}

/// Follows links inside the image, whose root is never left.
struct Walk<'a> {
    layered: &'a Layered,
    hops: Vec<Hop>,
}

impl Walk<'_> {
    /// The path without links on the way; none where they lead in a circle.
    fn resolve(&mut self, path: &[u8], last: Last) -> Result<Option<EntryPath>> {
        let mut at = EntryPath::root();
        let mut left: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        while let Some(name) = left.pop() {
            if name == b".." {
                at = at.parent().unwrap_or_default();
                continue;
            }
            let text = String::from_utf8_lossy(path);
            let next = at
                .join(&name)
                .map_err(|rule| refused(&text, &rule.to_string()))?;
            let is_last = left.is_empty() && last == Last::Kept;
            let given = self.layered.look(&next).given;
            let target = given.and_then(|given| self.layered.symlink(given, &next));
            let (Some(target), Some(given), false) = (target, given, is_last) else {
                at = next;
                continue;
            };
            if self.hops.len() == MOST_HOPS {
                return Ok(None);
            }
            self.hops.push(Hop {
                link: shown(&next),
                target: target.escape_ascii().to_string(),
                in_layer: given + 1,
            });
            if target.starts_with(b"/") {
                at = EntryPath::root();
            }
            left.extend(components(target).rev().map(<[u8]>::to_vec));
        }
        Ok(Some(at))
    }

    /// Where a link in the end leads, and which layer gives that.
    fn end(&mut self, link: &EntryPath, target: &[u8]) -> Result<End> {
        let mut path = Vec::new();
        if !target.starts_with(b"/") {
            path.extend_from_slice(link.parent().unwrap_or_default().as_bytes());
            path.push(b'/');
        }
        path.extend_from_slice(target);
        self.hops.clear();
        let end = self.resolve(&path, Last::Followed)?;
        let given = end.as_ref().and_then(|end| self.layered.look(end).given);
        Ok(End {
            path: end.as_ref().map(shown),
            in_layer: given.map(|at| at + 1),
        })
    }
}

/// What an entry is, with what a hard link has of its file.
fn entry_of(said: &Statement, path: &EntryPath) -> Option<EntryOf> {
    let (_, file) = said.linked(path)?;
    let Stated { kind, metadata } = file;
    Some(EntryOf {
        kind: match kind {
            Kind::File(_) | Kind::HardLink(_) => "file",
            Kind::Symlink(_) => "symlink",
            Kind::Directory => "directory",
            Kind::Special => "node",
        },
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        size: match kind {
            Kind::File(size) => Some(*size),
            _ => None,
        },
        mtime: metadata.mtime.seconds,
        target: match kind {
            Kind::Symlink(target) => Some(target.escape_ascii().to_string()),
            _ => None,
        },
    })
}
