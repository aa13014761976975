//! Images of a few megabytes, made for being interrupted, as an OCI layout.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::io::Write as _;
use std::path::Path;
use strata_harness::images::ImageLayout;
use strata_harness::seed::{Generator, Seed};
use strata_harness::tar::{Entry, archive};
use strata_store::Digest;

/// Two layers that `wide` stands on as well.
pub const BASE: &str = "base";
/// Five layers of some megabytes, the lower two those of `base`: long fetches and extractions.
pub const WIDE: &str = "wide";
/// Twelve layers of next to nothing: many commits.
pub const TALL: &str = "tall";
/// One layer of next to nothing.
pub const TINY: &str = "tiny";

pub const ALL: &[&str] = &[BASE, WIDE, TALL, TINY];

/// Makes them below `directory`.
pub fn make(directory: &Path) -> ImageLayout {
    let writer = Writer { directory };
    fs_err::create_dir_all(directory.join("blobs/sha256")).unwrap();
    let mut random = Seed(1).generator("little images");
    let bottom = writer.layer(&files(&mut random, "bottom", 200, 2_000, 1 << 20));
    let second = writer.layer(&files(&mut random, "second", 300, 500, 512 << 10));
    let wide = [
        bottom.clone(),
        second.clone(),
        writer.layer(&files(&mut random, "third", 50, 1_000, 6 << 20)),
        writer.layer(&over(&mut random)),
        writer.layer(&files(&mut random, "fifth", 800, 300, 2 << 20)),
    ];
    let tall: Vec<Layer> = (0..12)
        .map(|at| writer.layer(&files(&mut random, &format!("tall{at}"), 3, 100, 1_000)))
        .collect();
    let tiny = [writer.layer(&files(&mut random, "tiny", 2, 100, 1_000))];
    let images: [(&str, &[Layer]); 4] = [
        (BASE, &[bottom, second]),
        (WIDE, &wide),
        (TALL, &tall),
        (TINY, &tiny),
    ];
    let manifests: Vec<_> = images
        .iter()
        .map(|(name, layers)| writer.image(name, layers))
        .collect();
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    fs_err::write(directory.join("index.json"), index.to_string()).unwrap();
    fs_err::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    ImageLayout::at(directory)
}

/// A layer in a blob.
#[derive(Clone)]
struct Layer {
    diff: Digest,
    blob: Digest,
    size: usize,
}

struct Writer<'a> {
    directory: &'a Path,
}

impl Writer<'_> {
    fn blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let path = self.directory.join("blobs/sha256").join(digest.hex());
        fs_err::write(path, bytes).unwrap();
        digest
    }

    fn layer(&self, entries: &[Entry]) -> Layer {
        let tar = archive(entries);
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&tar).unwrap();
        let packed = packed.finish().unwrap();
        Layer {
            diff: Digest::of(&tar),
            blob: self.blob(&packed),
            size: packed.len(),
        }
    }

    fn image(&self, name: &str, layers: &[Layer]) -> serde_json::Value {
        let diffs: Vec<_> = layers.iter().map(|layer| layer.diff.to_string()).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": { "Labels": { "name": name } },
            "rootfs": { "type": "layers", "diff_ids": diffs },
        })
        .to_string();
        let descriptors: Vec<_> = layers
            .iter()
            .map(|layer| {
                json!({
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": layer.blob.to_string(),
                    "size": layer.size,
                })
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self.blob(config.as_bytes()).to_string(),
                "size": config.len(),
            },
            "layers": descriptors,
        })
        .to_string();
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": self.blob(manifest.as_bytes()).to_string(),
            "size": manifest.len(),
            "annotations": { "org.opencontainers.image.ref.name": name },
        })
    }
}

/// A directory of small files, and one large one that does not compress.
fn files(
    random: &mut Generator,
    name: &str,
    count: usize,
    size: usize,
    large: usize,
) -> Vec<Entry> {
    let mut entries = vec![Entry::dir(name)];
    for at in 0..count {
        let content = format!("{name} {at} ").repeat(size / 8);
        entries.push(Entry::file(format!("{name}/{at}"), content));
    }
    entries.push(Entry::file(format!("{name}/large"), random.bytes(large)));
    entries
}

/// Changes to what lies below: files that go and files that are exchanged.
fn over(random: &mut Generator) -> Vec<Entry> {
    let mut entries = files(random, "second", 100, 700, 256 << 10);
    for at in 0..50 {
        entries.push(Entry::whiteout(&format!("bottom/{at}")));
    }
    entries.push(Entry::file("linked", "once"));
    entries.push(Entry::hard_link("again", "linked"));
    entries
}
