//! Registries: what is asked of one, and [`OciRegistry`], which asks over HTTP.
//!
//! Calls of the trait make one attempt; [`retry()`] and [`download`] go on
//! after failures that pass.

mod answer;
mod authorization;
mod credentials;
mod download;
mod login;
mod oci;
mod push;
mod retry;
mod search;
mod settings;
mod transport;

pub use credentials::{Credential, CredentialFile, Kept};
pub use download::{Sink, download};
pub use login::{LOGIN_SUCCEEDED, login, logout};
pub use oci::OciRegistry;
pub(crate) use retry::Patience;
pub use retry::{Notify, Retry, RetryPolicy, retry};
pub use search::{Found, FoundRow, SEARCH_LIMITS, SearchMethod};
pub use settings::Settings;

use crate::Result;
use crate::document::{Descriptor, Document};
use crate::reference::{Reference, Repository};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::fmt;
use strata_store::Digest;

/// Which manifest of a repository is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// That which a tag names now.
    Tag(String),
    /// That with this digest.
    Digest(Digest),
}

impl Which {
    /// What a reference means: its digest if it has one, else its tag, else `latest`.
    pub fn of(reference: &Reference) -> Self {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Self::Digest(digest),
            (None, Some(tag)) => Self::Tag(tag.to_owned()),
            (None, None) => Self::Tag(crate::reference::DEFAULT_TAG.to_owned()),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A blob on its way.
pub struct BlobBody {
    /// The offset of the first byte: what was asked for, or 0 where the registry cannot do that.
    pub from: u64,
    /// The bytes as the network delivers them. They are not verified.
    pub stream: BoxStream<'static, Result<Bytes>>,
}

impl fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, stream: _ } = self;
        f.debug_struct("BlobBody")
            .field("from", from)
            .finish_non_exhaustive()
    }
}

/// The bytes of a blob that is pushed. Nothing is read where the registry has them already.
pub type BlobSource = BoxStream<'static, std::io::Result<Bytes>>;

/// How a blob came into a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Its bytes were sent.
    Uploaded,
    /// The registry took it over from another repository.
    Mounted,
}

/// What is asked of a registry. Each call is one attempt.
#[async_trait]
pub trait Registry: Send + Sync + fmt::Debug {
    /// The manifest or index that `which` names, held against its digest if that is known.
    async fn manifest(&self, repository: &Repository, which: &Which) -> Result<Document>;

    /// Opens a blob at `offset`, or at its start where the registry knows no offsets.
    async fn blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobBody>;

    /// Whether the registry has a blob in this repository. Asked before it is pushed.
    async fn has_blob(&self, repository: &Repository, digest: Digest) -> Result<bool>;

    /// Sends a blob, or has the registry take it over from `mount_from` on the same registry.
    async fn push_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        source: BlobSource,
        mount_from: Option<&Repository>,
    ) -> Result<Pushed>;

    /// Puts a manifest under a tag or under its digest.
    async fn push_manifest(
        &self,
        repository: &Repository,
        which: &Which,
        document: &Document,
    ) -> Result<()>;

    /// All tags of a repository.
    async fn tags(&self, repository: &Repository) -> Result<Vec<String>>;
}
