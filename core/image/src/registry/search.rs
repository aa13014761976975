//! Searching a registry: by its own search, or by the list of what it has.

use super::OciRegistry;
use super::answer::body;
use super::authorization::Scope;
use super::settings::Endpoint;
use super::transport::Request;
use crate::{ImageError, Result};
use reqwest::header::LINK;
use reqwest::{Response, Url};
use serde::Deserialize;
use std::ops::RangeInclusive;

/// Rows that can be asked for, as Docker limits them.
pub const SEARCH_LIMITS: RangeInclusive<usize> = 1..=100;

/// Bytes of the longest page of answers.
const LONGEST_PAGE: u64 = 16 << 20;

/// Pages that are followed; a registry that goes on is not going to end.
const MOST_PAGES: usize = 1000;

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The registry that was asked.
    pub domain: String,
    /// How it was asked.
    pub method: SearchMethod,
    /// What it has, best first.
    pub rows: Vec<FoundRow>,
}

/// How a registry was searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchMethod {
    /// By its own search (`/v1/search`), which knows stars and descriptions.
    Index,
    /// By the names in its catalogue (`/v2/_catalog`), since it has no search.
    Catalogue,
}

/// A repository that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct FoundRow {
    /// With the registry in front, unless that is Docker Hub.
    #[serde(default)]
    pub name: String,
    /// What its owner says about it.
    #[serde(default)]
    pub description: String,
    /// How many people like it.
    #[serde(default, rename = "star_count")]
    pub stars: u64,
    /// Whether it is one of Docker's own.
    #[serde(default, rename = "is_official")]
    pub is_official: bool,
    /// Whether its images were built by Docker Hub.
    #[serde(default, rename = "is_automated")]
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct IndexAnswer {
    #[serde(default)]
    results: Vec<FoundRow>,
}

#[derive(Deserialize)]
struct CatalogueAnswer {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

impl OciRegistry {
    /// Looks for `term` on the registry that it begins with, else on the default one. At most
    /// `limit` rows, within [`SEARCH_LIMITS`].
    pub async fn search(&self, term: &str, limit: usize) -> Result<Found> {
        let refused = |why: &str| ImageError::configuration(format!("search for `{term}`"), why);
        if !SEARCH_LIMITS.contains(&limit) {
            return Err(refused(&format!(
                "limit {limit} is outside the range of [1, 100]"
            )));
        }
        if term.contains("://") {
            return Err(refused(
                "invalid repository name: it must not contain a schema",
            ));
        }
        let default = &self.settings().default_registry;
        let (domain, wanted) = split_term(term, default);
        if wanted.is_empty() {
            return Err(refused("invalid reference format"));
        }
        let endpoint = self.settings().index(domain);
        let mut method = SearchMethod::Index;
        let mut rows = self.ask_index(&endpoint, wanted, limit).await?;
        if rows.is_none() {
            method = SearchMethod::Catalogue;
            rows = Some(self.search_catalogue(domain, wanted, limit).await?);
        }
        Ok(Found {
            domain: domain.to_owned(),
            method,
            rows: rows.unwrap_or_default(),
        })
    }

    /// What the registry's own search finds; `None` where it has none.
    async fn ask_index(
        &self,
        endpoint: &Endpoint,
        wanted: &str,
        limit: usize,
    ) -> Result<Option<Vec<FoundRow>>> {
        let mut request = Request::get(endpoint, "/v1/search", Scope::None);
        let query = [("q", wanted), ("n", &limit.to_string())];
        request.url = Url::parse_with_params(&request.url, query)
            .map_err(|error| ImageError::configuration(request.url.clone(), error))?
            .to_string();
        let response = match self.transport().send(&request).await? {
            Ok(response) => response,
            // Registries that only know version 2 say one of these.
            Err(refusal) if matches!(refusal.status, 400 | 401 | 403 | 404 | 405 | 410) => {
                return Ok(None);
            }
            Err(refusal) => return Err(refusal.into()),
        };
        // Some answer every unknown path with their front page.
        let is_json = media_type(&response).is_none_or(|name| name.contains("json"));
        let bytes = body(response, LONGEST_PAGE).await?;
        match serde_json::from_slice::<IndexAnswer>(&bytes) {
            Ok(mut answer) => {
                answer.results.truncate(limit);
                Ok(Some(answer.results))
            }
            Err(_) if !is_json => Ok(None),
            Err(error) => Err(ImageError::Protocol {
                url: request.url,
                what: format!("answers a search with something else: {error}"),
            }),
        }
    }

    async fn search_catalogue(
        &self,
        domain: &str,
        wanted: &str,
        limit: usize,
    ) -> Result<Vec<FoundRow>> {
        let endpoint = self.settings().endpoint(domain);
        let mut rows = Vec::new();
        let first = Request::get(&endpoint, "/v2/_catalog?n=1000", Scope::Catalogue);
        self.pages(first, |page| {
            let answer: CatalogueAnswer = serde_json::from_slice(page)?;
            let names = answer.repositories.unwrap_or_default();
            let fitting = names.into_iter().filter(|name| name.contains(wanted));
            rows.extend(fitting.map(|name| FoundRow {
                name: format!("{domain}/{name}"),
                ..FoundRow::default()
            }));
            Ok(rows.len() < limit)
        })
        .await?;
        rows.truncate(limit);
        Ok(rows)
    }

    /// Gives every page of a list to `take`, until that has enough. The next page is where the
    /// header `Link` says, on the same server.
    pub(super) async fn pages(
        &self,
        first: Request<'_>,
        mut take: impl FnMut(&[u8]) -> serde_json::Result<bool>,
    ) -> Result<()> {
        let mut request = first;
        for _ in 0..MOST_PAGES {
            let response = match self.transport().send(&request).await? {
                Ok(response) => response,
                Err(refusal) => return Err(refusal.into()),
            };
            let next = next_page(&request.url, &response);
            let bytes = body(response, LONGEST_PAGE).await?;
            let goes_on = take(&bytes).map_err(|error| ImageError::Protocol {
                url: request.url.clone(),
                what: format!("answers with no list: {error}"),
            })?;
            match next {
                Some(next) if goes_on => request.url = next,
                _ => return Ok(()),
            }
        }
        Err(ImageError::Protocol {
            url: request.url,
            what: format!("has more than {MOST_PAGES} pages"),
        })
    }
}

/// The registry and the rest of a search term, by Docker's rule: what stands before the first
/// `/` is a host if it has a dot or a port, or is `localhost`.
fn split_term<'a>(term: &'a str, default: &'a str) -> (&'a str, &'a str) {
    match term.split_once('/') {
        Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => {
            let domain = match first {
                "index.docker.io" => crate::reference::DEFAULT_DOMAIN,
                other => other,
            };
            (domain, rest)
        }
        _ => (default, term.strip_prefix("library/").unwrap_or(term)),
    }
}

pub(super) fn media_type(response: &Response) -> Option<&str> {
    let value = response.headers().get(reqwest::header::CONTENT_TYPE)?;
    value.to_str().ok()
}

/// The target of `Link: <...>; rel="next"`, if it is on the server that says so: our
/// credentials go with the request.
fn next_page(url: &str, response: &Response) -> Option<String> {
    let here = Url::parse(url).ok()?;
    let links = response.headers().get_all(LINK);
    let next = links.iter().find_map(|link| {
        let (target, parameters) = link
            .to_str()
            .ok()?
            .trim()
            .strip_prefix('<')?
            .split_once('>')?;
        let is_next = parameters.contains("rel=\"next\"") || parameters.contains("rel=next");
        is_next.then_some(target)
    })?;
    let there = here.join(next).ok()?;
    (there.origin() == here.origin() && there != here).then(|| there.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn term_names_its_registry_or_means_the_default() {
        for (term, domain, wanted) in [
            ("ubuntu", "docker.io", "ubuntu"),
            ("library/ubuntu", "docker.io", "ubuntu"),
            ("a/b", "docker.io", "a/b"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000", "x"),
            ("localhost/x/y", "localhost", "x/y"),
            ("index.docker.io/x", "docker.io", "x"),
            ("127.0.0.1:5000/", "127.0.0.1:5000", ""),
        ] {
            assert_eq!(split_term(term, "docker.io"), (domain, wanted), "{term}");
        }
    }
}
