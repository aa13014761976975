//! Uploading blobs, by `oci-client`, which knows what registries do with upload sessions.

use super::answer::Refusal;
use super::authorization::{Authorization, Scope};
use super::oci::{OciRegistry, not_written};
use super::settings::{Endpoint, Scheme, Settings};
use super::transport::{Request, chain, failure, install_provider};
use super::{BlobSource, Pushed};
use crate::document::Descriptor;
use crate::reference::Repository;
use crate::{ImageError, Result};
use futures_util::StreamExt;
use oci_client::RegistryOperation;
use oci_client::client::{Certificate, CertificateEncoding, Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::token_cache::{RegistryToken, RegistryTokenType};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// How many times as long as between two bytes a registry may take to accept a blob after the
/// last one: it hashes it, and may copy it.
const COMMIT_PATIENCE: u32 = 10;

/// The clients that upload, made when the first upload wants one: that takes reading all
/// certificates of the host.
pub(super) struct Pusher {
    plain: OnceLock<Client>,
    tls: OnceLock<Client>,
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pusher").finish_non_exhaustive()
    }
}

impl Pusher {
    pub(super) fn new() -> Self {
        Self {
            plain: OnceLock::new(),
            tls: OnceLock::new(),
        }
    }

    fn client(&self, scheme: Scheme, settings: &Settings) -> Result<&Client> {
        let (cell, protocol) = match scheme {
            Scheme::Http => (&self.plain, ClientProtocol::Http),
            Scheme::Https => (&self.tls, ClientProtocol::Https),
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let refused = |why: String| ImageError::configuration("HTTP client", why);
        install_provider();
        // Without any, the client would panic instead of failing, even for plain http.
        if rustls_native_certs::load_native_certs().certs.is_empty() {
            return Err(refused(
                "this host has no CA certificates; install the package `ca-certificates`".into(),
            ));
        }
        let authorities = settings.authorities()?.into_iter();
        let authorities = authorities.map(|data| Certificate {
            encoding: CertificateEncoding::Der,
            data,
        });
        let client = Client::try_from(ClientConfig {
            protocol,
            use_monolithic_push: true,
            connect_timeout: Some(settings.connect_timeout),
            https_proxy: settings.https_proxy.clone(),
            no_proxy: settings.no_proxy.clone(),
            extra_root_certificates: authorities.collect(),
            ..ClientConfig::default()
        });
        let client = client.map_err(|error| refused(chain(&error)))?;
        Ok(cell.get_or_init(|| client))
    }

    /// Begins to write to a repository, with what the registry has accepted before.
    async fn upload<'a>(
        &self,
        settings: &Settings,
        endpoint: &'a Endpoint,
        repository: &'a Repository,
        authorization: Option<Authorization>,
    ) -> Result<Upload<'a>> {
        let client = self.client(endpoint.scheme, settings)?.clone();
        let upload = Upload {
            client,
            endpoint,
            repository,
            stall_timeout: settings.stall_timeout,
        };
        if let Some(authorization) = authorization {
            let token = match authorization {
                Authorization::Basic { username, password } => {
                    RegistryTokenType::Basic(username, password)
                }
                Authorization::Bearer(token) => {
                    RegistryTokenType::Bearer(RegistryToken::Token { token })
                }
            };
            let client = &upload.client;
            let anonymous = RegistryAuth::Anonymous;
            client
                .store_auth_if_needed(&endpoint.host, &anonymous)
                .await;
            let reference = upload.reference(repository);
            let operation = RegistryOperation::Push;
            client.tokens.insert(&reference, operation, token).await;
        }
        Ok(upload)
    }
}

impl OciRegistry {
    /// What lets us write to a repository; the registry is asked where that is not known yet.
    async fn may_write(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
    ) -> Result<Option<Authorization>> {
        let scope = Scope::push(repository);
        let authorizer = &self.transport().authorizer;
        if let Some(known) = authorizer.known(endpoint, &scope) {
            return Ok(Some(known));
        }
        let request = Request::get(endpoint, "/v2/", scope.clone());
        match self.transport().send(&request).await? {
            Ok(_) => Ok(authorizer.known(endpoint, &scope)),
            Err(refusal) => Err(not_written(repository, refusal)),
        }
    }

    /// Has the registry take a blob over from another repository, or sends it.
    pub(super) async fn upload(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        source: BlobSource,
        mount_from: Option<&Repository>,
    ) -> Result<Pushed> {
        let endpoint = self.settings().endpoint(repository.domain());
        let authorization = self.may_write(&endpoint, repository).await?;
        let upload = self
            .pusher()
            .upload(self.settings(), &endpoint, repository, authorization)
            .await?;
        if let Some(mount_from) = mount_from
            && mount_from.domain() == repository.domain()
            && upload.mount(mount_from, blob).await?
        {
            return Ok(Pushed::Mounted);
        }
        upload.send(blob, source).await?;
        Ok(Pushed::Uploaded)
    }
}

/// Writing to one repository.
struct Upload<'a> {
    client: Client,
    endpoint: &'a Endpoint,
    repository: &'a Repository,
    stall_timeout: Duration,
}

/// How far an upload has come.
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    /// Why the source gave no more.
    failure: Mutex<Option<std::io::Error>>,
}

impl Upload<'_> {
    fn reference(&self, repository: &Repository) -> oci_client::Reference {
        let (host, path) = (self.endpoint.host.clone(), repository.path().to_owned());
        oci_client::Reference::with_tag(host, path, crate::reference::DEFAULT_TAG.to_owned())
    }

    /// Whether the registry took the blob over. A registry that does not is no error: it may
    /// not know how, and may not let us read the other repository.
    async fn mount(&self, from: &Repository, blob: &Descriptor) -> Result<bool> {
        let target = self.reference(self.repository);
        let source = self.reference(from);
        let digest = blob.digest.to_string();
        let mounted = self.client.mount_blob(&target, &source, &digest);
        match tokio::time::timeout(self.stall_timeout, mounted).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(
                OciDistributionError::SpecViolationError(_)
                | OciDistributionError::ServerError { .. },
            )) => Ok(false),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_) => Err(self.stalled()),
        }
    }

    async fn send(&self, blob: &Descriptor, source: BlobSource) -> Result<()> {
        let target = self.reference(self.repository);
        let digest = blob.digest.to_string();
        let progress = Arc::new(Progress::default());
        let counted = {
            let progress = Arc::clone(&progress);
            source.map(move |bytes| match bytes {
                Ok(bytes) => {
                    progress
                        .sent
                        .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    Ok(bytes)
                }
                Err(error) => {
                    let kind = error.kind();
                    *progress
                        .failure
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner) = Some(error);
                    Err(OciDistributionError::IoError(kind.into()))
                }
            })
        };
        let pushed = self
            .client
            .push_blob_stream(&target, counted, &digest, Some(blob.size));
        let pushed = self.watched(pushed, blob, &progress).await;
        let failure = progress
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match (pushed, failure) {
            (_, Some(failure)) => Err(strata_driver::Error::io("read blob", failure)
                .with("digest", digest)
                .into()),
            (pushed, None) => pushed,
        }
    }

    /// Waits for an upload while it moves. There is no limit to how long one takes, since that
    /// depends on its size.
    async fn watched<T>(
        &self,
        upload: impl Future<Output = Result<T, OciDistributionError>>,
        blob: &Descriptor,
        progress: &Progress,
    ) -> Result<()> {
        let mut upload = std::pin::pin!(upload);
        let mut before = 0;
        let mut rounds = 0;
        loop {
            match tokio::time::timeout(self.stall_timeout, &mut upload).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => return Err(self.failed(error)),
                Err(_) => {}
            }
            let sent = progress.sent.load(Ordering::Relaxed);
            rounds = if sent == before { rounds + 1 } else { 0 };
            before = sent;
            let patience = if sent == blob.size {
                COMMIT_PATIENCE
            } else {
                1
            };
            if rounds >= patience {
                return Err(self.stalled());
            }
        }
    }

    fn stalled(&self) -> ImageError {
        ImageError::Stalled {
            url: self
                .endpoint
                .url(format_args!("/v2/{}", self.repository.path())),
            seconds: self.stall_timeout,
        }
    }

    fn failed(&self, error: OciDistributionError) -> ImageError {
        let url = || {
            let path = self.repository.path();
            self.endpoint.url(format_args!("/v2/{path}/blobs/uploads/"))
        };
        match error {
            OciDistributionError::ServerError { code, message, .. } => {
                let refusal = Refusal::of("Put", url(), code, message.as_bytes());
                not_written(self.repository, refusal)
            }
            OciDistributionError::RequestError(error) => {
                failure(self.endpoint, url(), self.stall_timeout, error)
            }
            error => ImageError::Protocol {
                url: url(),
                what: format!("took no blob: {}", chain(&error)),
            },
        }
    }
}
