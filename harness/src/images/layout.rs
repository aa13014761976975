//! Reading an OCI image layout, as far as a registry is filled from it and tests ask what is in it.

use super::{Skip, place};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A directory in the form of the image specification's `image-layout.md`.
#[derive(Clone, Debug)]
pub struct ImageLayout {
    directory: PathBuf,
}

/// What names a blob in indexes and manifests.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What is in it.
    pub media_type: String,
    /// `sha256:` and 64 digits.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Notes; in the layout's own index the name of an image.
    #[serde(default)]
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// What an index or a manifest names. Each has only some of these.
#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// What an image consists of.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Indexes and manifests.
    pub(super) documents: BTreeSet<String>,
    /// Configurations and layers.
    pub(super) blobs: BTreeSet<String>,
}

impl ImageLayout {
    /// The layout at `directory`.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// The test images of the cache: `app`, `small`, `six`, `zstd` and `multi`.
    pub fn cached() -> Result<Self, Skip> {
        Ok(Self::at(place::find(place::IMAGES, "index.json")?))
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the blob with this digest is.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let name = digest.replace(':', "/");
        self.directory.join("blobs").join(name)
    }

    /// The index or the manifest that is called `name`.
    pub fn image(&self, name: &str) -> Result<Descriptor> {
        let index = read(&self.directory.join("index.json"))?;
        let key = "org.opencontainers.image.ref.name";
        index
            .manifests
            .into_iter()
            .find(|one| {
                one.annotations
                    .get(key)
                    .is_some_and(|called| called == name)
            })
            .with_context(|| format!("no image `{name}` in `{}`", self.directory.display()))
    }

    /// The layers of `name`, base first; of an index those of its first image.
    pub fn layers(&self, name: &str) -> Result<Vec<Descriptor>> {
        let mut document = read(&self.blob(&self.image(name)?.digest))?;
        if let Some(first) = document.manifests.first() {
            document = read(&self.blob(&first.digest))?;
        }
        Ok(document.layers)
    }

    /// Everything that `name` takes.
    pub(super) fn parts(&self, name: &str) -> Result<Parts> {
        let mut parts = Parts::default();
        let mut pending = vec![self.image(name)?.digest];
        while let Some(digest) = pending.pop() {
            let document = read(&self.blob(&digest))?;
            parts.documents.insert(digest);
            let blobs = document.config.into_iter().chain(document.layers);
            parts.blobs.extend(blobs.map(|blob| blob.digest));
            pending.extend(document.manifests.into_iter().map(|one| one.digest));
        }
        Ok(parts)
    }
}

fn read(file: &Path) -> Result<Document> {
    serde_json::from_slice(&fs_err::read(file)?)
        .with_context(|| format!("`{}` is no index and no manifest", file.display()))
}
