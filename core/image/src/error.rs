//! What goes wrong between an image's name and its bytes, in the words that Docker has for it.

use crate::reference::ReferenceError;
use std::time::Duration;
use strata_driver::BoxError;
use strata_store::Digest;

/// What every fallible call of this crate returns.
pub type Result<T, E = ImageError> = std::result::Result<T, E>;

/// An error of references, documents or registries. `Display` never prints the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The name of an image is refused.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A manifest, an index or a configuration is refused.
    #[error("invalid {what}: {why}")]
    Document {
        /// What it should have been.
        what: &'static str,
        /// The rule that it breaks.
        why: String,
    },
    /// An index has nothing for the platform.
    #[error("no matching manifest for {platform} in the manifest list entries")]
    NoPlatform {
        /// What was asked for.
        platform: String,
    },
    /// The registry knows no such manifest.
    #[error("manifest for {reference} not found: {message}")]
    ManifestUnknown {
        /// What was asked for, in familiar form.
        reference: String,
        /// The registry's own words.
        message: String,
    },
    /// The registry knows no such repository.
    #[error(
        "repository {repository} not found: name unknown: repository name not known to registry"
    )]
    RepositoryUnknown {
        /// In familiar form.
        repository: String,
    },
    /// The registry knows no such blob.
    #[error("blob {digest} not found in {repository}: blob unknown to registry")]
    BlobUnknown {
        /// What was asked for.
        digest: Digest,
        /// Where, in familiar form.
        repository: String,
    },
    /// The registry does not show the repository to who we are.
    #[error(
        "pull access denied for {repository}, repository does not exist or may require \
         'strata login': {message}"
    )]
    PullDenied {
        /// In familiar form.
        repository: String,
        /// The registry's own words.
        message: String,
    },
    /// The registry does not let us write.
    #[error("push access denied for {repository}, may require 'strata login': {message}")]
    PushDenied {
        /// In familiar form.
        repository: String,
        /// The registry's own words.
        message: String,
    },
    /// The credentials are wrong.
    #[error("Get \"{url}\": {message}")]
    Unauthorized {
        /// What was asked.
        url: String,
        /// The registry's own words, with its code.
        message: String,
    },
    /// The registry wants us to come back later.
    #[error("toomanyrequests: {message}")]
    TooManyRequests {
        /// The registry's own words.
        message: String,
        /// When, if it said so.
        retry_after: Option<Duration>,
    },
    /// The registry answered with a status that says no.
    #[error("{method} \"{url}\": unexpected status {status}{message}")]
    Status {
        /// The HTTP method, capitalised as Go's client does.
        method: &'static str,
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The registry's own words after a colon, or nothing.
        message: String,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// No connection came about.
    #[error("{method} \"{url}\": {why}")]
    Unreachable {
        /// The HTTP method, capitalised as Go's client does.
        method: &'static str,
        /// What was asked.
        url: String,
        /// The kernel's or the TLS library's words, all of them: there is no error below.
        why: String,
        /// Whether a later attempt may succeed.
        is_transient: bool,
    },
    /// The connection broke.
    #[error("connection to \"{url}\" broke")]
    Broken {
        /// What was asked.
        url: String,
        /// The error below.
        #[source]
        source: BoxError,
    },
    /// The registry fell silent.
    #[error("\"{url}\": no byte for {} s: i/o timeout", seconds.as_secs_f32())]
    Stalled {
        /// What was asked.
        url: String,
        /// How long we waited.
        seconds: Duration,
    },
    /// The registry breaks the protocol.
    #[error("\"{url}\": the registry {what}")]
    Protocol {
        /// What was asked.
        url: String,
        /// What it did.
        what: String,
    },
    /// The bytes are not those that were named.
    #[error("{what} does not match its digest: expected {expected}, got {actual}")]
    WrongDigest {
        /// What they should have been.
        what: &'static str,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// More bytes came than the descriptor says.
    #[error("blob {digest} is longer than its descriptor says: {size} bytes were announced")]
    BlobTooLong {
        /// Whose bytes.
        digest: Digest,
        /// Bytes by the descriptor.
        size: u64,
    },
    /// The blob ended early.
    #[error("blob {digest} is shorter than its descriptor says: {found} of {size} bytes came")]
    BlobTooShort {
        /// Whose bytes.
        digest: Digest,
        /// Bytes by the descriptor.
        size: u64,
        /// Bytes that came.
        found: u64,
        /// Whether the registry says that this is all; else it may have been the network.
        is_announced: bool,
    },
    /// A setting, a credential file or a credential program is unusable.
    #[error("{what}: {why}")]
    Configuration {
        /// Which.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store has no such image.
    #[error("No such image: {name}")]
    NoSuchImage {
        /// What was asked for.
        name: String,
    },
    /// Several images have ids that begin so.
    #[error("multiple IDs found with provided prefix: {prefix}")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
    },
    /// A tag would have been given by digest.
    #[error("refusing to create a tag with a digest reference")]
    TagWithDigest,
    /// What is pushed has a tag.
    #[error("cannot push a digest reference")]
    PushDigest,
    /// The repository has other tags in the store.
    #[error("tag does not exist: {name}")]
    NoSuchTag {
        /// What was asked for, in familiar form.
        name: String,
    },
    /// The repository has no tag in the store.
    #[error("An image does not exist locally with the tag: {repository}")]
    NotLocal {
        /// What was asked for.
        repository: String,
    },
    /// The image is needed.
    #[error("conflict: {what}")]
    Conflict {
        /// What cannot be done and why.
        what: String,
    },
    /// The store or a file failed us.
    #[error(transparent)]
    Local(#[from] strata_driver::Error),
}

impl ImageError {
    pub(crate) fn document(what: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::Document { what, why }
    }

    pub(crate) fn configuration(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Configuration {
            what: what.into(),
            why: why.to_string(),
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TooManyRequests { .. } | Self::Broken { .. } | Self::Stalled { .. } => true,
            Self::Status { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504),
            Self::Unreachable { is_transient, .. } => *is_transient,
            Self::BlobTooShort { is_announced, .. } => !is_announced,
            _ => false,
        }
    }

    /// The way out, where it can be told.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Local(error) => error.hint_text().map(str::to_owned),
            Self::Unreachable { url, .. } => {
                let host = url.split('/').nth(2).unwrap_or_default();
                let mut hint = format!("is a registry running at {host}, and is the name right?");
                if url.starts_with("https:") {
                    hint.push_str(
                        " One without TLS has to be listed as `insecure`; the way through a proxy \
                         is HTTPS_PROXY",
                    );
                }
                Some(hint)
            }
            _ => None,
        }
    }

    /// How long the registry asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Status { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }
}
