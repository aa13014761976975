//! `--filter key=value`, and what it lets through.
//!
//! Source: docker/cli `opts/opts.go`; docker/docker `api/types/filters`, `daemon/images/images.go`
//! and `api/types/time/timestamp.go`, v28.

mod moment;
mod pattern;

use super::rows::{ImageSummary, SearchResult};
use super::units::Clock;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use strata_image::Reference;

/// What `docker images` can be asked for.
pub(crate) const OF_IMAGES: &[&str] = &[
    "before",
    "dangling",
    "label",
    "label!",
    "reference",
    "since",
    "until",
];
/// What `docker image prune` can be asked for.
pub(crate) const OF_IMAGE_PRUNE: &[&str] = &["dangling", "label", "label!", "until"];
/// What `docker system prune` can be asked for.
pub(crate) const OF_SYSTEM_PRUNE: &[&str] = &["label", "label!", "until"];
/// What `docker search` can be asked for.
pub(crate) const OF_SEARCH: &[&str] = &["is-automated", "is-official", "stars"];

/// A filter that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilterError(String);

impl FilterError {
    /// Of one value among those of `key`.
    fn of_values(key: &str, values: &[String]) -> Self {
        Self(format!("invalid filter '{key}=[{}]'", values.join(" ")))
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FilterError {}

/// Filters as given, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads what was given, of which only the keys in `accepted` are known.
    pub(crate) fn parse<T: AsRef<str>>(
        given: &[T],
        accepted: &[&str],
    ) -> Result<Self, FilterError> {
        let mut filters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in given
            .iter()
            .map(AsRef::as_ref)
            .filter(|text| !text.is_empty())
        {
            let Some((key, value)) = text.split_once('=') else {
                return Err(FilterError(
                    "bad format of filter (expected name=value)".to_owned(),
                ));
            };
            let key = key.trim().to_lowercase();
            if !accepted.contains(&key.as_str()) {
                return Err(FilterError(format!("invalid filter '{key}'")));
            }
            let values = filters.entry(key).or_default();
            if !values.iter().any(|known| known == value.trim()) {
                values.push(value.trim().to_owned());
            }
        }
        Ok(Self(filters))
    }

    /// As they are told before a prune.
    pub(crate) fn shown(&self) -> Vec<String> {
        let pairs = self.0.iter();
        pairs
            .flat_map(|(key, values)| values.iter().map(move |value| format!("{key}={value}")))
            .collect()
    }

    fn get(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, FilterError> {
        match self.get(key) {
            [] => Ok(None),
            [value] => match value.as_str() {
                "1" | "true" => Ok(Some(true)),
                "0" | "false" => Ok(Some(false)),
                _ => Err(FilterError::of_values(key, self.get(key))),
            },
            values => Err(FilterError::of_values(key, values)),
        }
    }
}

/// Which images are listed or pruned.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImageFilter {
    /// Only images without a name, or only those with one.
    pub(crate) dangling: Option<bool>,
    labels: Vec<String>,
    labels_not: Vec<String>,
    references: Vec<String>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl ImageFilter {
    /// Makes filters ready. `created` finds the moment at which the image of a name was made.
    pub(crate) fn new<E: From<FilterError>>(
        filters: &Filters,
        clock: &Clock,
        mut created: impl FnMut(&str) -> Result<Timestamp, E>,
    ) -> Result<Self, E> {
        let mut filter = Self {
            dangling: filters.flag("dangling")?,
            labels: filters.get("label").to_vec(),
            labels_not: filters.get("label!").to_vec(),
            references: filters.get("reference").to_vec(),
            before: None,
            since: None,
        };
        let mut before = Vec::new();
        for name in filters.get("before") {
            before.push(created(name)?);
        }
        for text in filters.get("until") {
            before.push(moment::parse(text, clock)?);
        }
        filter.before = before.into_iter().min();
        for name in filters.get("since") {
            filter.since = filter.since.max(Some(created(name)?));
        }
        Ok(filter)
    }

    /// Filters by the argument `[REPOSITORY[:TAG]]` of `docker images` as well.
    pub(crate) fn add_reference(&mut self, pattern: &str) {
        self.references.push(pattern.to_owned());
    }

    /// The image with the names that are asked for, if it is. `created` is exact where that of
    /// the summary has whole seconds.
    pub(crate) fn apply(
        &self,
        image: &ImageSummary,
        created: Timestamp,
    ) -> Result<Option<ImageSummary>, FilterError> {
        let is_in_time = self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since);
        let is_named = self
            .dangling
            .is_none_or(|dangling| image.is_dangling() == dangling);
        let has = |label: &String| has_label(&image.labels, label);
        let is_labelled = self.labels.iter().all(has)
            && (self.labels_not.is_empty() || !self.labels_not.iter().all(has));
        if !(is_in_time && is_named && is_labelled) {
            return Ok(None);
        }
        let mut image = image.clone();
        if !self.references.is_empty() {
            image.repo_tags = self.matching(&image.repo_tags)?;
            image.repo_digests = self.matching(&image.repo_digests)?;
            if image.is_dangling() {
                return Ok(None);
            }
        }
        Ok(Some(image))
    }

    /// Names of which the whole or the repository fits one of the patterns.
    fn matching(&self, names: &[String]) -> Result<Vec<String>, FilterError> {
        let mut kept = Vec::new();
        for name in names {
            let Ok(reference) = Reference::parse(name) else {
                continue;
            };
            let familiar = [reference.familiar(), reference.repository().familiar()];
            for pattern in &self.references {
                if pattern::matches(pattern, &familiar[0])?
                    || pattern::matches(pattern, &familiar[1])?
                {
                    kept.push(name.clone());
                    break;
                }
            }
        }
        Ok(kept)
    }
}

/// `key` or `key=value`.
fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

/// Which hits of a search are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SearchFilter {
    is_automated: Option<bool>,
    is_official: Option<bool>,
    stars: i64,
}

impl SearchFilter {
    /// Makes filters ready.
    pub(crate) fn new(filters: &Filters) -> Result<Self, FilterError> {
        let mut stars = 0;
        for value in filters.get("stars") {
            let least = value
                .parse()
                .map_err(|_| FilterError::of_values("stars", filters.get("stars")))?;
            stars = stars.max(least);
        }
        Ok(Self {
            is_automated: filters.flag("is-automated")?,
            is_official: filters.flag("is-official")?,
            stars,
        })
    }

    /// Whether a hit is shown.
    pub(crate) fn lets_through(&self, result: &SearchResult) -> bool {
        self.is_automated
            .is_none_or(|wanted| result.is_automated == wanted)
            && self
                .is_official
                .is_none_or(|wanted| result.is_official == wanted)
            && result.star_count >= self.stars
    }
}
