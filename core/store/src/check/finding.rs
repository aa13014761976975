//! What a check tells.

use super::Repaired;
use crate::ids::{ChainId, Digest};
use std::fmt;
use std::path::PathBuf;
use strata_driver::{Bytes, DiffId};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is there and wrong.
    Corrupt,
    /// It should be there.
    Missing,
    /// It is there and belongs to nothing.
    Stray,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "name")]
pub enum Subject {
    /// An image, by its id.
    Image(Digest),
    /// The name of an image.
    Reference(String),
    /// A layer with all below it.
    Layer(ChainId),
    /// A blob.
    Blob(Digest),
    /// The journal of the layers with this diff.
    #[serde(serialize_with = "as_text")]
    Journal(DiffId),
    /// A snapshot of the driver.
    Snapshot(String),
    /// A file or a directory in the store's root.
    File(PathBuf),
}

fn as_text<S: serde::Serializer>(diff: &DiffId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(diff)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(id) => write!(f, "image {id}"),
            Self::Reference(name) => write!(f, "name {name}"),
            Self::Layer(chain) => write!(f, "layer {chain}"),
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Journal(diff) => write!(f, "journal {diff}"),
            Self::Snapshot(name) => write!(f, "snapshot {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// What is wrong.
    pub why: String,
    /// Path inside the layer, where one is to blame.
    pub path: Option<String>,
    /// The way out.
    pub mend: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Corrupt => "corrupt",
            Severity::Missing => "missing",
            Severity::Stray => "stray",
        };
        write!(f, "{severity}: {}: {}", self.subject, self.why)?;
        match &self.path {
            Some(path) => write!(f, " (`{path}`)"),
            None => Ok(()),
        }
    }
}

/// What has been looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Checked {
    /// Images.
    pub images: u64,
    /// Names of images.
    pub references: u64,
    /// Layers.
    pub layers: u64,
    /// Entries of layers that were looked at in their trees.
    pub entries: u64,
    /// Journals.
    pub journals: u64,
    /// Blobs.
    pub blobs: u64,
    /// Snapshots of the driver.
    pub snapshots: u64,
    /// Bytes that were hashed.
    pub hashed: Bytes,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckReport {
    /// What is wrong; after a repair, what still is.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub checked: Checked,
    /// Nobody else was at work. If somebody was, what belongs to nothing was not looked for: it
    /// may be new.
    pub is_quiet: bool,
    /// What was wrong before a repair.
    pub before: Vec<Finding>,
    /// What the repair did.
    pub repaired: Vec<Repaired>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    pub(super) fn find(
        &mut self,
        severity: Severity,
        subject: Subject,
        why: impl Into<String>,
        mend: &str,
    ) {
        self.findings.push(Finding {
            severity,
            subject,
            why: why.into(),
            path: None,
            mend: mend.to_owned(),
        });
    }
}

/// Ways out.
pub(super) mod mend {
    pub(crate) const REMOVE: &str = "`strata check --repair` removes it";
    pub(crate) const TAKE_IN: &str = "`strata check --repair` takes it in, or removes it";
    pub(crate) const LAYER: &str = "`strata check --repair` makes the layer again from its blob; without the blob, \
         remove its images and pull them again";
    pub(crate) const JOURNAL: &str = "`strata check --repair` makes it again from the \
         layer's blob";
    pub(crate) const PULL: &str = "pull the image again; a blob that is the layer's tar as it is \
         `strata check --repair` makes again";
    pub(crate) const IMAGE: &str = "remove the image and pull it again";
    pub(crate) const FOREIGN: &str =
        "`strata snapshot remove` removes it, if nobody needs it any more";
}
