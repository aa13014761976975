//! Writing images of the store into one archive.
//!
//! The same images give the same bytes: members stand in order of their names, without times and
//! owners. Blobs that were kept are written as they are, so that manifests keep their digests;
//! other layers are written again as their tars.

use super::tape::Tape;
use super::{INDEX, LAYOUT, MANIFESTS, REPOSITORIES};
use crate::document::Descriptor;
use crate::images::{Images, familiar};
use crate::install::Cancel;
use crate::layout::{index_of, named};
use crate::outgoing::{Outgoing, OutgoingLayer, tar_of};
use crate::reference::Reference;
use crate::{ImageError, Result};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{Read as _, Write};
use std::sync::Arc;
use strata_driver::{Error, ErrorKind};
use strata_store::{Digest, LayerRow, Layers, Store, Target};

const OPERATION: &str = "save image";
const BLOCK: usize = 256 << 10;

/// How images are saved.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SaveOptions {
    /// Write every layer as its tar, also where its compressed blob is there.
    pub uncompressed: bool,
    /// Who ends it.
    pub cancel: Cancel,
}

impl SaveOptions {
    /// Sets whether every layer is written as its tar.
    #[must_use]
    pub fn with_uncompressed(mut self, uncompressed: bool) -> Self {
        self.uncompressed = uncompressed;
        self
    }

    /// Ends early when `cancel` says so.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }
}

/// Writes images into one archive that `docker load`, `podman load` and `skopeo` read, and gives
/// `out` back. A repository without a tag means all its tags, as in Docker.
///
/// # Errors
/// The first failure; what was written then is no archive.
pub async fn save<W: Write + Send + 'static>(
    layers: &Layers,
    images: &[String],
    out: W,
    options: &SaveOptions,
) -> Result<W> {
    let mut saved = Vec::new();
    for (id, names) in chosen(layers.store(), images)? {
        let kept = if options.uncompressed {
            None
        } else {
            Outgoing::as_it_came(layers, &id).await?
        };
        let image = match kept {
            Some(image) => image,
            None => Outgoing::plain(layers, &id).await?,
        };
        saved.push((image, names));
    }
    let mut pieces = BTreeMap::new();
    for (image, _) in &saved {
        pieces.insert(image.id, Piece::Bytes(image.config.clone()));
        let manifest = &image.manifest;
        pieces.insert(manifest.digest, Piece::Bytes(manifest.bytes.to_vec()));
        for layer in &image.layers {
            let OutgoingLayer {
                descriptor,
                row,
                is_stored,
            } = layer.clone();
            // The same tar may be a blob of one image, and another's layer to be written again.
            let piece = if is_stored {
                Piece::Blob(descriptor.size)
            } else {
                Piece::Layer(Box::new(row))
            };
            pieces.entry(descriptor.digest).or_insert(piece);
        }
    }
    let mut tape = Tape::new(out, options.cancel.clone());
    tape.directory("blobs")?;
    tape.directory("blobs/sha256")?;
    for (digest, piece) in pieces {
        write_piece(layers, &mut tape, digest, piece).await?;
    }
    let parents = Parents::of(layers.store(), &saved)?;
    let (manifests, repositories) = docker_documents(&saved, &parents);
    let blocking = move || {
        tape.file(INDEX, &index_of(&descriptors(&saved)))?;
        tape.file(MANIFESTS, manifests.to_string().as_bytes())?;
        tape.file(LAYOUT, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        if !repositories.is_empty() {
            tape.file(REPOSITORIES, json!(repositories).to_string().as_bytes())?;
        }
        tape.finish()
    };
    Ok(strata_driver::blocking(blocking).await?)
}

/// A name: repository and tag.
type Name = (String, Target);

/// The images that are asked for, each once, in the order in which they are asked for, with the
/// names under which that was.
fn chosen(store: &Store, images: &[String]) -> Result<Vec<(Digest, Vec<Name>)>> {
    let mut chosen: Vec<(Digest, Vec<Name>)> = Vec::new();
    let mut choose = |id: Digest, name: Option<Name>| {
        let at = chosen.iter().position(|(known, _)| *known == id);
        let at = at.unwrap_or_else(|| {
            chosen.push((id, Vec::new()));
            chosen.len() - 1
        });
        let names = &mut chosen[at].1;
        names.extend(name);
        names.sort();
        names.dedup();
    };
    for text in images {
        let reference = Reference::parse(text).ok();
        let repository = reference.as_ref().map(|name| name.repository().to_string());
        if let (Some(reference), Some(repository)) = (&reference, &repository)
            && reference.is_name_only()
        {
            let rows = store.facts().references()?.into_iter();
            let tags: Vec<_> = rows
                .filter(|row| row.repository == *repository && matches!(row.target, Target::Tag(_)))
                .collect();
            if !tags.is_empty() {
                for row in tags {
                    choose(row.image, Some((row.repository, row.target)));
                }
                continue;
            }
        }
        let id = Images::of(store).find(text)?.id;
        let name = reference
            .as_ref()
            .zip(repository)
            .and_then(|(name, repository)| {
                let tag = name.digest().is_none().then(|| name.tag())??;
                Some((repository, Target::Tag(tag.to_owned())))
            });
        // An id may look like a name that there is not.
        let is_name = match &name {
            Some((repository, target)) => store.facts().reference(repository, target)? == Some(id),
            None => false,
        };
        choose(id, name.filter(|_| is_name));
    }
    if chosen.is_empty() {
        return Err(ImageError::document("archive", "no image was named"));
    }
    Ok(chosen)
}

/// The bytes of a blob in the archive.
enum Piece {
    Bytes(Vec<u8>),
    /// A blob of the store, with its size.
    Blob(u64),
    /// The tar of a layer.
    Layer(Box<LayerRow>),
}

async fn write_piece<W: Write + Send + 'static>(
    layers: &Layers,
    tape: &mut Tape<W>,
    digest: Digest,
    piece: Piece,
) -> Result<()> {
    let path = path_of(&digest);
    let mut tape = tape.clone();
    match piece {
        Piece::Layer(row) => {
            tape.begin(&path, row.size.0)?;
            layers.export(&row, tape.clone()).await?;
            tape.end(row.size.0)?;
        }
        Piece::Bytes(bytes) => tape.file(&path, &bytes)?,
        Piece::Blob(size) => {
            let store = Arc::clone(layers.store());
            strata_driver::blocking(move || {
                tape.begin(&path, size)?;
                copy_blob(&store, &digest, size, &mut tape)?;
                tape.end(size)
            })
            .await?;
        }
    }
    Ok(())
}

/// Copies a blob, and holds it against its digest on the way.
fn copy_blob(
    store: &Store,
    digest: &Digest,
    size: u64,
    out: &mut impl Write,
) -> strata_driver::Result<()> {
    let io = |error| Error::io(OPERATION, error).with("blob", digest);
    let mut blob = store.open_blob(digest)?;
    let mut block = vec![0; BLOCK];
    let (mut hash, mut found) = (Sha256::new(), 0);
    loop {
        let read = blob.read(&mut block).map_err(io)?;
        found += read as u64;
        if read == 0 || found > size {
            break;
        }
        hash.update(&block[..read]);
        out.write_all(&block[..read]).map_err(io)?;
    }
    if found == size && Digest::from_sha256(hash.finalize().into()) == *digest {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, OPERATION)
        .because("its bytes are not those that its digest names")
        .with("blob", digest)
        .hint("`strata check --repair` says what can be made good"))
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// What the index of the layout names: each image once for each of its names.
fn descriptors(saved: &[(Outgoing, Vec<Name>)]) -> Vec<Descriptor> {
    let all = saved.iter().flat_map(|(image, names)| {
        let size = image.manifest.bytes.len() as u64;
        let plain = Descriptor::new(&image.media_type, image.manifest.digest, size);
        if names.is_empty() {
            return vec![plain];
        }
        names
            .iter()
            .map(|(repository, target)| named(plain.clone(), &format!("{repository}{target}")))
            .collect()
    });
    all.collect()
}

/// The parents of saved images that are saved too.
struct Parents(BTreeMap<Digest, Digest>);

impl Parents {
    fn of(store: &Store, saved: &[(Outgoing, Vec<Name>)]) -> Result<Self> {
        let mut parents = BTreeMap::new();
        for (image, _) in saved {
            let row = store.facts().image(&image.id)?;
            if let Some(parent) = row.and_then(|row| row.parent)
                && saved.iter().any(|(other, _)| other.id == parent)
            {
                parents.insert(image.id, parent);
            }
        }
        Ok(Self(parents))
    }
}

/// An image in `manifest.json`, in Docker's order of fields.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item<'a> {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a Digest>,
    layer_sources: BTreeMap<String, &'a Descriptor>,
}

/// Top layers by tags by repositories.
type Repositories = BTreeMap<String, BTreeMap<String, String>>;

/// `manifest.json` and `repositories`, as Docker 28 writes them.
fn docker_documents(saved: &[(Outgoing, Vec<Name>)], parents: &Parents) -> (Value, Repositories) {
    let mut repositories = Repositories::new();
    let items = saved.iter().map(|(image, names)| {
        let tags = names
            .iter()
            .map(|(repository, target)| familiar(repository, target));
        let tags: Vec<String> = tags.collect();
        if let Some(top) = image.layers.last() {
            for (repository, target) in names {
                if let (Ok(name), Target::Tag(tag)) = (Reference::parse(repository), target) {
                    let tags = repositories.entry(name.familiar()).or_default();
                    tags.insert(tag.clone(), top.descriptor.digest.hex());
                }
            }
        }
        json!(Item {
            config: path_of(&image.id),
            repo_tags: (!tags.is_empty()).then_some(tags),
            layers: image
                .layers
                .iter()
                .map(|layer| path_of(&layer.descriptor.digest))
                .collect(),
            parent: parents.0.get(&image.id),
            layer_sources: image
                .layers
                .iter()
                .map(|layer| (tar_of(layer.row.diff).to_string(), &layer.descriptor))
                .collect(),
        })
    });
    let items: Vec<Value> = items.collect();
    (json!(items), repositories)
}
