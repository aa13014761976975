//! An image as it can leave the store: its documents, and where the bytes of its layers are.

use crate::document::{
    Compression, Descriptor, Document, ImageManifest, LARGEST_DOCUMENT, Manifest, media_type,
};
use crate::{ImageError, Result};
use serde_json::json;
use strata_driver::{Bytes, DiffId, Error, ErrorKind};
use strata_store::{BlobRole, Digest, LayerRow, Layers, Store};

/// An image on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: Digest,
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Document,
    pub(crate) media_type: String,
    /// Base first.
    pub(crate) layers: Vec<OutgoingLayer>,
}

/// A layer on its way out.
#[derive(Clone, Debug)]
pub(crate) struct OutgoingLayer {
    pub(crate) descriptor: Descriptor,
    pub(crate) row: LayerRow,
    /// Its blob is in the store. Otherwise the blob is the layer's tar, to be written again.
    pub(crate) is_stored: bool,
}

impl Outgoing {
    /// An image with the manifest that it came with, all of whose blobs are in the store.
    pub(crate) async fn as_it_came(layers: &Layers, id: &Digest) -> Result<Option<Self>> {
        let store = layers.store();
        let rows = leased(layers, id).await?;
        for (document, manifest) in manifests(store, id)? {
            if manifest.layers.len() != rows.len() {
                continue;
            }
            let mut outgoing = Vec::new();
            for (layer, row) in manifest.layers.iter().zip(&rows) {
                let descriptor = layer.descriptor.clone();
                if !is_present(store, &descriptor) || !store.keep_blob(&descriptor.digest)? {
                    break;
                }
                outgoing.push(OutgoingLayer {
                    descriptor,
                    row: row.clone(),
                    is_stored: true,
                });
            }
            if outgoing.len() == rows.len() {
                return Self::new(store, id, (document, manifest.media_type), outgoing).map(Some);
            }
        }
        Ok(None)
    }

    /// An image whose layers are all tars as they are: with a manifest that it came with if that
    /// says the same, else with one that is made.
    pub(crate) async fn plain(layers: &Layers, id: &Digest) -> Result<Self> {
        let store = layers.store();
        let rows = leased(layers, id).await?;
        let came = manifests(store, id)?.into_iter().find(|(_, manifest)| {
            let pairs = || manifest.layers.iter().zip(&rows);
            manifest.layers.len() == rows.len()
                && pairs().all(|(layer, row)| {
                    layer.compression == Compression::None
                        && layer.descriptor.digest == tar_of(row.diff)
                        && layer.descriptor.size == row.size.0
                })
        });
        let descriptors: Vec<Descriptor> = rows.iter().map(tar_descriptor).collect();
        let (descriptors, document) = if let Some((document, manifest)) = came {
            let layers = manifest.layers.into_iter();
            let descriptors = layers.map(|layer| layer.descriptor).collect();
            (descriptors, (document, manifest.media_type))
        } else {
            let config = config_of(store, id)?;
            let manifest = made(id, config.len(), &descriptors);
            (descriptors, (manifest, media_type::OCI_MANIFEST.to_owned()))
        };
        let outgoing = descriptors.into_iter().zip(rows);
        let outgoing = outgoing.map(|(descriptor, row)| OutgoingLayer {
            descriptor,
            row,
            is_stored: false,
        });
        Self::new(store, id, document, outgoing.collect())
    }

    fn new(
        store: &Store,
        id: &Digest,
        (manifest, media_type): (Document, String),
        layers: Vec<OutgoingLayer>,
    ) -> Result<Self> {
        Ok(Self {
            id: *id,
            config: config_of(store, id)?,
            manifest,
            media_type,
            layers,
        })
    }
}

/// The manifest of an image with which other tools find all of it in the store's blobs.
pub(crate) fn manifest_in_store(
    store: &Store,
    id: &Digest,
) -> Result<Option<(Document, ImageManifest)>> {
    let manifests = manifests(store, id)?;
    Ok(manifests.into_iter().find(|(_, manifest)| {
        let layers = manifest.layers.iter().map(|layer| &layer.descriptor);
        layers
            .chain([&manifest.config])
            .all(|blob| is_present(store, blob))
    }))
}

/// The manifests that an image came with, in order of their digests.
fn manifests(store: &Store, id: &Digest) -> Result<Vec<(Document, ImageManifest)>> {
    let mut found = Vec::new();
    for (digest, role) in store.facts().blobs_of(id)? {
        if role != BlobRole::Manifest {
            continue;
        }
        let document = match store.document(&digest) {
            Ok(bytes) => Document::new(bytes, None),
            Err(error) => {
                tracing::warn!(%digest, error = %error.chain(), "manifest left out");
                continue;
            }
        };
        if let Ok(Manifest::Image(manifest)) = document.manifest()
            && manifest.config.digest == *id
        {
            found.push((document, manifest));
        }
    }
    Ok(found)
}

fn is_present(store: &Store, blob: &Descriptor) -> bool {
    fs_err::metadata(store.layout().blob(&blob.digest))
        .is_ok_and(|metadata| metadata.len() == blob.size)
}

/// The layers of an image, which stay while this instance lives.
async fn leased(layers: &Layers, id: &Digest) -> Result<Vec<LayerRow>> {
    let rows = layers.store().facts().layers_of(id)?;
    for row in &rows {
        if layers.find(&row.chain).await?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, "read image")
                .because("a layer of it is not in the store")
                .with("image", id)
                .with("layer", row.chain)
                .hint("`strata check --repair` says what can be made good")
                .into());
        }
    }
    Ok(rows)
}

/// The configuration of an image, which stays while this instance lives.
fn config_of(store: &Store, id: &Digest) -> Result<Vec<u8>> {
    store.keep_blob(id)?;
    Ok(store.document(id)?)
}

/// The digest of a layer's tar as that of a blob.
pub(crate) fn tar_of(diff: DiffId) -> Digest {
    Digest::from_sha256(diff.sha256())
}

fn tar_descriptor(row: &LayerRow) -> Descriptor {
    let Bytes(size) = row.size;
    Descriptor::new(media_type::OCI_LAYER, tar_of(row.diff), size)
}

/// A manifest for an image that has none, by OCI's `manifest.md`: the same bytes for the same
/// blobs.
pub(crate) fn made(id: &Digest, config_size: usize, layers: &[Descriptor]) -> Document {
    let config = Descriptor::new(media_type::OCI_CONFIG, *id, config_size as u64);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": config,
        "layers": layers,
    });
    Document::new(
        manifest.to_string(),
        Some(media_type::OCI_MANIFEST.to_owned()),
    )
}

/// Refuses what no reader takes.
pub(crate) fn check_size(what: &'static str, size: u64) -> Result<()> {
    if size <= LARGEST_DOCUMENT {
        return Ok(());
    }
    let why = format!("it has {size} bytes, more than {LARGEST_DOCUMENT}");
    Err(ImageError::document(what, why))
}
