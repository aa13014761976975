//! Pulling an image from a registry into the store.

use crate::document::{Document, ImageConfig, ImageManifest, Manifest, Platform};
use crate::install::{Cancel, From, Installer, Planned, RegistrySource};
use crate::layout;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::registry::{Registry, RetryPolicy, Which, retry};
use crate::{ImageError, Result};
use std::sync::Arc;
use strata_store::phase::Phase;
use strata_store::{BlobRole, ChainId, Digest, Layers, NewImage, Target};

/// How a pull is done.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PullOptions {
    /// The platform that an index is asked for; the host's if none.
    pub platform: Option<Platform>,
    /// How patiently the registry is asked.
    pub policy: RetryPolicy,
}

/// What a pull came to.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The image.
    pub id: Digest,
    /// What the name leads to: a manifest or an index.
    pub digest: Digest,
    /// The name meant this image before.
    pub was_there: bool,
    /// The image's platform.
    pub platform: Platform,
}

/// Everything that a pull uses.
#[derive(Clone)]
pub struct Puller {
    /// Where layers go.
    pub layers: Layers,
    /// Where they come from.
    pub registry: Arc<dyn Registry>,
    /// How.
    pub options: PullOptions,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
    /// Who ends it.
    pub cancel: Cancel,
}

impl std::fmt::Debug for Puller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Puller")
            .field("registry", &self.registry)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Puller {
    /// Pulls what `reference` names: its digest, its tag, or `latest`.
    ///
    /// # Errors
    /// The first failure. The store shows nothing of the image then; layers and blobs that are
    /// whole, and what came of others, are used by the next pull.
    pub async fn pull(&self, reference: &Reference) -> Result<Pulled> {
        let which = Which::of(reference);
        let top = self.manifest(reference, &which).await?;
        self.progress.say(
            Some(&which.to_string()),
            &format!("Pulling from {}", short_path(reference)),
        );
        let (document, manifest) = self.choose(reference, &top).await?;
        let installer = Installer::new(self.layers.clone(), self.source(reference))
            .with_progress(Arc::clone(&self.progress))
            .with_cancel(self.cancel.clone());
        installer.blob(&manifest.config).await?;
        let store = Arc::clone(self.layers.store());
        let id = manifest.config.digest;
        let config = store.document(&id)?;
        let config = ImageConfig::parse(&config)?;
        config.check_layers(manifest.layers.len())?;
        // Of an image that is there, as a rule, nothing needs to be told.
        let installer = if store.facts().image(&id)?.is_some() {
            installer.with_progress(Arc::new(crate::progress::Silent))
        } else {
            installer
        };
        let chains = installer.layers(&planned(&config, &manifest)).await?;
        let mut documents = vec![(document, BlobRole::Manifest)];
        if documents[0].0.digest != top.digest {
            documents.push((top.clone(), BlobRole::Index));
        }
        let names = names_of(reference, top.digest);
        let record = Record {
            id,
            config: &config,
            chains,
            manifest: Some(&manifest),
            documents: &documents,
            names,
            parent: None,
        };
        let before = record.write(&self.layers, &self.cancel)?;
        Ok(Pulled {
            id,
            digest: top.digest,
            was_there: before.iter().all(|before| *before == Some(id)),
            platform: config.platform,
        })
    }

    async fn manifest(&self, reference: &Reference, which: &Which) -> Result<Document> {
        let ask = retry(&self.options.policy, &|_| {}, async || {
            self.registry.manifest(reference.repository(), which).await
        });
        tokio::select! {
            answer = ask => answer,
            () = self.cancel.cancelled() => Err(crate::install::interrupted().into()),
        }
    }

    /// The manifest of one image: what came, or what an index has for the platform.
    async fn choose(
        &self,
        reference: &Reference,
        top: &Document,
    ) -> Result<(Document, ImageManifest)> {
        let index = match top.manifest()? {
            Manifest::Image(manifest) => return Ok((top.clone(), manifest)),
            Manifest::Index(index) => index,
        };
        let platform = self.options.platform.clone();
        let chosen = index.choose(&platform.unwrap_or_else(Platform::host))?;
        let which = Which::Digest(chosen.digest);
        let document = self.manifest(reference, &which).await?;
        if document.bytes.len() as u64 != chosen.size {
            return Err(ImageError::document(
                "index",
                format!(
                    "it says that manifest {} has {} bytes, and it has {}",
                    chosen.digest,
                    chosen.size,
                    document.bytes.len()
                ),
            ));
        }
        match document.manifest()? {
            Manifest::Image(manifest) => Ok((document, manifest)),
            Manifest::Index(_) => Err(ImageError::document(
                "index",
                "it leads to another index, and only one level is allowed",
            )),
        }
    }

    fn source(&self, reference: &Reference) -> Arc<RegistrySource> {
        Arc::new(RegistrySource {
            registry: Arc::clone(&self.registry),
            repository: reference.repository().clone(),
            policy: self.options.policy.clone(),
        })
    }
}

/// `Pulling from` names the path without the registry, and without `library/` nothing else.
fn short_path(reference: &Reference) -> String {
    reference.repository().path().to_owned()
}

/// The layers of a manifest with the diffs that the configuration names.
pub(crate) fn planned(config: &ImageConfig, manifest: &ImageManifest) -> Vec<Planned> {
    let diffs = config.diff_ids.iter().copied();
    diffs
        .zip(&manifest.layers)
        .map(|(diff, layer)| Planned {
            diff,
            id: short(&layer.descriptor.digest),
            from: From::Blob(layer.clone()),
        })
        .collect()
}

/// The twelve digits by which people are told of a digest.
pub fn short(digest: &Digest) -> String {
    let mut hex = digest.hex();
    hex.truncate(12);
    hex
}

/// The names that a pulled image gets: the tag, if it was asked for by one, and the digest.
fn names_of(reference: &Reference, digest: Digest) -> Vec<(String, Target)> {
    let repository = reference.repository().to_string();
    let mut names = vec![(repository.clone(), Target::Digest(digest))];
    if let (None, Some(tag)) = (reference.digest(), reference.tag()) {
        names.push((repository, Target::Tag(tag.to_owned())));
    }
    names
}

/// An image all of whose layers are there, about to be noted.
pub(crate) struct Record<'a> {
    pub(crate) id: Digest,
    pub(crate) config: &'a ImageConfig,
    pub(crate) chains: Vec<ChainId>,
    /// Where the image came with one.
    pub(crate) manifest: Option<&'a ImageManifest>,
    pub(crate) documents: &'a [(Document, BlobRole)],
    pub(crate) names: Vec<(String, Target)>,
    pub(crate) parent: Option<Digest>,
}

impl Record<'_> {
    /// Notes it; what each name meant before.
    pub(crate) fn write(self, layers: &Layers, cancel: &Cancel) -> Result<Vec<Option<Digest>>> {
        let _phase = Phase::Publish.enter();
        let store = layers.store();
        let mut blobs = vec![(self.id, BlobRole::Config)];
        for (document, role) in self.documents {
            store.put_document(&document.bytes, &|| cancel.is_cancelled())?;
            blobs.push((document.digest, *role));
        }
        for layer in self.manifest.iter().flat_map(|manifest| &manifest.layers) {
            // A layer that another image brought may have come in another blob.
            if store.keep_blob(&layer.descriptor.digest)? {
                blobs.push((layer.descriptor.digest, BlobRole::Layer));
            }
        }
        let image = NewImage {
            id: self.id,
            parent: self.parent,
            created: self.config.created_seconds(),
            labels: self.config.run()?.labels,
            layers: self.chains,
            blobs,
            names: self.names,
        };
        let before = store.add_image(&image)?;
        let names = image.names.iter();
        layout::note_after(
            store,
            names.map(|(repository, target)| (&**repository, target)),
        );
        Ok(before)
    }
}
