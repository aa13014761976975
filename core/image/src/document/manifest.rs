//! Descriptors and the manifest of one image, read strictly.

use super::index::{Index, IndexEntry};
use super::media_type::{self, Compression, Kind, schema_1};
use super::{LARGEST_DOCUMENT, Platform};
use crate::{ImageError, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strata_store::Digest;

/// Bytes of the largest blob that is believed: 1 TiB, far above what registries take.
const LARGEST_BLOB: u64 = 1 << 40;

/// Layers of the longest image that is taken; the drivers' own limits are lower.
const MOST_LAYERS: usize = 1024;

/// What names a blob: digest, size and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// The sha256 of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// Further facts, by which nothing here is decided.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor without annotations.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            annotations: BTreeMap::new(),
        }
    }
}

/// A layer of an image: its blob and how that is packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The blob.
    pub descriptor: Descriptor,
    /// How the tar is packed in it.
    pub compression: Compression,
}

/// The manifest of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageManifest {
    /// The OCI or the Docker name of this document's type.
    pub media_type: String,
    /// The blob with the configuration; its digest is the image's id.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Layer>,
    /// Further facts.
    pub annotations: BTreeMap<String, String>,
}

/// What a name in a registry leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// One image.
    Image(ImageManifest),
    /// Images of the same name for several platforms.
    Index(Index),
}

/// Whatever a manifest or index may hold. Fields of both are read, so that a document that is
/// both can be told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    /// Of schema 1 alone.
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: serde_json::Number,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    artifact_type: Option<String>,
}

impl Manifest {
    /// Reads a manifest or an index. `media_type` is what the registry or the descriptor that
    /// led here says it is.
    ///
    /// What the document says of itself, what was said of it and what it looks like must agree:
    /// otherwise the same digest would be one image to us and another to somebody else
    /// (CVE-2021-41190).
    pub fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Self> {
        if bytes.len() as u64 > LARGEST_DOCUMENT {
            let why = format!("it has {} bytes, more than {LARGEST_DOCUMENT}", bytes.len());
            return Err(refused(why));
        }
        let said = match media_type {
            Some(name) => Kind::of(name)?,
            None => None,
        };
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        if raw.schema_version == Some(1) || raw.fs_layers.is_some() {
            return Err(schema_1());
        }
        if raw.schema_version != Some(2) {
            return Err(refused("its schemaVersion is not 2"));
        }
        let named = match raw.media_type.as_deref() {
            Some(name) => match Kind::of(name)? {
                Some(kind) => Some(kind),
                None => return Err(refused(format!("its media type is `{name}`"))),
            },
            None => None,
        };
        let kind = match (&raw.manifests, &raw.layers, &raw.config) {
            (Some(_), None, None) => Kind::Index,
            (None, Some(_), Some(_)) => Kind::Image,
            (Some(_), _, _) => {
                return Err(refused("it has both `manifests` and `layers` or `config`"));
            }
            (None, None, _) => return Err(refused("it has neither `manifests` nor `layers`")),
            (None, Some(_), None) => return Err(refused("it has no `config`")),
        };
        if said.is_some_and(|said| said != kind) || named.is_some_and(|named| named != kind) {
            return Err(refused(
                "its media type says one thing and its content another",
            ));
        }
        let said = said.and(media_type).map(bare);
        if let (Some(said), Some(named)) = (said, raw.media_type.as_deref())
            && said != named
        {
            return Err(refused(format!(
                "`{said}` was promised, and it is `{named}`"
            )));
        }
        let fallback = match kind {
            Kind::Image => media_type::OCI_MANIFEST,
            Kind::Index => media_type::OCI_INDEX,
        };
        let name = raw.media_type.as_deref().or(said).unwrap_or(fallback);
        let name = name.to_owned();
        match kind {
            Kind::Image => image(name, raw).map(Self::Image),
            Kind::Index => index(name, raw).map(Self::Index),
        }
    }

    /// The OCI or the Docker name of the document's type.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Image(image) => &image.media_type,
            Self::Index(index) => &index.media_type,
        }
    }
}

fn bare(name: &str) -> &str {
    name.split(';').next().unwrap_or(name).trim()
}

fn image(media_type: String, raw: Raw) -> Result<ImageManifest> {
    let (Some(config), Some(layers)) = (raw.config, raw.layers) else {
        return Err(refused("it has no `config` or no `layers`"));
    };
    let (config, _) = config.checked()?;
    // The last three were written by Docker clients and proxies of 2016 and are in use; what
    // the configuration holds decides. Others are artifacts and plugins, which are no images.
    if !matches!(
        config.media_type.as_str(),
        media_type::OCI_CONFIG
            | media_type::DOCKER_CONFIG
            | "application/octet-stream"
            | "application/json"
            | "text/html"
    ) {
        return Err(refused(format!(
            "it is no image: its configuration is of type `{}`",
            config.media_type
        )));
    }
    if config.size > LARGEST_DOCUMENT {
        let size = config.size;
        return Err(refused(format!(
            "its configuration has {size} bytes, more than {LARGEST_DOCUMENT}"
        )));
    }
    if layers.len() > MOST_LAYERS {
        let count = layers.len();
        return Err(refused(format!(
            "it has {count} layers, more than {MOST_LAYERS}"
        )));
    }
    let layers = layers
        .into_iter()
        .map(|layer| {
            let (descriptor, _) = layer.checked()?;
            let compression = Compression::of_layer(&descriptor.media_type)?;
            Ok(Layer {
                descriptor,
                compression,
            })
        })
        .collect::<Result<_>>()?;
    Ok(ImageManifest {
        media_type,
        config,
        layers,
        annotations: raw.annotations.unwrap_or_default(),
    })
}

fn index(media_type: String, raw: Raw) -> Result<Index> {
    let manifests = raw
        .manifests
        .unwrap_or_default()
        .into_iter()
        .map(|entry| {
            let artifact_type = entry.artifact_type.clone();
            let (descriptor, platform) = entry.checked()?;
            Ok(IndexEntry {
                descriptor,
                platform,
                artifact_type,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Index {
        media_type,
        manifests,
        annotations: raw.annotations.unwrap_or_default(),
    })
}

impl RawDescriptor {
    fn checked(self) -> Result<(Descriptor, Option<Platform>)> {
        let digest = self.digest.parse().map_err(|_| {
            let digest: String = self.digest.chars().take(80).collect();
            refused(format!("`{digest}` is no sha256 digest"))
        })?;
        let size = self
            .size
            .as_u64()
            .filter(|size| *size <= LARGEST_BLOB)
            .ok_or_else(|| refused(format!("`{}` is no size of a blob", self.size)))?;
        let descriptor = Descriptor {
            media_type: self.media_type,
            digest,
            size,
            annotations: self.annotations.unwrap_or_default(),
        };
        Ok((descriptor, self.platform))
    }
}

fn refused(why: impl Into<String>) -> ImageError {
    ImageError::document("manifest", why)
}
