//! An image's configuration: what it runs, what its layers are, and how it came about.

use super::{LARGEST_DOCUMENT, Platform};
use crate::{ImageError, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use strata_driver::DiffId;
use strata_store::{ChainId, parse_diff_id};

/// The configuration of an image. The digest of the bytes it was read from is the image's id.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageConfig {
    /// `linux`, `amd64` and a variant; empty where an old tool wrote none.
    pub platform: Platform,
    /// When it was made, by RFC 3339 as it stands there.
    pub created: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// The object `config` as it stands there; null if there is none.
    pub config: Value,
    /// The layers, base first.
    pub diff_ids: Vec<DiffId>,
    /// How it came about, first step first; empty where nobody wrote it.
    pub history: Vec<HistoryEntry>,
}

/// One step of an image's making.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct HistoryEntry {
    /// When, by RFC 3339 as it stands there.
    #[serde(default)]
    pub created: Option<String>,
    /// The command.
    #[serde(default)]
    pub created_by: Option<String>,
    /// Who.
    #[serde(default)]
    pub author: Option<String>,
    /// A remark.
    #[serde(default)]
    pub comment: Option<String>,
    /// Whether the step left the file system alone.
    #[serde(default)]
    pub empty_layer: Option<bool>,
}

/// How to run an image, typed. What is not listed here is in [`ImageConfig::config`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// User and group.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// Variables, each `NAME=VALUE`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The program that always runs.
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// The program or its arguments, unless others are given.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Where it starts.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Further facts.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Paths that want a volume.
    #[serde(deserialize_with = "or_default")]
    pub volumes: BTreeMap<String, Value>,
    /// Ports that it listens on.
    #[serde(deserialize_with = "or_default")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// How it is stopped.
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
    /// What runs the shell form of commands.
    #[serde(deserialize_with = "or_default")]
    pub shell: Vec<String>,
    /// Instructions for an image that is built upon this one.
    #[serde(deserialize_with = "or_default")]
    pub on_build: Vec<String>,
}

/// Go writes `null` for what is empty.
fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default, deserialize_with = "or_default")]
    architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    os: String,
    #[serde(default, deserialize_with = "or_default")]
    variant: String,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    config: Value,
    rootfs: Option<RootFs>,
    #[serde(default)]
    history: Option<Vec<HistoryEntry>>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

impl ImageConfig {
    /// Reads a configuration.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > LARGEST_DOCUMENT {
            let why = format!("it has {} bytes, more than {LARGEST_DOCUMENT}", bytes.len());
            return Err(refused(why));
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        // Docker: "Invalid image JSON, no RootFS key".
        let rootfs = raw.rootfs.ok_or_else(|| refused("it has no `rootfs`"))?;
        if rootfs.kind != "layers" {
            return Err(refused(format!("its rootfs is of type `{}`", rootfs.kind)));
        }
        let diff_ids = rootfs.diff_ids.unwrap_or_default();
        let diff_ids = diff_ids
            .iter()
            .map(|text| parse_diff_id(text).map_err(|error| refused(error.to_string())))
            .collect::<Result<Vec<_>>>()?;
        if !matches!(raw.config, Value::Null | Value::Object(_)) {
            return Err(refused("its `config` is no object"));
        }
        let config = Self {
            platform: Platform {
                os: raw.os,
                architecture: raw.architecture,
                variant: raw.variant,
            },
            created: raw.created,
            author: raw.author,
            config: raw.config,
            diff_ids,
            history: raw.history.unwrap_or_default(),
        };
        let made = config
            .history
            .iter()
            .filter(|step| !step.is_empty())
            .count();
        if !config.history.is_empty() && made != config.diff_ids.len() {
            let layers = config.diff_ids.len();
            return Err(refused(format!(
                "its history makes {made} layers, and its rootfs has {layers}"
            )));
        }
        Ok(config)
    }

    /// Refuses a configuration that belongs to another number of layers than its manifest.
    pub fn check_layers(&self, in_manifest: usize) -> Result<()> {
        let count = self.diff_ids.len();
        if count == in_manifest {
            return Ok(());
        }
        Err(refused(format!(
            "it has {count} layers, and the manifest has {in_manifest}"
        )))
    }

    /// The names of its layers together with all below them, base first.
    pub fn chain_ids(&self) -> Vec<ChainId> {
        self.diff_ids
            .iter()
            .scan(None, |parent, diff| {
                *parent = Some(ChainId::of(*parent, *diff));
                *parent
            })
            .collect()
    }

    /// When it was made, in seconds since 1970; none where it does not say so, or not by RFC 3339.
    pub fn created_seconds(&self) -> Option<i64> {
        let created: jiff::Timestamp = self.created.as_deref()?.parse().ok()?;
        Some(created.as_second())
    }

    /// How to run it.
    pub fn run(&self) -> Result<RunConfig> {
        if self.config.is_null() {
            return Ok(RunConfig::default());
        }
        RunConfig::deserialize(&self.config).map_err(|error| refused(error.to_string()))
    }
}

impl HistoryEntry {
    /// Whether the step made no layer.
    pub fn is_empty(&self) -> bool {
        self.empty_layer.unwrap_or_default()
    }
}

fn refused(why: impl Into<String>) -> ImageError {
    ImageError::document("image configuration", why)
}
