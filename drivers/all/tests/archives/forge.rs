//! Images and archives made in memory, as other tools write them and as nobody should.

use serde_json::{Value, json};
use strata_harness::tar::{Entry, archive};
use strata_store::Digest;

/// A tar that is put together.
#[derive(Default)]
pub(crate) struct Forged {
    entries: Vec<Entry>,
    attribute: Option<(String, Vec<u8>)>,
}

impl Forged {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn push(mut self, mut entry: Entry) -> Self {
        if let Some((name, value)) = self.attribute.take() {
            entry = entry.xattr(&name, value);
        }
        self.entries.push(entry.mtime(1_600_000_000, 5));
        self
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        self.push(Entry::dir(path.trim_end_matches('/')))
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.push(Entry::file(path, content).mode(0o640))
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.push(Entry::symlink(path, target))
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.push(Entry::hard_link(path, target))
    }

    /// The next entry has this attribute.
    pub(crate) fn attribute(mut self, name: &str, value: &[u8]) -> Self {
        self.attribute = Some((name.to_owned(), value.to_vec()));
        self
    }

    /// An entry as no honest tool writes it.
    pub(crate) fn raw(self, entry: Entry) -> Self {
        self.push(entry)
    }

    pub(crate) fn end(self) -> Vec<u8> {
        archive(&self.entries)
    }
}

/// Three layers with everything that makes a tar hard to write again.
pub(crate) fn layers() -> Vec<Vec<u8>> {
    let long = format!("etc/{}/{}", "d".repeat(90), "n".repeat(200));
    let mut sparse = vec![0; 1 << 20];
    sparse.extend_from_slice(b"end");
    let base = Forged::new()
        .directory("etc/")
        .file("etc/a", b"first content")
        .hard_link("etc/b", "etc/a")
        .symlink("etc/c", "../nowhere")
        .attribute("user.note", b"one\ntwo\0three")
        .file("noted", b"with an attribute")
        .file(&long, b"with a long name")
        .file("sparse", &sparse)
        .file("twice", b"this is overwritten")
        .file("twice", b"this stays")
        .file("empty", b"")
        .end();
    let middle = Forged::new()
        .directory("etc/")
        .file("etc/.wh..wh..opq", b"")
        .file("etc/new", &vec![7; 70_000])
        .file(".wh.noted", b"")
        .file("was-a-file", b"hidden by what follows")
        .directory("was-a-file/")
        .file("was-a-file/x", b"x")
        .end();
    let top = Forged::new().file("top", b"top").end();
    vec![base, middle, top]
}

/// Layers that every tool takes: podman refuses names that are given twice.
pub(crate) fn simple_layers() -> Vec<Vec<u8>> {
    let base = Forged::new()
        .directory("etc/")
        .file("etc/a", b"first content")
        .hard_link("etc/b", "etc/a")
        .attribute("user.note", b"one")
        .file("noted", b"with an attribute")
        .end();
    let middle = Forged::new()
        .file("etc/new", &vec![7; 70_000])
        .file(".wh.noted", b"")
        .end();
    let top = Forged::new().file("top", b"top").end();
    vec![base, middle, top]
}

pub(crate) fn config(layers: &[Vec<u8>], label: &str) -> Vec<u8> {
    let diffs: Vec<String> = layers
        .iter()
        .map(|tar| Digest::of(tar).to_string())
        .collect();
    json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-02-03T04:05:06Z",
        "config": { "Cmd": ["sh"], "Labels": { "made.for": label } },
        "rootfs": { "type": "layers", "diff_ids": diffs },
        "unknown": [1, 2],
    })
    .to_string()
    .into_bytes()
}

/// An image as `docker save` wrote it up to version 24.
pub(crate) fn docker_archive(name: &str, layers: &[Vec<u8>], config: &[u8]) -> Vec<u8> {
    let mut archive = Forged::new();
    let mut paths: Vec<String> = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        let directory = Digest::of(format!("{at}").as_bytes()).hex();
        archive = archive
            .directory(&format!("{directory}/"))
            .file(&format!("{directory}/VERSION"), b"1.0")
            .file(&format!("{directory}/json"), b"{}");
        let path = format!("{directory}/layer.tar");
        let same = layers[..at].iter().position(|other| other == layer);
        archive = match same {
            Some(same) => archive.symlink(&path, &format!("../{}", paths[same])),
            None => archive.file(&path, layer),
        };
        paths.push(path);
    }
    let config_name = format!("{}.json", Digest::of(config).hex());
    let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": paths }]);
    archive
        .file(&config_name, config)
        .file("manifest.json", manifest.to_string().as_bytes())
        .end()
}

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image in an OCI layout, piece by piece.
pub(crate) struct Layout {
    pub(crate) blobs: Vec<(Digest, Vec<u8>)>,
    pub(crate) manifest: Value,
    pub(crate) index: Value,
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes).to_string();
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}

impl Layout {
    /// Of layers that are blobs with these endings of their media type.
    pub(crate) fn new(config: &[u8], layers: &[(&str, Vec<u8>)]) -> Self {
        let descriptors: Vec<Value> = layers
            .iter()
            .map(|(kind, blob)| {
                descriptor(
                    &format!("application/vnd.oci.image.layer.v1.tar{kind}"),
                    blob,
                )
            })
            .collect();
        let mut blobs = vec![(Digest::of(config), config.to_vec())];
        blobs.extend(
            layers
                .iter()
                .map(|(_, blob)| (Digest::of(blob), blob.clone())),
        );
        Self {
            blobs,
            manifest: json!({
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": descriptor("application/vnd.oci.image.config.v1+json", config),
                "layers": descriptors,
            }),
            index: Value::Null,
        }
    }

    /// Its archive, with the manifest under this name in the index.
    pub(crate) fn archive(&self, name: &str) -> Vec<u8> {
        let manifest = self.manifest.to_string().into_bytes();
        let mut named = descriptor(OCI_MANIFEST, &manifest);
        named["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let index = json!({ "schemaVersion": 2, "manifests": [named] });
        let index = if self.index.is_null() {
            &index
        } else {
            &self.index
        };
        let mut archive = Forged::new()
            .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("index.json", index.to_string().as_bytes());
        let mut blobs = self.blobs.clone();
        blobs.push((Digest::of(&manifest), manifest));
        for (digest, blob) in blobs {
            archive = archive.file(&format!("blobs/sha256/{}", digest.hex()), &blob);
        }
        archive.end()
    }
}
