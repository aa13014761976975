//! Every path of a store's root.

use crate::ids::Digest;
use std::path::{Path, PathBuf};
use strata_driver::DiffId;

/// Where a store keeps what; nothing is read or made here.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The store's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database of facts about images, layers and blobs.
    pub fn database(&self) -> PathBuf {
        self.root.join("store.db")
    }

    /// The root of the driver that holds the layers.
    pub fn driver(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The root of the driver that a migration fills.
    pub fn next_driver(&self) -> PathBuf {
        self.root.join("layers.next")
    }

    /// The OCI image layout, by the specification's `image-layout.md`.
    pub fn oci(&self) -> PathBuf {
        self.root.join("oci")
    }

    /// Blobs in their places.
    pub fn blobs(&self) -> PathBuf {
        self.oci().join("blobs").join("sha256")
    }

    /// A blob in its place.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Blobs that are on their way, and other files being made.
    pub fn fetches(&self) -> PathBuf {
        self.root.join("fetch")
    }

    /// A blob on its way.
    pub fn fetch(&self, digest: &Digest) -> PathBuf {
        self.fetches().join(digest.hex())
    }

    /// Journals of layers.
    pub fn journals(&self) -> PathBuf {
        self.root.join("journals")
    }

    /// The journal of the layers with this diff.
    pub fn journal(&self, diff: DiffId) -> PathBuf {
        self.journals().join(hex::encode(diff.sha256()))
    }
}
