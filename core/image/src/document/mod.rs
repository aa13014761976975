//! The documents that make an image: manifests, indexes and configurations.
//!
//! They are read into small structs and never written back: the bytes as they came are the
//! truth, since every one of them is named by its digest.

mod config;
mod index;
mod manifest;
pub mod media_type;
mod platform;

pub use config::{HistoryEntry, ImageConfig, RunConfig};
pub use index::{Index, IndexEntry};
pub use manifest::{Descriptor, ImageManifest, Layer, Manifest};
pub use media_type::Compression;
pub use platform::Platform;

use bytes::Bytes;
use strata_store::Digest;

/// Bytes of the largest manifest, index or configuration that is taken: 4 MiB, the limit that
/// registries hold manifests to.
pub const LARGEST_DOCUMENT: u64 = 4 << 20;

/// A document as a registry or an archive gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The bytes, which the digest is of.
    pub bytes: Bytes,
    /// What the registry says it is, if it says something that can be believed.
    pub media_type: Option<String>,
    /// The sha256 of the bytes.
    pub digest: Digest,
}

impl Document {
    /// A document of these bytes.
    pub fn new(bytes: impl Into<Bytes>, media_type: Option<String>) -> Self {
        let bytes = bytes.into();
        Self {
            digest: Digest::of(&bytes),
            bytes,
            media_type,
        }
    }

    /// Reads it as a manifest or an index.
    pub fn manifest(&self) -> crate::Result<Manifest> {
        Manifest::parse(&self.bytes, self.media_type.as_deref())
    }
}
