//! What tables are made of, in the shape of the Engine API's JSON.
//!
//! Source: the definitions of `ImageSummary`, `BuildCache` and `HistoryResponseItem` in the Engine
//! API 1.41. Lists and maps may be null there.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Reads null as nothing, as Go does.
fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An image, as in the answer to `GET /images/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ImageSummary {
    /// The digest of its configuration.
    pub(crate) id: String,
    /// Names with tags.
    #[serde(deserialize_with = "or_nothing")]
    pub(crate) repo_tags: Vec<String>,
    /// Names with digests.
    #[serde(deserialize_with = "or_nothing")]
    pub(crate) repo_digests: Vec<String>,
    /// Seconds since 1970.
    pub(crate) created: i64,
    /// Bytes of all its layers.
    pub(crate) size: i64,
    /// Bytes of the layers that other images have too; -1 where nobody has counted.
    pub(crate) shared_size: i64,
    /// The same as the size. Docker 20.10 to 24 take `system df` from it.
    pub(crate) virtual_size: i64,
    /// Labels of its configuration.
    #[serde(deserialize_with = "or_nothing")]
    pub(crate) labels: BTreeMap<String, String>,
    /// How many containers use it; -1 where nobody has counted.
    pub(crate) containers: i64,
}

impl ImageSummary {
    /// Whether nothing names it. Older engines say that by names of their own.
    pub(crate) fn is_dangling(&self) -> bool {
        (self.repo_tags.is_empty() && self.repo_digests.is_empty())
            || (self.repo_tags == ["<none>:<none>"] && self.repo_digests == ["<none>@<none>"])
    }
}

/// A record of the build cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct BuildCache {
    /// Its id.
    #[serde(rename = "ID")]
    pub(crate) id: String,
    /// What it was made upon.
    pub(crate) parent: String,
    /// `regular` and so on.
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    /// What made it.
    pub(crate) description: String,
    /// Whether something uses it now.
    pub(crate) in_use: bool,
    /// Whether an image shares it; then it is not counted.
    pub(crate) shared: bool,
    /// Bytes.
    pub(crate) size: i64,
    /// RFC 3339.
    pub(crate) created_at: String,
    /// RFC 3339.
    pub(crate) last_used_at: Option<String>,
    /// How often it was used.
    pub(crate) usage_count: i64,
}

/// The answer to `GET /system/df`, without containers and volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DiskUsage {
    /// Bytes of all layers, each counted once.
    pub(crate) layers_size: i64,
    /// All images.
    #[serde(deserialize_with = "or_nothing")]
    pub(crate) images: Vec<ImageSummary>,
    /// The build cache.
    #[serde(deserialize_with = "or_nothing")]
    pub(crate) build_cache: Vec<BuildCache>,
}

/// A hit, as in the answer to `GET /images/search`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SearchResult {
    /// The repository.
    pub(crate) name: String,
    /// What it says of itself.
    pub(crate) description: String,
    /// How many people have given it a star.
    pub(crate) star_count: i64,
    /// Whether it is one of Docker's own.
    pub(crate) is_official: bool,
    /// Whether it was built by a registry, back when registries did.
    pub(crate) is_automated: bool,
}

/// One step of an image, the newest first in `GET /images/NAME/history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HistoryItem {
    /// The image that ended there, or `<missing>`.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: i64,
    /// The command.
    pub(crate) created_by: String,
    /// Tags of that image.
    #[serde(deserialize_with = "or_nothing")]
    pub(crate) tags: Vec<String>,
    /// Bytes of the step's layer.
    pub(crate) size: i64,
    /// What the step says of itself.
    pub(crate) comment: String,
}

/// What was untagged or deleted, as in the answers to `DELETE /images/NAME` and to a prune.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DeletedItem {
    /// A reference that is gone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) untagged: String,
    /// An image or a layer that is gone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) deleted: String,
}
