//! Pushing an image from the store to a registry.

use crate::document::{Descriptor, Document, media_type};
use crate::images::target_of;
use crate::install::{Cancel, interrupted};
use crate::outgoing::{Outgoing, made, tar_of};
use crate::progress::{Progress, Stage};
use crate::pull::short;
use crate::reference::{Reference, Repository};
use crate::registry::{
    BlobSource, Notify, Patience, Pushed as Came, Registry, Retry, RetryPolicy, Which,
};
use crate::{ImageError, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use strata_driver::Error;
use strata_store::{BlobRole, Digest, LayerRow, Layers, Target};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const OPERATION: &str = "push image";
/// Blobs that are sent at once, as many as Docker's default.
const PUSHES_AT_ONCE: usize = 5;
/// Bytes that are read and sent at once.
const BLOCK: usize = 256 << 10;
/// One level for all, so that the same layer is always packed into the same bytes.
const LEVEL: u32 = 6;

/// What a push came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The image.
    pub id: Digest,
    /// The manifest that the registry has under the name now.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// The layers were packed anew: the digests are not those of the image's origin.
    pub was_packed: bool,
}

/// Everything that a push uses.
#[derive(Clone)]
pub struct Pusher {
    /// Where the image is.
    pub layers: Layers,
    /// Where it goes.
    pub registry: Arc<dyn Registry>,
    /// How patiently the registry is asked.
    pub policy: RetryPolicy,
    /// Who is told; layers by twelve digits of their DiffIds.
    pub progress: Arc<dyn Progress>,
    /// Who ends it.
    pub cancel: Cancel,
}

impl std::fmt::Debug for Pusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pusher")
            .field("registry", &self.registry)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Pusher {
    /// Pushes the image that a tag names, by default `latest`, and says so in Docker's lines,
    /// the one with the digest included.
    ///
    /// An image all of whose blobs are in the store is pushed as it came, with the same digests;
    /// of another, the layers are packed anew.
    ///
    /// # Errors
    /// The first failure. The registry may have blobs then, and has no manifest.
    pub async fn push(&self, reference: &Reference) -> Result<Pushed> {
        if reference.digest().is_some() {
            return Err(ImageError::PushDigest);
        }
        let reference = reference.clone().or_latest();
        let repository = reference.repository();
        let text = format!("The push refers to repository [{repository}]");
        self.progress.say(None, &text);
        let id = self.find(&reference)?;
        let (manifest, was_packed) = tokio::select! {
            outcome = self.send(&reference, &id) => outcome?,
            () = self.cancel.cancelled() => return Err(interrupted().into()),
        };
        let size = manifest.bytes.len() as u64;
        let tag = reference.tag().unwrap_or_default();
        let text = format!("{tag}: digest: {} size: {size}", manifest.digest);
        self.progress.say(None, &text);
        let named = self.layers.store().facts().set_reference(
            &repository.to_string(),
            &Target::Digest(manifest.digest),
            &id,
        );
        if let Err(error) = named {
            // The registry has it, whatever became of it here.
            tracing::warn!(error = %error.chain(), "the pushed digest is no name here");
        }
        Ok(Pushed {
            id,
            digest: manifest.digest,
            size,
            was_packed,
        })
    }

    fn find(&self, reference: &Reference) -> Result<Digest> {
        let facts = self.layers.store().facts();
        let repository = reference.repository().to_string();
        if let Some(id) = facts.reference(&repository, &target_of(reference))? {
            return Ok(id);
        }
        let rows = facts.references()?;
        let is_tagged = rows
            .iter()
            .any(|row| row.repository == repository && matches!(row.target, Target::Tag(_)));
        Err(if is_tagged {
            ImageError::NoSuchTag {
                name: reference.familiar(),
            }
        } else {
            ImageError::NotLocal {
                repository: repository.clone(),
            }
        })
    }

    /// Sends blobs, configuration and manifest in this order; the manifest, and whether layers
    /// were packed anew for it.
    async fn send(&self, reference: &Reference, id: &Digest) -> Result<(Document, bool)> {
        let layers = &self.layers;
        let repository = reference.repository();
        let (image, is_packed) = match Outgoing::as_it_came(layers, id).await? {
            Some(image) => (image, false),
            None => (Outgoing::plain(layers, id).await?, true),
        };
        for layer in image.layers.iter().rev() {
            self.tell(&layer.row, Stage::Preparing);
        }
        if is_packed {
            let text = "The store has not kept the blobs of this image: its layers are packed \
                        anew, and digests are others than at its origin";
            self.progress.say(None, text);
        }
        let known = Arc::new(self.elsewhere(repository)?);
        let turns = Arc::new(Semaphore::new(PUSHES_AT_ONCE));
        let mut sending = JoinSet::new();
        let mut begun = HashSet::new();
        for layer in image.layers.iter().rev() {
            // One blob that is several layers is sent once.
            if !begun.insert(layer.descriptor.digest) {
                continue;
            }
            let (this, layer, turns) = (self.clone(), layer.clone(), Arc::clone(&turns));
            let (repository, known) = (repository.clone(), Arc::clone(&known));
            sending.spawn(async move {
                let _turn = turns.acquire().await.map_err(|_| interrupted())?;
                let blob = if layer.is_stored {
                    let file = this.open(&layer.descriptor.digest)?;
                    Blob {
                        file,
                        descriptor: layer.descriptor.clone(),
                    }
                } else {
                    this.packed(&layer.row).await?
                };
                let from = known.get(&blob.descriptor.digest);
                this.send_layer(&repository, &blob, &layer.row, from)
                    .await?;
                Ok::<_, ImageError>((layer.descriptor.digest, blob.descriptor))
            });
        }
        let mut sent: HashMap<Digest, Descriptor> = HashMap::new();
        while let Some(one) = sending.join_next().await {
            let (digest, descriptor) = one.map_err(|_| interrupted())??;
            sent.insert(digest, descriptor);
        }
        let manifest = if is_packed {
            let layers = image.layers.iter();
            let layers: Vec<Descriptor> = layers
                .filter_map(|layer| sent.get(&layer.descriptor.digest).cloned())
                .collect();
            made(id, image.config.len(), &layers)
        } else {
            let Document { bytes, digest, .. } = image.manifest.clone();
            Document {
                bytes,
                digest,
                media_type: Some(image.media_type.clone()),
            }
        };
        self.send_config(repository, &image).await?;
        let tag = Which::of(reference);
        let mut patience = Patience::new(&self.policy);
        while let Err(error) = self
            .registry
            .push_manifest(repository, &tag, &manifest)
            .await
        {
            patience.after(error, &|_| {}).await?;
        }
        Ok((manifest, is_packed))
    }

    async fn send_config(&self, repository: &Repository, image: &Outgoing) -> Result<()> {
        let bytes = bytes::Bytes::from(image.config.clone());
        let config = Descriptor::new(media_type::OCI_CONFIG, image.id, bytes.len() as u64);
        let source = || -> BlobSource {
            let bytes = bytes.clone();
            Box::pin(stream::once(async { Ok(bytes) }))
        };
        self.send_blob(repository, &config, &source, None, &|_| {})
            .await?;
        Ok(())
    }

    async fn send_layer(
        &self,
        repository: &Repository,
        blob: &Blob,
        row: &LayerRow,
        from: Option<&Repository>,
    ) -> Result<()> {
        let notify = |again: &Retry<'_>| self.tell(row, Stage::Retrying(again.wait));
        let source = || self.stream(blob, row);
        let sending = self.send_blob(repository, &blob.descriptor, &source, from, &notify);
        match (sending.await?, from) {
            (None, _) => self.tell(row, Stage::PushedBefore),
            (Some(Came::Mounted), Some(from)) => {
                let text = format!("Mounted from {}", from.path());
                self.progress.say(Some(&short(&tar_of(row.diff))), &text);
            }
            (Some(Came::Mounted), None) => self.tell(row, Stage::Mounted),
            (Some(Came::Uploaded), _) => self.tell(row, Stage::Pushed),
        }
        Ok(())
    }

    /// Sends a blob that the registry has not; how it came there.
    async fn send_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        source: &(dyn Fn() -> BlobSource + Send + Sync),
        from: Option<&Repository>,
        notify: &Notify<'_>,
    ) -> Result<Option<Came>> {
        let registry = &self.registry;
        let mut patience = Patience::new(&self.policy);
        loop {
            let attempt = async {
                if registry.has_blob(repository, blob.digest).await? {
                    return Ok(None);
                }
                let came = registry.push_blob(repository, blob, source(), from).await?;
                Ok(Some(came))
            };
            match attempt.await {
                Ok(came) => return Ok(came),
                Err(error) => patience.after(error, notify).await?,
            }
        }
    }

    /// The bytes of a blob from its start; progress is told as they go.
    fn stream(&self, blob: &Blob, row: &LayerRow) -> BlobSource {
        let (file, size) = (Arc::clone(&blob.file), blob.descriptor.size);
        let (progress, id) = (Arc::clone(&self.progress), short(&tar_of(row.diff)));
        Box::pin(stream::try_unfold(0, move |position| {
            let file = Arc::clone(&file);
            let (progress, id) = (Arc::clone(&progress), id.clone());
            async move {
                let room = (size - position).min(BLOCK as u64) as usize;
                if room == 0 {
                    return Ok(None);
                }
                let bytes = strata_driver::blocking(move || {
                    let mut bytes = vec![0; room];
                    file.read_exact_at(&mut bytes, position)
                        .map_err(|error| Error::io(OPERATION, error))?;
                    Ok(bytes)
                })
                .await
                .map_err(io::Error::other)?;
                let position = position + room as u64;
                progress.layer(&id, Stage::Pushing(position, size));
                Ok(Some((bytes::Bytes::from(bytes), position)))
            }
        }))
    }

    fn open(&self, digest: &Digest) -> Result<Arc<File>> {
        let file = fs_err::File::open(self.layers.store().layout().blob(digest))
            .map_err(|error| Error::io(OPERATION, error))?;
        Ok(Arc::new(file.into()))
    }

    /// A layer, written again and packed into a file without a name.
    async fn packed(&self, row: &LayerRow) -> Result<Blob> {
        let io = |error| Error::io(OPERATION, error);
        let file = tempfile::tempfile_in(self.layers.store().layout().fetches()).map_err(io)?;
        let (hash, size) = (Sha256::new(), 0);
        let hashing = Hashing { file, hash, size };
        let packer = Packer {
            encoder: Arc::new(Mutex::new(GzEncoder::new(hashing, Compression::new(LEVEL)))),
            cancel: self.cancel.clone(),
        };
        self.layers.export(row, packer.clone()).await?;
        let mut encoder = packer
            .encoder
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        encoder.try_finish().map_err(io)?;
        let Hashing { file, hash, size } = encoder.get_mut();
        let digest = Digest::from_sha256(std::mem::take(hash).finalize().into());
        Ok(Blob {
            descriptor: Descriptor::new(media_type::OCI_LAYER_GZIP, digest, *size),
            file: Arc::new(file.try_clone().map_err(io)?),
        })
    }

    /// Blobs that other repositories of this registry have, as far as we know: one for each.
    fn elsewhere(&self, repository: &Repository) -> Result<HashMap<Digest, Repository>> {
        let facts = self.layers.store().facts();
        let mut known = HashMap::new();
        for row in facts.references()? {
            // Only what was pulled from there or pushed to there has a digest.
            let (Target::Digest(_), Ok(other)) =
                (&row.target, row.repository.parse::<Repository>())
            else {
                continue;
            };
            if other.domain() != repository.domain() || other == *repository {
                continue;
            }
            for (digest, role) in facts.blobs_of(&row.image)? {
                if role == BlobRole::Layer {
                    known.entry(digest).or_insert_with(|| other.clone());
                }
            }
        }
        Ok(known)
    }

    fn tell(&self, row: &LayerRow, stage: Stage) {
        self.progress.layer(&short(&tar_of(row.diff)), stage);
    }
}

/// A blob that is to be sent.
struct Blob {
    file: Arc<File>,
    descriptor: Descriptor,
}

/// Packs what is written to it. Copies are one packer.
#[derive(Clone)]
struct Packer {
    encoder: Arc<Mutex<GzEncoder<Hashing>>>,
    cancel: Cancel,
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        encoder.write(bytes)
    }

    /// Nothing: a flush in the middle would be in the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Hashing {
    file: File,
    hash: Sha256,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
