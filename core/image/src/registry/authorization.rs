//! What a registry asks for before it answers: challenges, tokens, and who we are.
//!
//! The protocol is `token.md` and `oauth.md` of the distribution project: a refusal names a
//! token server, which gives a short-lived token for a scope to whoever shows the right
//! credentials, or to anybody for what is public.

use super::answer::{Refusal, body};
use super::credentials::{Credential, Credentials};
use super::settings::{Endpoint, Scheme};
use super::transport::{Request, Transport};
use crate::reference::Repository;
use crate::{ImageError, Result};
use http_auth::parser::ChallengeParser;
use reqwest::Method;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a token is good for where its server does not say (`token.md`).
const TOKEN_LIFE: u64 = 60;

/// Bytes of the largest answer of a token server.
const LONGEST_TOKEN: u64 = 1 << 20;

/// What one wants to do, in the words of `scope.md`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// To be known, and no more.
    None,
    /// To read a repository, by its path.
    Pull(String),
    /// To read and write a repository, by its path.
    Push(String),
    /// To list the repositories.
    Catalogue,
}

impl Scope {
    pub(super) fn pull(repository: &Repository) -> Self {
        Self::Pull(repository.path().to_owned())
    }

    pub(super) fn push(repository: &Repository) -> Self {
        Self::Push(repository.path().to_owned())
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Pull(path) => Some(format!("repository:{path}:pull")),
            Self::Push(path) => Some(format!("repository:{path}:pull,push")),
            Self::Catalogue => Some("registry:catalog:*".to_owned()),
        }
    }
}

/// What goes into a request's `Authorization`.
#[derive(Clone)]
pub(super) enum Authorization {
    Basic { username: String, password: String },
    Bearer(String),
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic",
            Self::Bearer(_) => "Bearer",
        })
    }
}

/// What is known of one server.
type Known = HashMap<(Endpoint, Scope), (Authorization, Option<Instant>)>;

/// Gets and keeps authorizations.
#[derive(Debug)]
pub(super) struct Authorizer {
    credentials: Credentials,
    known: Mutex<Known>,
}

/// What a refusal asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

/// What a token server gives; one of both names is used.
#[derive(Deserialize)]
struct Grant {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Authorizer {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            known: Mutex::default(),
        }
    }

    /// What satisfied this server before, if it is still good.
    pub(super) fn known(&self, endpoint: &Endpoint, scope: &Scope) -> Option<Authorization> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (authorization, until) = known.get(&(endpoint.clone(), scope.clone()))?;
        until
            .is_none_or(|until| Instant::now() < until)
            .then(|| authorization.clone())
    }

    pub(super) fn forget(&self, endpoint: &Endpoint, scope: &Scope) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&(endpoint.clone(), scope.clone()));
    }

    /// What answers the challenge in `headers`; `None` where there is nothing to show.
    pub(super) async fn answer(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scope: &Scope,
        headers: &HeaderMap,
    ) -> Result<Option<Authorization>> {
        let Some(challenge) = Challenge::read(headers) else {
            return Ok(None);
        };
        let credential = self.credentials.of(&endpoint.domain).await?;
        let (authorization, until) = match (challenge, credential) {
            (Challenge::Basic, Some(Credential::Password { username, password })) => {
                (Authorization::Basic { username, password }, None)
            }
            (Challenge::Basic, _) => return Ok(None),
            (Challenge::Bearer { realm, service }, credential) => {
                let request = TokenRequest {
                    endpoint,
                    scope,
                    realm,
                    service,
                };
                let grant = request.send(transport, credential.as_ref()).await?;
                let life = grant.expires_in.unwrap_or(TOKEN_LIFE).max(TOKEN_LIFE);
                // Before it ends, so that none ends on its way.
                let until = Instant::now() + Duration::from_secs(life * 9 / 10);
                (Authorization::Bearer(grant.text()), Some(until))
            }
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(
            (endpoint.clone(), scope.clone()),
            (authorization.clone(), until),
        );
        Ok(Some(authorization))
    }
}

impl Challenge {
    /// The challenge that we can answer; a token where there is a choice.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for header in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(text) = header.to_str() else { continue };
            for challenge in ChallengeParser::new(text).flatten() {
                let parameter = |name: &str| {
                    challenge
                        .params
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name))
                        .map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = parameter("realm")
                {
                    let service = parameter("service");
                    return Some(Self::Bearer { realm, service });
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

/// A request for a token.
struct TokenRequest<'a> {
    endpoint: &'a Endpoint,
    scope: &'a Scope,
    realm: String,
    service: Option<String>,
}

impl TokenRequest<'_> {
    async fn send(&self, transport: &Transport, credential: Option<&Credential>) -> Result<Grant> {
        let broken = |what: String| ImageError::Protocol {
            url: self.realm.clone(),
            what,
        };
        let mut realm = reqwest::Url::parse(&self.realm)
            .map_err(|error| broken(format!("names a token server that is no URL: {error}")))?;
        if self.endpoint.scheme == Scheme::Https && realm.scheme() != "https" {
            return Err(broken("wants our credentials sent without TLS".to_owned()));
        }
        let mut query: Vec<(&str, String)> = Vec::new();
        if let Some(service) = &self.service {
            query.push(("service", service.clone()));
        }
        if let Some(scope) = self.scope.text() {
            query.push(("scope", scope));
        }
        let mut request = Request::get(self.endpoint, "", Scope::None);
        let mut authorization = None;
        match credential {
            // `oauth.md`: an identity token is exchanged by POST.
            Some(Credential::IdentityToken(token)) => {
                query.push(("grant_type", "refresh_token".to_owned()));
                query.push(("client_id", "strata".to_owned()));
                query.push(("refresh_token", token.clone()));
                let form = reqwest::Url::parse_with_params("form://x", &query)
                    .map_err(|error| broken(error.to_string()))?;
                let form = form.query().unwrap_or_default().to_owned();
                request.method = Method::POST;
                request.body = Some((form.into(), "application/x-www-form-urlencoded".to_owned()));
            }
            Some(Credential::Password { username, password }) => {
                query.push(("account", username.clone()));
                authorization = Some(Authorization::Basic {
                    username: username.clone(),
                    password: password.clone(),
                });
                realm.query_pairs_mut().extend_pairs(query);
            }
            None => {
                realm.query_pairs_mut().extend_pairs(query);
            }
        }
        request.url = realm.to_string();
        let response = transport.attempt(&request, authorization.as_ref()).await?;
        if !response.status().is_success() {
            let refusal = Refusal::read("Get", response).await;
            return Err(self.refused(refusal));
        }
        let bytes = body(response, LONGEST_TOKEN).await?;
        let grant: Grant = serde_json::from_slice(&bytes)
            .map_err(|error| broken(format!("gave no token: {error}")))?;
        let is_sendable = grant.text().bytes().all(|byte| byte.is_ascii_graphic());
        if grant.text().is_empty() || !is_sendable {
            return Err(broken("gave an empty or malformed token".to_owned()));
        }
        Ok(grant)
    }

    fn refused(&self, refusal: Refusal) -> ImageError {
        if !matches!(refusal.status, 400 | 401 | 403) || refusal.is_too_many() {
            return refusal.into();
        }
        let message = refusal.text_or("unauthorized: incorrect username or password");
        let has_code = ["unauthorized: ", "denied: "]
            .iter()
            .any(|code| message.starts_with(code));
        let message = if has_code {
            message
        } else {
            format!("unauthorized: {message}")
        };
        ImageError::Unauthorized {
            url: self.endpoint.url("/v2/"),
            message,
        }
    }
}

impl Grant {
    fn text(&self) -> String {
        if self.token.is_empty() {
            return self.access_token.clone();
        }
        self.token.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&'static str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, line.parse().unwrap());
        }
        Challenge::read(&headers)
    }

    #[test]
    fn challenges_are_read_and_a_token_is_preferred() {
        let bearer = r#"Bearer realm="https://auth.example/token",service="r.example",scope="x""#;
        let expected = Some(Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: Some("r.example".to_owned()),
        });
        assert_eq!(read(&[bearer]), expected);
        assert_eq!(read(&[r#"basic realm="x""#, bearer]), expected);
        assert_eq!(read(&[r#"basic realm="x""#]), Some(Challenge::Basic));
        assert_eq!(read(&["Negotiate"]), None);
        assert_eq!(read(&["Bearer"]), None);
        assert_eq!(read(&[]), None);
    }
}
