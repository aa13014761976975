//! One HTTP request: with authorization where the registry asks for it, and with an error that
//! says what failed.

use super::answer::Refusal;
use super::authorization::{Authorization, Authorizer, Scope};
use super::settings::{Endpoint, Settings};
use crate::{ImageError, Result};
use bytes::Bytes;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RANGE};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, redirect};
use std::error::Error as _;
use std::time::Duration;

/// Redirects that are followed; as many as Go's client follows.
const MOST_REDIRECTS: usize = 10;

const USER_AGENT: &str = concat!("strata/", env!("CARGO_PKG_VERSION"));

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) endpoint: &'a Endpoint,
    pub(super) url: String,
    /// What it takes to be allowed.
    pub(super) scope: Scope,
    pub(super) accept: Option<String>,
    /// The first byte that is wanted, if not the first.
    pub(super) offset: u64,
    /// The body and its type.
    pub(super) body: Option<(Bytes, String)>,
}

impl<'a> Request<'a> {
    pub(super) fn get(endpoint: &'a Endpoint, path: impl std::fmt::Display, scope: Scope) -> Self {
        Self {
            method: Method::GET,
            url: endpoint.url(path),
            endpoint,
            scope,
            accept: None,
            offset: 0,
            body: None,
        }
    }
}

/// The connections of one client.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    stall_timeout: Duration,
    pub(super) authorizer: Authorizer,
}

impl Transport {
    pub(super) fn new(settings: &Settings, authorizer: Authorizer) -> Result<Self> {
        let client = builder(settings)?
            .read_timeout(settings.stall_timeout)
            .redirect(redirect::Policy::custom(follow))
            .build()
            .map_err(unusable)?;
        Ok(Self {
            client,
            stall_timeout: settings.stall_timeout,
            authorizer,
        })
    }

    /// Sends the request and gives a successful answer, or what the registry refused it with.
    ///
    /// A first refusal for lack of authorization is answered once with what it asks for.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Result<Response, Refusal>> {
        let known = self.authorizer.known(request.endpoint, &request.scope);
        let mut response = self.attempt(request, known.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let found = self
                .authorizer
                .answer(self, request.endpoint, &request.scope, response.headers())
                .await?;
            if let Some(authorization) = found {
                response = self.attempt(request, Some(&authorization)).await?;
            }
        }
        if response.status().is_success() {
            return Ok(Ok(response));
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            self.authorizer.forget(request.endpoint, &request.scope);
        }
        Ok(Err(Refusal::read(name(&request.method), response).await))
    }

    /// Sends it once.
    pub(super) async fn attempt(
        &self,
        request: &Request<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Response> {
        let mut builder = self
            .client
            .request(request.method.clone(), &request.url)
            // The bytes are wanted as they are stored: the digest is of those.
            .header(ACCEPT_ENCODING, "identity");
        if let Some(accept) = &request.accept {
            builder = builder.header(ACCEPT, accept);
        }
        if request.offset > 0 {
            builder = builder.header(RANGE, format!("bytes={}-", request.offset));
        }
        if let Some((body, media_type)) = &request.body {
            builder = builder.header(CONTENT_TYPE, media_type).body(body.clone());
            if body.is_empty() {
                // Some registries answer 411 to who does not say that nothing comes.
                builder = builder.header(CONTENT_LENGTH, 0);
            }
        }
        builder = authorized(builder, authorization);
        tracing::debug!(method = %request.method, url = %request.url, offset = request.offset, "request");
        let answer = builder.send().await;
        answer.map_err(|error| {
            failure(
                request.endpoint,
                request.url.clone(),
                self.stall_timeout,
                error,
            )
        })
    }

    /// The error of a body that broke off.
    pub(super) fn cut(&self, url: &str, error: reqwest::Error) -> ImageError {
        match broken(url, error) {
            ImageError::Stalled { url, .. } => ImageError::Stalled {
                url,
                seconds: self.stall_timeout,
            },
            error => error,
        }
    }
}

/// A client whose requests have bodies without end: the time until an answer begins is as long
/// as the body takes, and where a registry sends elsewhere, the body has been read already.
pub(super) fn upload_client(settings: &Settings) -> Result<Client> {
    let builder = builder(settings)?.redirect(redirect::Policy::none());
    builder.build().map_err(unusable)
}

/// What all clients have: whom they trust, and how they connect.
fn builder(settings: &Settings) -> Result<ClientBuilder> {
    install_provider();
    let of_host = rustls_native_certs::load_native_certs().certs;
    // What cannot be read there is not ours to repair.
    let of_host = of_host
        .iter()
        .filter_map(|der| reqwest::Certificate::from_der(der).ok());
    let mut trusted: Vec<_> = of_host.collect();
    for authority in settings.authorities()? {
        trusted.push(reqwest::Certificate::from_der(&authority).map_err(unusable)?);
    }
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(settings.connect_timeout)
        // Not reqwest's own choice, which fails where a host has no certificates, even for
        // a client that only talks to loopback.
        .tls_certs_only(trusted)
        .no_proxy();
    let Some(proxy) = &settings.https_proxy else {
        return Ok(builder);
    };
    let except = settings.no_proxy.as_deref();
    let except = except.and_then(reqwest::NoProxy::from_string);
    let proxy = reqwest::Proxy::https(proxy).map_err(unusable)?;
    Ok(builder.proxy(proxy.no_proxy(except)))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn unusable(error: reqwest::Error) -> ImageError {
    ImageError::configuration("HTTP client", chain(&error))
}

/// With what the registry asked for.
pub(super) fn authorized(
    request: RequestBuilder,
    authorization: Option<&Authorization>,
) -> RequestBuilder {
    match authorization {
        Some(Authorization::Basic { username, password }) => {
            request.basic_auth(username, Some(password))
        }
        Some(Authorization::Bearer(token)) => request.bearer_auth(token),
        None => request,
    }
}

/// The error of a request that got no answer.
pub(super) fn failure(
    endpoint: &Endpoint,
    url: String,
    stall_timeout: Duration,
    error: reqwest::Error,
) -> ImageError {
    // The URL is in our own message already.
    let error = error.without_url();
    if error.is_connect() {
        let (why, is_transient) = connect_failure(&endpoint.host, &error);
        return ImageError::Unreachable {
            method: "Get",
            url: endpoint.url("/v2/"),
            why,
            is_transient,
        };
    }
    if error.is_timeout() {
        let seconds = stall_timeout;
        return ImageError::Stalled { url, seconds };
    }
    if error.is_redirect() {
        let what = format!("redirects where we do not follow: {}", chain(&error));
        return ImageError::Protocol { url, what };
    }
    if error.is_builder() {
        return ImageError::configuration(url, chain(&error));
    }
    let source = error.into();
    ImageError::Broken { url, source }
}

/// Go's spelling of a method, which Docker's messages have.
fn name(method: &Method) -> &'static str {
    match method.as_str() {
        "HEAD" => "Head",
        "PUT" => "Put",
        "POST" => "Post",
        _ => "Get",
    }
}

/// The error of a body that broke off, where nobody knows the timeout.
pub(super) fn broken(url: &str, error: reqwest::Error) -> ImageError {
    let url = url.to_owned();
    if error.is_timeout() {
        let seconds = Duration::ZERO;
        return ImageError::Stalled { url, seconds };
    }
    let source = error.without_url().into();
    ImageError::Broken { url, source }
}

/// What began with TLS stays with TLS.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let began_with_tls = |url: &reqwest::Url| url.scheme() == "https";
    if attempt.previous().first().is_some_and(began_with_tls) && attempt.url().scheme() != "https" {
        return attempt.error("from https to plain http");
    }
    if attempt.previous().len() > MOST_REDIRECTS {
        return attempt.error("more than 10 times");
    }
    attempt.follow()
}

/// Why no connection came about, in the words of Go's dialer, and whether that may pass.
fn connect_failure(host: &str, error: &reqwest::Error) -> (String, bool) {
    use std::io::ErrorKind as Io;
    let mut below = error.source();
    let mut io = None;
    while let Some(cause) = below {
        if let Some(cause) = cause.downcast_ref::<std::io::Error>() {
            io = Some(cause.kind());
        }
        below = cause.source();
    }
    let text = chain(error);
    if text.contains("dns error") {
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let passes = text.contains("emporary failure");
        let why = if passes {
            "temporary failure in name resolution"
        } else {
            "no such host"
        };
        return (format!("dial tcp: lookup {host}: {why}"), passes);
    }
    match io {
        Some(Io::ConnectionRefused) => (
            format!("dial tcp {host}: connect: connection refused"),
            false,
        ),
        Some(Io::ConnectionReset | Io::ConnectionAborted | Io::UnexpectedEof | Io::BrokenPipe) => {
            (format!("dial tcp {host}: connection reset by peer"), true)
        }
        Some(Io::TimedOut) => (format!("dial tcp {host}: i/o timeout"), true),
        _ if error.is_timeout() => (format!("dial tcp {host}: i/o timeout"), true),
        _ => (text, false),
    }
}

/// An error and all below it on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let line = error.to_string();
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        below = error.source();
    }
    text
}

/// Makes ring the provider of this process's TLS, unless somebody chose one before.
fn install_provider() {
    // It fails only where there is one already, which then serves us as well.
    drop(rustls::crypto::ring::default_provider().install_default());
}
