//! Uploading blobs: POST opens a session, or has the registry take the blob over from another
//! repository, and one PUT fills it.
//!
//! Where the PUT goes, the registry says, and its word is not enough for everything: credentials
//! go to the registry itself and to nobody else, and what began with TLS stays with it.

use super::answer::Refusal;
use super::authorization::Scope;
use super::oci::{OciRegistry, not_written};
use super::settings::{Endpoint, Scheme, is_loopback};
use super::transport::{Request, authorized, failure};
use super::{BlobSource, Pushed};
use crate::document::Descriptor;
use crate::reference::Repository;
use crate::{ImageError, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Method, Response, StatusCode, Url};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many times as long as between two bytes a registry may take to accept a blob after the
/// last one: it hashes it, and may copy it.
const COMMIT_PATIENCE: u32 = 10;

const OCTETS: &str = "application/octet-stream";

impl OciRegistry {
    /// Has the registry take a blob over from another repository, or sends it.
    pub(super) async fn upload(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        source: BlobSource,
        mount_from: Option<&Repository>,
    ) -> Result<Pushed> {
        let upload = Upload {
            registry: self,
            endpoint: &self.settings().endpoint(repository.domain()),
            repository,
            blob,
        };
        let mut opened = None;
        if let Some(from) = mount_from.filter(|from| from.domain() == repository.domain()) {
            let query = format!("?mount={}&from={}", blob.digest, from.path());
            // A registry that refuses is no error: it may not know how, and may not let us read
            // the other repository.
            let answer = upload.open(&query).await?.ok();
            match answer.as_ref().map(Response::status) {
                Some(StatusCode::CREATED) => return Ok(Pushed::Mounted),
                Some(StatusCode::ACCEPTED) => opened = answer,
                _ => {}
            }
        }
        let opened = match opened {
            Some(opened) => opened,
            None => upload
                .open("")
                .await?
                .map_err(|refusal| not_written(repository, refusal))?,
        };
        let session = upload.session(&opened)?;
        upload.send(session, source).await?;
        Ok(Pushed::Uploaded)
    }
}

/// One blob on its way into one repository.
struct Upload<'a> {
    registry: &'a OciRegistry,
    endpoint: &'a Endpoint,
    repository: &'a Repository,
    blob: &'a Descriptor,
}

/// How far an upload has come.
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    /// Why the source gave no more.
    failure: Mutex<Option<std::io::Error>>,
}

impl Progress {
    fn failure(&self) -> MutexGuard<'_, Option<std::io::Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload<'_> {
    async fn open(&self, query: &str) -> Result<Result<Response, Refusal>> {
        let path = format!("/v2/{}/blobs/uploads/{query}", self.repository.path());
        let mut request = Request::get(self.endpoint, path, Scope::push(self.repository));
        request.method = Method::POST;
        request.body = Some((Bytes::new(), OCTETS.to_owned()));
        self.registry.transport().send(&request).await
    }

    /// Where the bytes go.
    fn session(&self, opened: &Response) -> Result<Url> {
        let broken = |what: String| ImageError::Protocol {
            url: self.url(),
            what,
        };
        let location = opened.headers().get(LOCATION);
        let Some(location) = location.and_then(|value| value.to_str().ok()) else {
            return Err(broken("opened an upload and does not say where".to_owned()));
        };
        let mut session = opened
            .url()
            .join(location)
            .map_err(|error| broken(format!("opened an upload where no URL leads: {error}")))?;
        if !self.may_go_to(&session) {
            return Err(broken(format!(
                "wants the blob sent to `{}` without TLS; if that is right, list it as `insecure`",
                host(&session)
            )));
        }
        let digest = self.blob.digest.to_string();
        session.query_pairs_mut().append_pair("digest", &digest);
        Ok(session)
    }

    fn is_registry(&self, session: &Url) -> bool {
        let registry = Url::parse(&self.endpoint.url("/"));
        registry.is_ok_and(|registry| registry.origin() == session.origin())
    }

    /// Plain HTTP is for hosts that the configuration names; loopback is one only for a registry
    /// that is itself spoken to without TLS, or any registry could have us write to this machine.
    fn may_go_to(&self, session: &Url) -> bool {
        let host = host(session);
        match session.scheme() {
            "https" => true,
            "http" => {
                self.is_registry(session)
                    || self.registry.settings().insecure.contains(&host)
                    || self.endpoint.scheme == Scheme::Http && is_loopback(&host)
            }
            _ => false,
        }
    }

    async fn send(&self, session: Url, source: BlobSource) -> Result<()> {
        let progress = Arc::new(Progress::default());
        let counted = {
            let progress = Arc::clone(&progress);
            source.map(move |bytes| match bytes {
                Ok(bytes) => {
                    let sent = bytes.len() as u64;
                    progress.sent.fetch_add(sent, Ordering::Relaxed);
                    Ok(bytes)
                }
                Err(error) => {
                    let kind = error.kind();
                    *progress.failure() = Some(error);
                    Err(std::io::Error::from(kind))
                }
            })
        };
        let put = self.put(session, Body::wrap_stream(counted));
        let sent = self.watched(put, &progress).await;
        let failure = progress.failure().take();
        match failure {
            Some(failure) => Err(strata_driver::Error::io("read blob", failure)
                .with("digest", self.blob.digest)
                .into()),
            None => sent,
        }
    }

    async fn put(&self, session: Url, body: Body) -> Result<()> {
        let transport = self.registry.transport();
        let scope = Scope::push(self.repository);
        let mut request = self
            .registry
            .uploads()?
            .put(session.clone())
            .header(CONTENT_TYPE, OCTETS)
            .header(CONTENT_LENGTH, self.blob.size)
            .body(body);
        if self.is_registry(&session) {
            let known = transport.authorizer.known(self.endpoint, &scope);
            request = authorized(request, known.as_ref());
        }
        tracing::debug!(host = host(&session), size = self.blob.size, "upload");
        let response = request.send().await.map_err(|error| {
            let target = Endpoint {
                scheme: if session.scheme() == "https" {
                    Scheme::Https
                } else {
                    Scheme::Http
                },
                host: host(&session),
                domain: self.endpoint.domain.clone(),
            };
            let patience = self.registry.settings().stall_timeout;
            failure(&target, self.url(), patience, error)
        })?;
        match response.status() {
            StatusCode::CREATED => Ok(()),
            status if status.is_success() => Err(ImageError::Protocol {
                url: self.url(),
                what: format!("was sent a blob and answers {status}"),
            }),
            status => {
                if status == StatusCode::UNAUTHORIZED {
                    transport.authorizer.forget(self.endpoint, &scope);
                }
                let refusal = Refusal {
                    url: self.url(),
                    ..Refusal::read("Put", response).await
                };
                Err(not_written(self.repository, refusal))
            }
        }
    }

    /// Waits for an upload while it moves. There is no limit to how long one takes, since that
    /// depends on its size.
    async fn watched(
        &self,
        upload: impl Future<Output = Result<()>>,
        progress: &Progress,
    ) -> Result<()> {
        let stall_timeout = self.registry.settings().stall_timeout;
        let mut upload = std::pin::pin!(upload);
        let mut before = 0;
        let mut rounds = 0;
        loop {
            if let Ok(ended) = tokio::time::timeout(stall_timeout, &mut upload).await {
                return ended;
            }
            let sent = progress.sent.load(Ordering::Relaxed);
            rounds = if sent == before { rounds + 1 } else { 0 };
            before = sent;
            let patience = if sent == self.blob.size {
                COMMIT_PATIENCE
            } else {
                1
            };
            if rounds >= patience {
                return Err(ImageError::Stalled {
                    url: self.url(),
                    seconds: stall_timeout,
                });
            }
        }
    }

    /// What errors name: not the session, whose address may let anybody in.
    fn url(&self) -> String {
        let path = self.repository.path();
        self.endpoint.url(format_args!("/v2/{path}/blobs/uploads/"))
    }
}

/// Host and port, as they stand in references.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
