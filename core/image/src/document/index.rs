//! An index: images of one name for several platforms, and the choice among them.

use super::{Descriptor, Platform, media_type};
use crate::{ImageError, Result};
use std::collections::BTreeMap;

/// Images for several platforms under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The OCI or the Docker name of this document's type.
    pub media_type: String,
    /// What it leads to.
    pub manifests: Vec<IndexEntry>,
    /// Further facts.
    pub annotations: BTreeMap<String, String>,
}

/// One line of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The manifest.
    pub descriptor: Descriptor,
    /// What it runs on, if the index says so.
    pub platform: Option<Platform>,
    /// Set for what is no image, such as a signature.
    pub artifact_type: Option<String>,
}

impl Index {
    /// The manifest for `wanted`: the best that such a host can run, as containerd chooses, and
    /// of several equal ones the first. One without a platform is taken if no other fits.
    pub fn choose(&self, wanted: &Platform) -> Result<&Descriptor> {
        let images = || {
            self.manifests.iter().filter(|entry| {
                entry.artifact_type.is_none()
                    && matches!(
                        entry.descriptor.media_type.as_str(),
                        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST | ""
                    )
            })
        };
        let ranked = images().filter_map(|entry| {
            let rank = wanted.rank_of(entry.platform.as_ref()?)?;
            Some((rank, entry))
        });
        let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry);
        best.or_else(|| images().find(|entry| entry.platform.is_none()))
            .map(|entry| &entry.descriptor)
            .ok_or_else(|| ImageError::NoPlatform {
                platform: wanted.to_string(),
            })
    }
}
