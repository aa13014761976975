//! What images an archive holds, by its documents alone.
//!
//! The OCI layout and Docker's `manifest.json` may both speak of the same image: then the layout
//! gives the manifest and the blobs, and both give names.

use super::input::packing_of;
use super::members::{Archive, Section, shown};
use super::{INDEX, MANIFESTS, refused};
use crate::document::{
    Compression, Descriptor, Document, ImageConfig, ImageManifest, Index, Layer, Manifest, Platform,
};
use crate::images::target_of;
use crate::layout::{IMAGE_NAME, REF_NAME};
use crate::outgoing::tar_of;
use crate::reference::Reference;
use crate::{ImageError, Result};
use serde::Deserialize;
use strata_driver::DiffId;
use strata_store::{Digest, Target};

/// An image in an archive.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) id: Digest,
    pub(super) config_bytes: Vec<u8>,
    pub(super) config: ImageConfig,
    pub(super) manifest: Option<(Document, ImageManifest)>,
    /// The index through which the manifest was chosen.
    pub(super) index: Option<Document>,
    /// Base first.
    pub(super) layers: Vec<IncomingLayer>,
    pub(super) names: Vec<(String, Target)>,
    pub(super) parent: Option<Digest>,
}

/// A layer in an archive.
#[derive(Clone, Debug)]
pub(super) struct IncomingLayer {
    pub(super) diff: DiffId,
    pub(super) content: Section,
    pub(super) compression: Compression,
    /// Its blob, if that is named by a manifest and not just the tar.
    pub(super) blob: Option<Layer>,
}

/// The images of an archive, those of the layout first. Blocking.
pub(super) fn images(archive: &Archive, platform: &Platform) -> Result<Vec<Incoming>> {
    let mut images = Vec::new();
    let index = archive.document(INDEX)?;
    let items = archive.document(MANIFESTS)?;
    if index.is_none() && items.is_none() {
        return Err(refused(format!(
            "it holds no image: it has neither `{MANIFESTS}` nor `{INDEX}`"
        )));
    }
    if let Some(bytes) = index {
        of_layout(archive, &bytes, platform, &mut images)?;
    }
    if let Some(bytes) = items {
        of_docker(archive, &bytes, &mut images)?;
    }
    if images.is_empty() {
        return Err(refused("it holds no image"));
    }
    for image in &mut images {
        image.names.sort();
        image.names.dedup();
    }
    Ok(images)
}

fn of_layout(
    archive: &Archive,
    bytes: &[u8],
    platform: &Platform,
    images: &mut Vec<Incoming>,
) -> Result<()> {
    let Manifest::Index(index) = Manifest::parse(bytes, None)? else {
        return Err(refused(format!("`{INDEX}` is no index")));
    };
    for entry in &index.manifests {
        let names = names_of(&entry.descriptor)?;
        let document = document(archive, &entry.descriptor)?;
        let (manifest, index) = match document.manifest()? {
            Manifest::Image(manifest) => ((document, manifest), None),
            Manifest::Index(index) => (choose(archive, index, platform)?, Some(document)),
        };
        let id = manifest.1.config.digest;
        if let Some(known) = images.iter_mut().find(|image| image.id == id) {
            known.names.extend(names);
            continue;
        }
        images.push(of_manifest(archive, manifest, index, names)?);
    }
    Ok(())
}

/// The manifest for `platform` among those that are there: archives of one platform have the
/// index of all.
fn choose(
    archive: &Archive,
    mut index: Index,
    platform: &Platform,
) -> Result<(Document, ImageManifest)> {
    let mut present = Vec::new();
    for entry in index.manifests {
        if archive.find(&path_of(&entry.descriptor.digest))?.is_some() {
            present.push(entry);
        }
    }
    index.manifests = present;
    let document = document(archive, index.choose(platform)?)?;
    match document.manifest()? {
        Manifest::Image(manifest) => Ok((document, manifest)),
        Manifest::Index(_) => Err(ImageError::document(
            "index",
            "it leads to another index, and only one level is allowed",
        )),
    }
}

fn of_manifest(
    archive: &Archive,
    manifest: (Document, ImageManifest),
    index: Option<Document>,
    names: Vec<(String, Target)>,
) -> Result<Incoming> {
    let config_bytes = blob(archive, &manifest.1.config)?;
    let config = ImageConfig::parse(&config_bytes)?;
    config.check_layers(manifest.1.layers.len())?;
    let layers = config.diff_ids.iter().zip(&manifest.1.layers);
    let layers = layers
        .map(|(diff, layer)| {
            let Descriptor { digest, size, .. } = layer.descriptor;
            let content = archive.member(&path_of(&digest))?;
            check_size(&digest, size, content.size())?;
            let is_tar = layer.compression == Compression::None;
            if is_tar && digest != tar_of(*diff) {
                return Err(ImageError::WrongDigest {
                    what: "layer",
                    expected: tar_of(*diff),
                    actual: digest,
                });
            }
            Ok(IncomingLayer {
                diff: *diff,
                content,
                compression: layer.compression,
                blob: (!is_tar).then(|| layer.clone()),
            })
        })
        .collect::<Result<_>>()?;
    Ok(Incoming {
        id: manifest.1.config.digest,
        config_bytes,
        config,
        manifest: Some(manifest),
        index,
        layers,
        names,
        parent: None,
    })
}

/// A line of Docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
    #[serde(default)]
    parent: Option<String>,
}

fn of_docker(archive: &Archive, bytes: &[u8], images: &mut Vec<Incoming>) -> Result<()> {
    let items: Vec<Item> = serde_json::from_slice(bytes)
        .map_err(|error| refused(format!("`{MANIFESTS}` is damaged: {error}")))?;
    for item in items {
        let config_bytes = archive
            .document(&item.config)?
            .ok_or_else(|| refused(format!("`{}` is missing", shown(&item.config))))?;
        let id = Digest::of(&config_bytes);
        check_name(&item.config, id)?;
        let names = item.repo_tags.iter().flatten();
        let names = names
            .map(|name| name_of(name))
            .collect::<Result<Vec<_>>>()?;
        let parent = item.parent.filter(|parent| !parent.is_empty());
        let parent = parent.map(|parent| parent.parse()).transpose()?;
        let known = images.iter().position(|image| image.id == id);
        let at = known.unwrap_or(images.len());
        if known.is_none() {
            images.push(of_item(archive, id, config_bytes, item.layers)?);
        }
        images[at].names.extend(names);
        images[at].parent = images[at].parent.or(parent);
    }
    Ok(())
}

fn of_item(
    archive: &Archive,
    id: Digest,
    config_bytes: Vec<u8>,
    layers: Option<Vec<String>>,
) -> Result<Incoming> {
    let config = ImageConfig::parse(&config_bytes)?;
    let layers = layers.unwrap_or_default();
    config.check_layers(layers.len())?;
    let layers = config.diff_ids.iter().zip(&layers);
    let layers = layers
        .map(|(diff, name)| {
            let content = archive.member(name)?;
            Ok(IncomingLayer {
                diff: *diff,
                compression: packing_of(&content.start(6)?)?,
                content,
                blob: None,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Incoming {
        id,
        config_bytes,
        config,
        manifest: None,
        index: None,
        layers,
        names: Vec::new(),
        parent: None,
    })
}

/// A name in `manifest.json` that says a digest must say the right one.
fn check_name(name: &str, found: Digest) -> Result<()> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let hex = last.strip_suffix(".json").unwrap_or(last);
    match format!("sha256:{hex}").parse::<Digest>() {
        Ok(expected) if expected != found => Err(ImageError::WrongDigest {
            what: "image configuration",
            expected,
            actual: found,
        }),
        _ => Ok(()),
    }
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn document(archive: &Archive, descriptor: &Descriptor) -> Result<Document> {
    let media_type = descriptor.media_type.clone();
    let media_type = (!media_type.is_empty()).then_some(media_type);
    Ok(Document::new(blob(archive, descriptor)?, media_type))
}

/// A small blob, held against its digest.
fn blob(archive: &Archive, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let path = path_of(&descriptor.digest);
    let bytes = archive
        .document(&path)?
        .ok_or_else(|| refused(format!("`{path}` is missing")))?;
    check_size(&descriptor.digest, descriptor.size, bytes.len() as u64)?;
    let actual = Digest::of(&bytes);
    if actual != descriptor.digest {
        return Err(ImageError::WrongDigest {
            what: "blob",
            expected: descriptor.digest,
            actual,
        });
    }
    Ok(bytes)
}

fn check_size(digest: &Digest, size: u64, found: u64) -> Result<()> {
    match found.cmp(&size) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(ImageError::BlobTooLong {
            digest: *digest,
            size,
        }),
        std::cmp::Ordering::Less => Err(ImageError::BlobTooShort {
            digest: *digest,
            size,
            found,
            is_announced: true,
        }),
    }
}

/// The names that an index gives a manifest. A bare tag, as the specification has it in mind, says
/// nothing of the repository, and is no name.
fn names_of(descriptor: &Descriptor) -> Result<Vec<(String, Target)>> {
    if let Some(name) = descriptor.annotations.get(IMAGE_NAME) {
        return Ok(vec![name_of(name)?]);
    }
    match descriptor.annotations.get(REF_NAME) {
        Some(name) if name.contains([':', '/']) => Ok(vec![name_of(name)?]),
        _ => Ok(Vec::new()),
    }
}

fn name_of(text: &str) -> Result<(String, Target)> {
    let reference = Reference::parse(text)?;
    if reference.digest().is_some() {
        return Err(ImageError::TagWithDigest);
    }
    Ok((reference.repository().to_string(), target_of(&reference)))
}
