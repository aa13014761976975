//! Images made in memory, for a registry or as an archive.

use serde_json::{Value, json};
use std::io::Write as _;
use strata_harness::tar::{self, Entry};
use strata_image::document::{Descriptor, media_type};
use strata_image::testing::FakeRegistry;
use strata_store::{ChainId, Digest, parse_diff_id};

/// A layer: its blob, and the digest of the tar that is said to be in it.
#[derive(Clone, Debug)]
pub struct Packed {
    pub media_type: &'static str,
    pub bytes: Vec<u8>,
    pub diff: Digest,
}

impl Packed {
    pub fn gzip(tar: &[u8]) -> Self {
        Self {
            media_type: media_type::OCI_LAYER_GZIP,
            bytes: gzip(tar),
            diff: Digest::of(tar),
        }
    }

    pub fn zstd(tar: &[u8]) -> Self {
        Self {
            media_type: media_type::OCI_LAYER_ZSTD,
            bytes: zstd::encode_all(tar, 1).unwrap(),
            diff: Digest::of(tar),
        }
    }

    pub fn plain(tar: &[u8]) -> Self {
        Self {
            media_type: media_type::OCI_LAYER,
            bytes: tar.to_vec(),
            diff: Digest::of(tar),
        }
    }

    /// With other bytes in the blob.
    pub fn holding(mut self, bytes: Vec<u8>) -> Self {
        self.bytes = bytes;
        self
    }

    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(
            self.media_type,
            Digest::of(&self.bytes),
            self.bytes.len() as u64,
        )
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    pub config: Vec<u8>,
    pub layers: Vec<Packed>,
}

impl Image {
    pub fn of(layers: Vec<Packed>) -> Self {
        let config = config_of(&layers).to_string().into_bytes();
        Self { config, layers }
    }

    /// A good one of two layers that no other name has. Its second layer does not compress, so
    /// that its blob can be cut in the middle.
    pub fn named(name: &str) -> Self {
        let mut noise = Vec::new();
        for round in 0..100 {
            noise.extend(Digest::of(format!("{name} {round}").as_bytes()).as_bytes());
        }
        let first = tar::archive(&[Entry::dir("etc"), Entry::file("etc/name", name)]);
        let second = tar::archive(&[Entry::file("noise", noise)]);
        Self::of(vec![Packed::gzip(&first), Packed::gzip(&second)])
    }

    pub fn config(&self) -> Descriptor {
        Descriptor::new(
            media_type::OCI_CONFIG,
            Digest::of(&self.config),
            self.config.len() as u64,
        )
    }

    pub fn manifest(&self) -> Value {
        let layers: Vec<_> = self.layers.iter().map(Packed::descriptor).collect();
        json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": self.config(),
            "layers": layers,
        })
    }

    /// The name of its top layer with all below.
    pub fn top(&self) -> ChainId {
        let chains = self.layers.iter().fold(None, |below, layer| {
            let diff = parse_diff_id(&layer.diff.to_string()).unwrap();
            Some(ChainId::of(below, diff))
        });
        chains.unwrap()
    }

    /// Gives a registry its blobs.
    pub fn serve_blobs(&self, registry: &FakeRegistry) {
        registry.add_blob(media_type::OCI_CONFIG, &self.config);
        for layer in &self.layers {
            registry.add_blob(layer.media_type, &layer.bytes);
        }
    }

    /// Puts it into a registry as `NAME:latest`.
    pub fn serve(&self, registry: &FakeRegistry, name: &str) {
        self.serve_blobs(registry);
        serve_manifest(registry, name, &self.manifest());
    }

    /// An archive in the OCI layout that holds it as `NAME:latest`.
    pub fn archive(&self, name: &str) -> Vec<u8> {
        let manifest = self.manifest().to_string().into_bytes();
        let mut descriptor = json!(Descriptor::new(
            media_type::OCI_MANIFEST,
            Digest::of(&manifest),
            manifest.len() as u64
        ));
        descriptor["annotations"] = json!({"io.containerd.image.name": format!("{name}:latest")});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": [descriptor],
        });
        let mut entries = vec![
            Entry::file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
            Entry::file("index.json", index.to_string()),
        ];
        let layers = self.layers.iter().map(|layer| &layer.bytes);
        let mut blobs: Vec<_> = [&manifest, &self.config]
            .into_iter()
            .chain(layers)
            .collect();
        blobs.sort();
        blobs.dedup();
        for blob in blobs {
            let path = format!("blobs/sha256/{}", Digest::of(blob).hex());
            entries.push(Entry::file(path, blob));
        }
        tar::archive(&entries)
    }
}

pub fn config_of(layers: &[Packed]) -> Value {
    let diffs: Vec<_> = layers.iter().map(|layer| layer.diff.to_string()).collect();
    json!({
        "architecture": strata_image::document::Platform::host().architecture,
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    })
}

pub fn serve_manifest(registry: &FakeRegistry, name: &str, manifest: &Value) -> Digest {
    let media_type = manifest["mediaType"].as_str().unwrap();
    let bytes = manifest.to_string();
    registry.add_manifest(name, "latest", media_type, bytes.as_bytes())
}
