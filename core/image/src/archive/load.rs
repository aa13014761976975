//! Reading images from an archive into the store.

use super::input::spooled;
use super::members::{Archive, Section};
use super::plan::{Incoming, IncomingLayer, images};
use super::{Input, refused};
use crate::Result;
use crate::document::{Descriptor, Platform};
use crate::images::familiar;
use crate::install::{Cancel, From, Installer, Planned, Source};
use crate::outgoing::tar_of;
use crate::packing::unpacked;
use crate::progress::{Progress, Stage};
use crate::pull::{Record, short};
use crate::registry::Sink;
use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use strata_driver::{DiffId, Error, ErrorKind};
use strata_store::{BlobRole, ChainId, Digest, Layers};

const OPERATION: &str = "load image";
const BLOCK: usize = 256 << 10;

/// How an archive is loaded.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// The platform that an index is asked for; the host's if none.
    pub platform: Option<Platform>,
}

impl LoadOptions {
    /// Sets the platform that an index is asked for.
    #[must_use]
    pub fn with_platform(mut self, platform: Option<Platform>) -> Self {
        self.platform = platform;
        self
    }
}

/// An image that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: Digest,
    /// Its names in the archive, as people write them. None: Docker says `Loaded image ID`.
    pub names: Vec<String>,
    /// Those of them that meant another image before, and which.
    pub replaced: Vec<(String, Digest)>,
}

/// Everything that a load uses.
#[derive(Clone)]
pub struct Loader {
    /// Where images go.
    pub layers: Layers,
    /// How.
    pub options: LoadOptions,
    /// Who is told; layers by twelve digits of their DiffIds.
    pub progress: Arc<dyn Progress>,
    /// Who ends it.
    pub cancel: Cancel,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("layers", &self.layers)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Loader {
    /// Loads all images of an archive.
    ///
    /// # Errors
    /// The first failure. The store shows none of the images then; layers that are whole are used
    /// by the next try.
    pub async fn load(&self, input: Input) -> Result<Vec<Loaded>> {
        let (store, cancel) = (Arc::clone(self.layers.store()), self.cancel.clone());
        let platform = self.options.platform.clone();
        let platform = platform.unwrap_or_else(Platform::host);
        let images = blocking(move || {
            let archive = Archive::read(spooled(input, &store, &cancel)?)?;
            images(&archive, &platform)
        })
        .await?;
        let mut ready = Vec::new();
        for image in images {
            let chains = self.install(&image).await?;
            ready.push((image, chains));
        }
        let this = self.clone();
        blocking(move || this.note(ready)).await
    }

    /// Brings the layers and blobs of an image.
    async fn install(&self, image: &Incoming) -> Result<Vec<ChainId>> {
        let kept = image.layers.iter().filter_map(|layer| {
            let digest = layer.blob.as_ref()?.descriptor.digest;
            Some((digest, layer.content.clone()))
        });
        let source = Arc::new(ArchiveSource(kept.collect()));
        let installer = Installer::new(self.layers.clone(), source)
            .with_progress(Arc::clone(&self.progress))
            .with_cancel(self.cancel.clone());
        let planned: Vec<Planned> = image
            .layers
            .iter()
            .map(|layer| self.planned(layer))
            .collect();
        let chains = installer.layers(&planned).await?;
        for layer in &image.layers {
            let Some(blob) = &layer.blob else { continue };
            // A layer that was there already may have come in another blob.
            if !self.layers.store().keep_blob(&blob.descriptor.digest)? {
                let layer = layer.clone();
                blocking(move || check_diff(&layer)).await?;
                installer.blob(&blob.descriptor).await?;
            }
        }
        Ok(chains)
    }

    fn planned(&self, layer: &IncomingLayer) -> Planned {
        let id = short(&tar_of(layer.diff));
        let from = if let Some(blob) = &layer.blob {
            From::Blob(blob.clone())
        } else {
            let told = Told {
                section: layer.content.clone(),
                id: id.clone(),
                progress: Arc::clone(&self.progress),
            };
            let compression = layer.compression;
            From::Tar(Arc::new(move || {
                Ok(Box::new(unpacked(told.clone(), compression)))
            }))
        };
        Planned {
            diff: layer.diff,
            id,
            from,
        }
    }

    /// Notes images whose layers are there, parents before their children. Blocking.
    fn note(&self, mut images: Vec<(Incoming, Vec<ChainId>)>) -> Result<Vec<Loaded>> {
        let mut loaded = Vec::new();
        while !images.is_empty() {
            let is_next = |(image, _): &(Incoming, _)| {
                let waits = |other: &(Incoming, _)| Some(other.0.id) == image.parent;
                !images.iter().any(waits)
            };
            // Parents in a circle are none.
            let next = images.iter().position(is_next).unwrap_or(0);
            let (image, chains) = images.remove(next);
            loaded.push(self.note_one(image, chains)?);
        }
        Ok(loaded)
    }

    fn note_one(&self, image: Incoming, chains: Vec<ChainId>) -> Result<Loaded> {
        let store = self.layers.store();
        store.put_document(&image.config_bytes, &|| self.cancel.is_cancelled())?;
        let mut documents = Vec::new();
        if let Some((document, _)) = &image.manifest {
            documents.push((document.clone(), BlobRole::Manifest));
        }
        if let Some(index) = &image.index {
            documents.push((index.clone(), BlobRole::Index));
        }
        let parent = match image.parent {
            Some(parent) if store.facts().image(&parent)?.is_some() => Some(parent),
            _ => None,
        };
        let names = image.names.iter();
        let names: Vec<String> = names
            .map(|(repository, target)| familiar(repository, target))
            .collect();
        let record = Record {
            id: image.id,
            config: &image.config,
            chains,
            manifest: image.manifest.as_ref().map(|(_, manifest)| manifest),
            documents: &documents,
            names: image.names,
            parent,
        };
        let before = record.write(&self.layers, &self.cancel)?;
        let replaced = names.iter().zip(before).filter_map(|(name, before)| {
            let before = before.filter(|before| *before != image.id)?;
            Some((name.clone(), before))
        });
        Ok(Loaded {
            id: image.id,
            replaced: replaced.collect(),
            names: names.clone(),
        })
    }
}

/// [`strata_driver::blocking`] for work with this crate's errors.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    strata_driver::blocking(move || Ok(work())).await?
}

/// A blob that nobody unpacks must be that of its layer all the same.
fn check_diff(layer: &IncomingLayer) -> Result<()> {
    let io = |error| Error::io(OPERATION, error);
    let mut tar = unpacked(layer.content.clone(), layer.compression);
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        let read = tar.read(&mut block).map_err(io)?;
        if read == 0 {
            break;
        }
        hash.update(&block[..read]);
    }
    let found = DiffId::from_sha256(hash.finalize().into());
    if found == layer.diff {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, OPERATION)
        .because("the layer is not the one that the image's configuration names")
        .with("expected", layer.diff)
        .with("found", found)
        .into())
}

/// The content of a layer that is read by an unpacking: progress is told.
#[derive(Clone)]
struct Told {
    section: Section,
    id: String,
    progress: Arc<dyn Progress>,
}

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.section.read(buffer)?;
        let stage = Stage::Extracting(self.section.position(), self.section.size());
        self.progress.layer(&self.id, stage);
        Ok(read)
    }
}

/// Blobs that are members of an archive.
struct ArchiveSource(HashMap<Digest, Section>);

#[async_trait]
impl Source for ArchiveSource {
    async fn bring(
        &self,
        blob: &Descriptor,
        sink: &mut dyn Sink,
        _retrying: &(dyn Fn(Duration) + Send + Sync),
    ) -> Result<()> {
        let section = self.0.get(&blob.digest).cloned();
        let section = section.ok_or_else(|| refused(format!("{} is missing", blob.digest)))?;
        let mut section = section.from(sink.position());
        let mut block = vec![0; BLOCK];
        loop {
            let read = section
                .read(&mut block)
                .map_err(|error| Error::io(OPERATION, error))?;
            if read == 0 {
                return Ok(());
            }
            sink.write(&block[..read])?;
            // Others have their turn between blocks, and whoever ends this.
            tokio::task::yield_now().await;
        }
    }
}
