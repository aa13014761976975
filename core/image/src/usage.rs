//! What images and their layers take: in their tars, in the driver, and in files beside it.

use crate::Result;
use crate::images::familiar;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use strata_driver::{DiffId, Usage};
use strata_store::{ChainId, Digest, LayerRow, Layers, name_of};

/// Bytes in each of the places where a layer takes some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Taken {
    /// Bytes of the contents in its tar: the layer's size, on every driver.
    pub contents: u64,
    /// Bytes of its tar.
    pub tar: u64,
    /// Bytes that the driver takes for it.
    pub driver: u64,
    /// Inodes that the driver takes for it.
    pub inodes: u64,
    /// Bytes of its tree that the driver shares with what it stands on; none where it cannot tell.
    pub driver_shared: Option<u64>,
    /// Bytes of the blob that it came from, where that is kept.
    pub blob: u64,
    /// Bytes of its journal.
    pub journal: u64,
}

/// What a layer takes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LayerUsage {
    /// The layer with all below it.
    pub chain: ChainId,
    /// The layer alone.
    pub diff: DiffId,
    /// What it takes.
    #[serde(flatten)]
    pub taken: Taken,
    /// The images that have it.
    pub images: Vec<Digest>,
}

/// What an image takes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ImageUsage {
    /// The image.
    pub id: Digest,
    /// Its names.
    pub names: Vec<String>,
    /// Its layers, base first.
    pub layers: Vec<ChainId>,
    /// All of its layers together.
    pub all: Taken,
    /// Those that no other image has.
    pub exclusive: Taken,
    /// Those that others have too.
    pub shared: Taken,
}

/// What images and layers take.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct UsageReport {
    /// Images.
    pub images: Vec<ImageUsage>,
    /// Their layers, each once, in the order in which the images have them.
    pub layers: Vec<LayerUsage>,
}

/// Says what one image takes, or all of them.
pub async fn usage(layers: &Layers, image: Option<&Digest>) -> Result<UsageReport> {
    let facts = layers.store().facts();
    let mut report = UsageReport::default();
    let mut known: BTreeMap<ChainId, LayerUsage> = BTreeMap::new();
    for row in facts.images()? {
        if image.is_some_and(|wanted| *wanted != row.id) {
            continue;
        }
        let names = facts.references_of(&row.id)?;
        let mut used = ImageUsage {
            id: row.id,
            names: names
                .iter()
                .map(|name| familiar(&name.repository, &name.target))
                .collect(),
            layers: Vec::new(),
            all: Taken::default(),
            exclusive: Taken::default(),
            shared: Taken::default(),
        };
        for layer in facts.layers_of(&row.id)? {
            let found = match known.entry(layer.chain) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let taken = of_layer(layers, &layer).await?;
                    report.layers.push(taken.clone());
                    new.insert(taken)
                }
            };
            used.layers.push(layer.chain);
            used.all.add(&found.taken);
            if found.images.len() > 1 {
                used.shared.add(&found.taken);
            } else {
                used.exclusive.add(&found.taken);
            }
        }
        report.images.push(used);
    }
    Ok(report)
}

async fn of_layer(layers: &Layers, row: &LayerRow) -> Result<LayerUsage> {
    let store = layers.store();
    let Usage {
        bytes,
        inodes,
        shared,
    } = layers.driver().usage(&name_of(&row.chain)).await?;
    let blob = match layers.blob_of(&row.chain).await? {
        Some(blob) => store.facts().blob(&blob)?,
        None => None,
    };
    let journal = fs_err::metadata(store.layout().journal(row.diff));
    let images: BTreeSet<Digest> = store.facts().images_with(&row.chain)?.into_iter().collect();
    Ok(LayerUsage {
        chain: row.chain,
        diff: row.diff,
        taken: Taken {
            contents: row.contents.0,
            tar: row.size.0,
            driver: bytes.0,
            inodes: inodes.0,
            driver_shared: shared.map(|bytes| bytes.0),
            blob: blob.map_or(0, |bytes| bytes.0),
            // A journal that is gone takes nothing; to say so is a check's business.
            journal: journal.map_or(0, |file| file.len()),
        },
        images: images.into_iter().collect(),
    })
}

impl Taken {
    fn add(&mut self, other: &Self) {
        self.contents += other.contents;
        self.tar += other.tar;
        self.driver += other.driver;
        self.inodes += other.inodes;
        self.blob += other.blob;
        self.journal += other.journal;
        if let Some(shared) = other.driver_shared {
            *self.driver_shared.get_or_insert(0) += shared;
        }
    }

    fn columns(&self) -> [String; 7] {
        [
            self.contents.to_string(),
            self.tar.to_string(),
            self.driver.to_string(),
            self.driver_shared
                .map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
            self.inodes.to_string(),
            self.blob.to_string(),
            self.journal.to_string(),
        ]
    }
}

const HEADINGS: [&str; 8] = [
    "IMAGE", "CONTENTS", "TAR", "DRIVER", "SHARED", "INODES", "BLOB", "JOURNAL",
];

impl fmt::Display for UsageReport {
    /// Bytes, a line for each layer and three for each image.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: Vec<Vec<String>> = vec![HEADINGS.map(str::to_owned).to_vec()];
        let mut row = |name: String, taken: &Taken, images: Option<usize>| {
            let mut row = vec![name];
            row.extend(taken.columns());
            row.extend(images.map(|count| match count {
                1 => "1 image".to_owned(),
                count => format!("{count} images"),
            }));
            rows.push(row);
        };
        for image in &self.images {
            let id = crate::pull::short(&image.id);
            row(image.names.first().cloned().unwrap_or(id), &image.all, None);
            row("  exclusive".to_owned(), &image.exclusive, None);
            row("  shared".to_owned(), &image.shared, None);
            for chain in &image.layers {
                let of_chain = self.layers.iter().find(|layer| layer.chain == *chain);
                if let Some(layer) = of_chain {
                    let digest = layer.diff.to_string();
                    let name = format!("    {}", &digest["sha256:".len()..][..12]);
                    row(name, &layer.taken, Some(layer.images.len()));
                }
            }
        }
        let width = |at: usize| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            cells.map(String::len).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
        for row in &rows {
            let cells = row
                .iter()
                .enumerate()
                .map(|(at, cell)| match (at, widths.get(at)) {
                    (0, Some(width)) => format!("{cell:<width$}"),
                    (_, Some(width)) => format!("{cell:>width$}"),
                    (_, None) => cell.clone(),
                });
            let line = cells.collect::<Vec<_>>().join("   ");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(contents: u64, driver_shared: Option<u64>) -> Taken {
        Taken {
            contents,
            tar: contents + 1536,
            driver: contents + 4096,
            inodes: 3,
            driver_shared,
            blob: contents / 2,
            journal: 200,
        }
    }

    #[test]
    fn a_report_is_a_table() {
        let digest = |byte: u8| Digest::from_sha256([byte; 32]);
        let layer = |byte: u8, contents, images: &[Digest]| LayerUsage {
            chain: ChainId::from_sha256([byte; 32]),
            diff: DiffId::from_sha256([byte; 32]),
            taken: taken(contents, None),
            images: images.to_vec(),
        };
        let layers = vec![
            layer(1, 70_000, &[digest(9), digest(8)]),
            layer(2, 5, &[digest(9)]),
        ];
        let image = ImageUsage {
            id: digest(9),
            names: vec!["app:latest".into()],
            layers: layers.iter().map(|layer| layer.chain).collect(),
            all: taken(70_005, None),
            exclusive: taken(5, None),
            shared: taken(70_000, Some(12)),
        };
        let report = UsageReport {
            images: vec![image],
            layers,
        };
        let expected = "\
IMAGE              CONTENTS     TAR   DRIVER   SHARED   INODES    BLOB   JOURNAL
app:latest            70005   71541    74101        -        3   35002       200
  exclusive               5    1541     4101        -        3       2       200
  shared              70000   71536    74096       12        3   35000       200
    010101010101      70000   71536    74096        -        3   35000       200   2 images
    020202020202          5    1541     4101        -        3       2       200   1 image
";
        assert_eq!(report.to_string(), expected, "\n{report}");
    }
}
