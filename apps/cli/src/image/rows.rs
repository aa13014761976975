//! The store's facts in the shape in which Docker's engine tells them.

use crate::docker::rows::ImageSummary;
use std::collections::HashMap;
use strata_image::images::familiar;
use strata_store::{Digest, Facts, ImageRow, ReferenceRow, Target};

/// All images with their names, the newest first.
pub(super) fn summaries(facts: &Facts) -> anyhow::Result<Vec<(ImageRow, ImageSummary)>> {
    let mut names: HashMap<Digest, Vec<ReferenceRow>> = HashMap::new();
    for row in facts.references()? {
        names.entry(row.image).or_default().push(row);
    }
    let images = facts.images()?.into_iter();
    Ok(images
        .map(|image| {
            let names = names.remove(&image.id).unwrap_or_default();
            let summary = summary(&image, &names);
            (image, summary)
        })
        .collect())
}

pub(super) fn summary(image: &ImageRow, names: &[ReferenceRow]) -> ImageSummary {
    let (mut repo_tags, mut repo_digests) = (Vec::new(), Vec::new());
    for name in names {
        let shown = familiar(&name.repository, &name.target);
        match name.target {
            Target::Tag(_) => repo_tags.push(shown),
            Target::Digest(_) => repo_digests.push(shown),
        }
    }
    ImageSummary {
        id: image.id.to_string(),
        repo_tags,
        repo_digests,
        created: image.created.unwrap_or(0),
        size: image.size.0 as i64,
        shared_size: -1,
        virtual_size: image.size.0 as i64,
        labels: image.labels.clone(),
        containers: -1,
    }
}
