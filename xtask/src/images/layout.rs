//! Blobs, configurations, manifests and the index: the image layout, as the image specification
//! has it (`image-layout.md`, `manifest.md`, `config.md`, `image-index.md`).

use super::recipe::{Compression, IMAGES, Image, LAYERS, Layer};
use crate::quiet::run_silently;
use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// When everything was made: later than this is no file, and nothing is younger.
const CREATED: &str = "2025-01-01T00:00:00Z";
const CREATED_SECONDS: &str = "@1735689600";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

impl Compression {
    fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// What compresses standard input. More than one process of pigz always gives the same bytes,
    /// however many they are; so does one thread of zstd.
    fn command(self) -> &'static str {
        match self {
            Self::Gzip => "pigz -p 2 -n -6",
            Self::Zstd => "zstd --quiet --single-thread -3 --stdout",
        }
    }
}

#[derive(Clone, Debug)]
struct Blob {
    digest: String,
    size: u64,
}

impl Blob {
    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.size })
    }
}

/// The layout under way.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    directory: PathBuf,
    debian: &'a Path,
    /// Of each layer by name.
    diff_ids: BTreeMap<&'static str, String>,
    layers: BTreeMap<(&'static str, Compression), Blob>,
}

impl<'a> Layout<'a> {
    pub(super) fn begin(directory: &Path, debian: &'a Path) -> anyhow::Result<Self> {
        fs_err::create_dir_all(directory.join("blobs/sha256"))?;
        Ok(Self {
            directory: directory.to_owned(),
            debian,
            diff_ids: BTreeMap::new(),
            layers: BTreeMap::new(),
        })
    }

    /// Makes the blobs of all layers.
    pub(super) fn pack(&mut self, sh: &Shell) -> anyhow::Result<()> {
        for layer in LAYERS {
            let tar = self.tar(sh, layer.name)?;
            self.diff_ids
                .insert(layer.name, measure(&tar, "the tar of a layer")?.digest);
            for compression in [Compression::Gzip, Compression::Zstd] {
                let is_wanted = IMAGES.iter().any(|image| {
                    let others = image.others.iter().flat_map(|other| other.layers);
                    image.compression == compression
                        && image
                            .layers
                            .iter()
                            .chain(others)
                            .any(|name| *name == layer.name)
                });
                if is_wanted {
                    let blob = self.compress(sh, compression)?;
                    self.layers.insert((layer.name, compression), blob);
                }
            }
        }
        Ok(())
    }

    /// Packs one tree; there is one tar at a time.
    fn tar(&self, sh: &Shell, layer: &str) -> anyhow::Result<PathBuf> {
        let debian = self.debian;
        let tree = debian.join("mnt/trees").join(layer);
        // What is in the root, and not the root itself: layers leave its attributes alone.
        let names = fs_err::read_dir(&tree)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<anyhow::Result<BTreeSet<_>>>()?;
        let younger = format!("--mtime={CREATED_SECONDS}");
        run_silently(
            cmd!(
                sh,
                "chroot {debian} tar --create --file=/mnt/layer.tar --directory=/mnt/trees/{layer}"
            )
            .args(["--format=posix", "--sort=name", "--numeric-owner"])
            .args(["--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"])
            .args(["--xattrs", "--xattrs-include=*", &younger, "--clamp-mtime"])
            .args(names),
        )?;
        Ok(debian.join("mnt/layer.tar"))
    }

    fn compress(&self, sh: &Shell, compression: Compression) -> anyhow::Result<Blob> {
        let debian = self.debian;
        let script = format!(
            "{} < /mnt/layer.tar > /mnt/layer.blob",
            compression.command()
        );
        run_silently(cmd!(sh, "chroot {debian} sh -euc {script}"))?;
        let made = debian.join("mnt/layer.blob");
        let blob = measure(&made, "the blob of a layer")?;
        fs_err::copy(made, self.place(&blob))?;
        Ok(blob)
    }

    fn place(&self, blob: &Blob) -> PathBuf {
        self.directory
            .join("blobs")
            .join(blob.digest.replace(':', "/"))
    }

    fn put(&self, document: &Value) -> anyhow::Result<Blob> {
        let bytes = serde_json::to_vec(document)?;
        let blob = Blob {
            digest: format!("sha256:{}", hex::encode(Sha256::digest(&bytes))),
            size: bytes.len() as u64,
        };
        fs_err::write(self.place(&blob), bytes)?;
        Ok(blob)
    }

    /// Writes all images for a host with this processor, and the index that names them.
    pub(super) fn write_images(&self, architecture: &str) -> anyhow::Result<()> {
        let mut named = Vec::new();
        for image in IMAGES {
            let own = self.manifest(image, image.layers, architecture)?;
            let mut descriptor = if image.others.is_empty() {
                own.descriptor(MANIFEST)
            } else {
                self.index(image, &own, architecture)?.descriptor(INDEX)
            };
            descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": image.name });
            named.push(descriptor);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": named });
        fs_err::write(
            self.directory.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        fs_err::write(
            self.directory.join("index.json"),
            serde_json::to_vec(&index)?,
        )?;
        Ok(())
    }

    fn index(&self, image: &Image, own: &Blob, architecture: &str) -> anyhow::Result<Blob> {
        let of = |manifest: &Blob, architecture: &str| {
            let mut descriptor = manifest.descriptor(MANIFEST);
            descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
            descriptor
        };
        let mut manifests = vec![of(own, architecture)];
        for other in image.others {
            let other_architecture = other
                .architectures
                .into_iter()
                .find(|other| *other != architecture)
                .context("there are two")?;
            let manifest = self.manifest(image, other.layers, other_architecture)?;
            manifests.push(of(&manifest, other_architecture));
        }
        self.put(&json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }))
    }

    fn manifest(
        &self,
        image: &Image,
        layers: &[&'static str],
        architecture: &str,
    ) -> anyhow::Result<Blob> {
        let diff_ids: Vec<&String> = layers.iter().map(|name| &self.diff_ids[name]).collect();
        let config = self.put(&json!({
            "created": CREATED,
            "author": "Strata's tests",
            "architecture": architecture,
            "os": "linux",
            "config": {
                "User": "",
                "ExposedPorts": { "8080/tcp": {} },
                "Env": [
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    format!("IMAGE={}", image.name),
                ],
                "Entrypoint": null,
                "Cmd": ["/bin/bash"],
                "WorkingDir": "/srv",
                "Labels": { "org.opencontainers.image.title": image.name, "strata.test": "1" },
                "StopSignal": "SIGTERM",
            },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history(layers),
        }))?;
        let layers: Vec<Value> = layers
            .iter()
            .map(|name| {
                let blob = &self.layers[&(*name, image.compression)];
                blob.descriptor(image.compression.media_type())
            })
            .collect();
        self.put(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(CONFIG),
            "layers": layers,
        }))
    }
}

/// One entry a layer, and some of steps that changed no file.
fn history(layers: &[&str]) -> Vec<Value> {
    let of = |name: &&str| -> &Layer {
        LAYERS
            .iter()
            .find(|layer| layer.name == *name)
            .expect("recipes name layers that are made")
    };
    let step = |made_by: &str| json!({ "created": CREATED, "created_by": made_by });
    let empty =
        |made_by: &str| json!({ "created": CREATED, "created_by": made_by, "empty_layer": true });
    let mut entries: Vec<Value> = layers.iter().map(|name| step(of(name).made_by)).collect();
    entries.insert(1, empty("ENV IMAGE=test"));
    entries.insert(2, empty("WORKDIR /srv"));
    entries.push(empty("EXPOSE map[8080/tcp:{}]"));
    entries.push(empty("CMD [\"/bin/bash\"]"));
    entries
}

fn measure(file: &Path, what: &str) -> anyhow::Result<Blob> {
    let mut reader = fs_err::File::open(file).context(what.to_owned())?;
    let (mut hash, mut size) = (Sha256::new(), 0_u64);
    let mut block = vec![0; 256 << 10];
    loop {
        let length = reader.read(&mut block)?;
        if length == 0 {
            break;
        }
        hash.update(&block[..length]);
        size += length as u64;
    }
    Ok(Blob {
        digest: format!("sha256:{}", hex::encode(hash.finalize())),
        size,
    })
}
