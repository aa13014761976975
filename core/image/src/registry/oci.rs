//! The client of registries that speak the OCI distribution protocol, which all do today.
//!
//! What is read is asked for here; uploading stands in `push.rs`.

use super::answer::{Refusal, body};
use super::authorization::{Authorizer, Scope};
use super::credentials::{CredentialFile, Credentials};
use super::search::media_type;
use super::settings::{Endpoint, Settings};
use super::transport::{Request, Transport, upload_client};
use super::{BlobBody, BlobSource, Pushed, Registry, Which};
use crate::document::media_type::MANIFESTS;
use crate::document::{Descriptor, Document, LARGEST_DOCUMENT};
use crate::reference::Repository;
use crate::{ImageError, Result};
use async_trait::async_trait;
use futures_util::StreamExt;
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE, HeaderMap};
use reqwest::{Client, Method, Response, StatusCode};
use serde::Deserialize;
use std::sync::{Arc, OnceLock};
use strata_store::Digest;
use tokio::sync::Semaphore;

/// What a registry says that a manifest's digest is.
const DIGEST_HEADER: &str = "Docker-Content-Digest";

/// A client of all registries. One is enough for a process, and shares its connections.
#[derive(Debug)]
pub struct OciRegistry {
    settings: Settings,
    transport: Arc<Transport>,
    /// Made when the first upload wants it: that takes reading all certificates of the host.
    uploads: OnceLock<Client>,
    /// One permit for each blob on its way.
    blobs: Arc<Semaphore>,
}

impl OciRegistry {
    /// A client with these settings that shows what `credentials` holds, or nothing.
    pub fn new(settings: Settings, credentials: Option<CredentialFile>) -> Result<Self> {
        let authorizer = Authorizer::new(Credentials::new(credentials));
        Ok(Self {
            transport: Arc::new(Transport::new(&settings, authorizer)?),
            uploads: OnceLock::new(),
            blobs: Arc::new(Semaphore::new(settings.max_concurrent.max(1))),
            settings,
        })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What uploads go through.
    pub(super) fn uploads(&self) -> Result<&Client> {
        if let Some(client) = self.uploads.get() {
            return Ok(client);
        }
        let client = upload_client(&self.settings)?;
        Ok(self.uploads.get_or_init(|| client))
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    async fn manifest_from(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
        which: &Which,
    ) -> Result<Document> {
        let path = format!("/v2/{}/manifests/{which}", repository.path());
        let mut request = Request::get(endpoint, path, Scope::pull(repository));
        request.accept = Some(MANIFESTS.join(", "));
        let response = match self.transport.send(&request).await? {
            Ok(response) => response,
            Err(refusal) => return Err(no_manifest(repository, which, refusal)),
        };
        if let Some(encoding) = encoding(response.headers()) {
            let what = format!("sent a manifest encoded as `{encoding}`, which was not asked for");
            return Err(ImageError::Protocol {
                url: request.url,
                what,
            });
        }
        let media_type = media_type(&response).map(str::to_owned);
        let said = response.headers().get(DIGEST_HEADER);
        // A digest of another algorithm says nothing that we could check.
        let said = said.and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
        let bytes = match body(response, LARGEST_DOCUMENT).await {
            Err(ImageError::Stalled { url, .. }) => {
                let seconds = self.settings.stall_timeout;
                return Err(ImageError::Stalled { url, seconds });
            }
            bytes => bytes?,
        };
        let document = Document::new(bytes, media_type);
        let wanted = match which {
            Which::Digest(digest) => Some(*digest),
            Which::Tag(_) => said,
        };
        match wanted {
            Some(expected) if expected != document.digest => Err(ImageError::WrongDigest {
                what: "manifest",
                expected,
                actual: document.digest,
            }),
            _ => Ok(document),
        }
    }

    async fn blob_from_any(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobBody> {
        let domain = repository.domain();
        for mirror in self.settings.mirrors(domain)? {
            match self.blob_from(&mirror, repository, blob, offset).await {
                Ok(body) => return Ok(body),
                Err(error) => passed_over(&mirror, &error),
            }
        }
        let itself = self.settings.endpoint(domain);
        self.blob_from(&itself, repository, blob, offset).await
    }

    async fn blob_from(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobBody> {
        let path = format!("/v2/{}/blobs/{}", repository.path(), blob.digest);
        let mut request = Request::get(endpoint, path, Scope::pull(repository));
        request.offset = offset;
        let response = match self.transport.send(&request).await? {
            Ok(response) => response,
            Err(refusal) => return Err(no_blob(repository, blob.digest, refusal)),
        };
        let from = first_byte(&request.url, &response, blob, offset)?;
        let transport = Arc::clone(&self.transport);
        let url = request.url;
        let stream = response
            .bytes_stream()
            .map(move |bytes| bytes.map_err(|error| transport.cut(&url, error)));
        Ok(BlobBody {
            from,
            stream: stream.boxed(),
        })
    }
}

#[async_trait]
impl Registry for OciRegistry {
    async fn manifest(&self, repository: &Repository, which: &Which) -> Result<Document> {
        let domain = repository.domain();
        for mirror in self.settings.mirrors(domain)? {
            match self.manifest_from(&mirror, repository, which).await {
                Ok(document) => return Ok(document),
                Err(error) => passed_over(&mirror, &error),
            }
        }
        let itself = self.settings.endpoint(domain);
        self.manifest_from(&itself, repository, which).await
    }

    async fn blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobBody> {
        // It is never closed, so this cannot fail.
        let permit = Arc::clone(&self.blobs).acquire_owned().await.ok();
        let body = self.blob_from_any(repository, blob, offset).await?;
        let stream = body.stream.inspect(move |_| {
            let _held = &permit;
        });
        Ok(BlobBody {
            from: body.from,
            stream: stream.boxed(),
        })
    }

    async fn has_blob(&self, repository: &Repository, digest: Digest) -> Result<bool> {
        let endpoint = self.settings.endpoint(repository.domain());
        let path = format!("/v2/{}/blobs/{digest}", repository.path());
        let mut request = Request::get(&endpoint, path, Scope::push(repository));
        request.method = Method::HEAD;
        match self.transport.send(&request).await? {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.status == 404 => Ok(false),
            Err(refusal) => Err(not_written(repository, refusal)),
        }
    }

    async fn push_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        source: BlobSource,
        mount_from: Option<&Repository>,
    ) -> Result<Pushed> {
        self.upload(repository, blob, source, mount_from).await
    }

    async fn push_manifest(
        &self,
        repository: &Repository,
        which: &Which,
        document: &Document,
    ) -> Result<()> {
        let endpoint = self.settings.endpoint(repository.domain());
        let path = format!("/v2/{}/manifests/{which}", repository.path());
        let mut request = Request::get(&endpoint, path, Scope::push(repository));
        let media_type = match &document.media_type {
            Some(media_type) => media_type.clone(),
            None => document.manifest()?.media_type().to_owned(),
        };
        request.method = Method::PUT;
        request.body = Some((document.bytes.clone(), media_type));
        match self.transport.send(&request).await? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(not_written(repository, refusal)),
        }
    }

    async fn tags(&self, repository: &Repository) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Tags {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let endpoint = self.settings.endpoint(repository.domain());
        let path = format!("/v2/{}/tags/list", repository.path());
        let first = Request::get(&endpoint, path, Scope::pull(repository));
        let mut tags = Vec::new();
        self.pages(first, |page| {
            let page: Tags = serde_json::from_slice(page)?;
            tags.extend(page.tags.unwrap_or_default());
            Ok(true)
        })
        .await
        .map_err(|error| match error {
            ImageError::Status { status: 404, .. } => ImageError::RepositoryUnknown {
                repository: repository.familiar(),
            },
            error => error,
        })?;
        Ok(tags)
    }
}

/// A mirror that fails is no error: the next one is asked, and at last the registry itself.
fn passed_over(mirror: &Endpoint, error: &ImageError) {
    tracing::warn!(%mirror, %error, "mirror failed");
}

/// How the body is encoded, if it is.
fn encoding(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_ENCODING)?.to_str().ok()?;
    (!value.is_empty() && !value.eq_ignore_ascii_case("identity")).then(|| value.to_owned())
}

/// Where the body begins. What the headers say of its length is held against the descriptor, so
/// that a wrong blob is refused before its first byte.
fn first_byte(url: &str, response: &Response, blob: &Descriptor, offset: u64) -> Result<u64> {
    let broken = |what: String| ImageError::Protocol {
        url: url.to_owned(),
        what,
    };
    let from = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let range = response.headers().get(CONTENT_RANGE);
            let range = range
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            let (from, whole) = content_range(range)
                .ok_or_else(|| broken(format!("sent a part of a blob as `{range}`")))?;
            if from != offset {
                return Err(broken(format!("sent byte {from} first, not {offset}")));
            }
            whole.map_or(Ok(()), |whole| check_length(blob, 0, whole))?;
            offset
        }
        _ => 0,
    };
    let length = response.content_length();
    if let Some(encoding) = encoding(response.headers())
        // Some storage says so of blobs that are gzip themselves, and sends them as they are.
        && length != Some(blob.size - from.min(blob.size))
    {
        return Err(broken(format!(
            "sent a blob encoded as `{encoding}`, which was not asked for"
        )));
    }
    if let Some(length) = length {
        check_length(blob, from, length)?;
    }
    Ok(from)
}

/// The first byte and the whole length of `bytes FIRST-LAST/LENGTH`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.trim().parse().ok()?, whole.trim().parse().ok()))
}

fn check_length(blob: &Descriptor, from: u64, length: u64) -> Result<()> {
    let Descriptor { digest, size, .. } = *blob;
    let end = from.saturating_add(length);
    if end > size {
        return Err(ImageError::BlobTooLong { digest, size });
    }
    if end < size {
        return Err(ImageError::BlobTooShort {
            digest,
            size,
            found: end,
            is_announced: true,
        });
    }
    Ok(())
}

fn no_manifest(repository: &Repository, which: &Which, refusal: Refusal) -> ImageError {
    let separator = match which {
        Which::Tag(_) => ':',
        Which::Digest(_) => '@',
    };
    match (refusal.status, refusal.code.as_str()) {
        (404, "NAME_UNKNOWN") => ImageError::RepositoryUnknown {
            repository: repository.familiar(),
        },
        (404, _) => ImageError::ManifestUnknown {
            reference: format!("{}{separator}{which}", repository.familiar()),
            message: refusal.text_or("manifest unknown: manifest unknown"),
        },
        _ => not_read(repository, refusal),
    }
}

fn no_blob(repository: &Repository, digest: Digest, refusal: Refusal) -> ImageError {
    match refusal.status {
        404 => ImageError::BlobUnknown {
            digest,
            repository: repository.familiar(),
        },
        _ => not_read(repository, refusal),
    }
}

fn not_read(repository: &Repository, refusal: Refusal) -> ImageError {
    match refusal.status {
        401 | 403 if !refusal.is_too_many() => ImageError::PullDenied {
            repository: repository.familiar(),
            message: refusal.text_or("denied: requested access to the resource is denied"),
        },
        _ => refusal.into(),
    }
}

pub(super) fn not_written(repository: &Repository, refusal: Refusal) -> ImageError {
    match refusal.status {
        401 | 403 if !refusal.is_too_many() => ImageError::PushDenied {
            repository: repository.familiar(),
            message: refusal.text_or("denied: requested access to the resource is denied"),
        },
        _ => refusal.into(),
    }
}
