//! Registries that fail and documents that lie.

use super::ground::{complaint, is_clean, shows_no_image};
use super::image::{Image, Packed, config_of, gzip, serve_manifest};
use crate::support::{Cell, Store, cells, stderr};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use strata_image::document::media_type;
use strata_image::testing::{FakeRegistry, Fault};
use strata_store::{Digest, Layout};

/// Room for some hundred layers of a few kilobytes.
const ROOM: u64 = 2 << 30;
const ALWAYS: usize = usize::MAX;
/// Attempts in all; few, and a second's silence is too long.
const ATTEMPTS: usize = 2;
const PATIENCE: &str = "registries: {attempts: 2, timeout: 1}\n";
/// Pulls of one store at once: most of them wait for a registry that does not answer.
const AT_ONCE: usize = 6;

/// What is fetched for an image beside its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Config,
    First,
    Second,
}
use Part::{Config, First, Second};

/// One way to go wrong.
struct Case {
    name: &'static str,
    /// What the registry serves and does.
    serve: fn(&Served<'_>),
    /// What the error's line says, among other things.
    told: &'static str,
    /// What need not be fetched again when the image is mended.
    kept: &'static [Part],
    /// How often a request that contains this is made.
    asked: Option<(&'static str, usize)>,
}

impl Case {
    const fn new(name: &'static str, serve: fn(&Served<'_>), told: &'static str) -> Self {
        Self {
            name,
            serve,
            told,
            kept: &[],
            asked: None,
        }
    }

    const fn keeps(mut self, kept: &'static [Part]) -> Self {
        self.kept = kept;
        self
    }

    const fn asks(mut self, what: &'static str, times: usize) -> Self {
        self.asked = Some((what, times));
        self
    }
}

/// What a case works with: the good image, to be spoilt, and the registry.
struct Served<'a> {
    registry: &'a FakeRegistry,
    name: &'a str,
    image: Image,
    layout: Layout,
}

impl Served<'_> {
    /// Lets a fault happen to every request for a blob.
    fn spoil(&self, blob: Digest, fault: Fault) {
        self.registry.fail(&format!("/blobs/{blob}"), fault, ALWAYS);
    }

    /// Spoils the second layer, once the first has come whole. So it is known what is kept.
    fn spoil_second(&self, fault: Fault) {
        let fault = Fault::After(self.first(), Some(Box::new(fault)));
        self.spoil(self.image.layers[1].descriptor().digest, fault);
    }

    fn first(&self) -> PathBuf {
        let first = self.image.layers[0].descriptor();
        self.layout.blob(&first.digest)
    }

    fn spoil_manifest(&self, fault: Fault) {
        let path = format!("/v2/{}/manifests/", self.name);
        self.registry.fail(&path, fault, ALWAYS);
    }

    /// Serves the image as it is.
    fn whole(&self) {
        self.image.serve(self.registry, self.name);
    }

    /// Serves the image with another manifest, its second layer after its first.
    fn with_manifest(&self, change: impl FnOnce(&mut Value)) {
        let mut manifest = self.image.manifest();
        change(&mut manifest);
        self.image.serve_blobs(self.registry);
        serve_manifest(self.registry, self.name, &manifest);
        let second = self.image.layers[1].descriptor().digest;
        self.spoil(second, Fault::After(self.first(), None));
    }

    /// Serves the image with another configuration.
    fn with_config(&self, config: impl Into<Vec<u8>>) {
        let mut image = self.image.clone();
        image.config = config.into();
        image.serve(self.registry, self.name);
        let second = image.layers[1].descriptor().digest;
        self.spoil(second, Fault::After(self.first(), None));
    }

    /// Serves the image with another second layer.
    fn with_second(&self, second: Packed) {
        let mut image = self.image.clone();
        let blob = second.descriptor().digest;
        image.layers[1] = second;
        image.serve(self.registry, self.name);
        self.spoil(blob, Fault::After(self.first(), None));
    }

    /// Serves an index with these entries, and the image's own manifest below it.
    fn with_index(&self, entries: impl FnOnce(Value) -> Vec<Value>) {
        self.whole();
        let manifest = self.image.manifest().to_string();
        let entry = json!({
            "mediaType": media_type::OCI_MANIFEST,
            "digest": Digest::of(manifest.as_bytes()),
            "size": manifest.len(),
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": entries(entry),
        });
        serve_manifest(self.registry, self.name, &index);
    }
}

fn status(status: u16, code: &str, message: &str) -> Fault {
    let body = json!({"errors": [{"code": code, "message": message}]});
    Fault::Status(status, Vec::new(), body.to_string())
}

fn resized(at: &'static str, change: i64) -> impl FnOnce(&mut Value) {
    move |manifest| {
        let size = manifest.pointer_mut(at).unwrap();
        *size = json!(size.as_i64().unwrap() + change);
    }
}

const CASES: &[Case] = &[
    // Bytes that are not those that were named.
    Case::new(
        "manifest-wrong-digest",
        |it| {
            it.whole();
            it.spoil_manifest(Fault::WrongByte);
        },
        "manifest does not match its digest: expected sha256:",
    ),
    Case::new(
        "config-wrong-digest",
        |it| {
            it.whole();
            it.spoil(it.image.config().digest, Fault::WrongByte);
        },
        "its digest is another",
    ),
    Case::new(
        "layer-wrong-digest",
        |it| {
            it.whole();
            it.spoil_second(Fault::WrongByte);
        },
        "its digest is another",
    )
    .keeps(&[Config, First]),
    Case::new(
        "config-one-byte-more",
        |it| it.with_manifest(resized("/config/size", 1)),
        "is shorter than its descriptor says",
    ),
    Case::new(
        "config-one-byte-less",
        |it| it.with_manifest(resized("/config/size", -1)),
        "is longer than its descriptor says",
    ),
    Case::new(
        "layer-one-byte-more",
        |it| it.with_manifest(resized("/layers/1/size", 1)),
        "is shorter than its descriptor says",
    )
    .keeps(&[Config, First]),
    Case::new(
        "layer-one-byte-less",
        |it| it.with_manifest(resized("/layers/1/size", -1)),
        "is longer than its descriptor says",
    )
    .keeps(&[Config, First]),
    Case::new(
        "layer-endless",
        |it| {
            it.whole();
            it.spoil_second(Fault::Endless(1 << 20));
        },
        "is longer than its descriptor says",
    )
    .keeps(&[Config, First]),
    Case::new(
        "layer-truncated-gzip",
        |it| {
            let good = it.image.layers[1].clone();
            let cut = good.bytes[..good.bytes.len() / 2].to_vec();
            it.with_second(good.holding(cut));
        },
        "unexpected end",
    )
    .keeps(&[Config, First]),
    // Documents.
    Case::new(
        "manifest-no-json",
        |it| {
            it.whole();
            let name = media_type::OCI_MANIFEST;
            it.registry.add_manifest(it.name, "latest", name, b"<html>\x1b[31mno</html>");
        },
        "invalid manifest: ",
    ),
    Case::new(
        "manifest-too-large",
        |it| {
            it.with_manifest(|manifest| {
                manifest["annotations"] = json!({"large": "x".repeat(4 << 20)});
            });
        },
        "sent more than 4194304 bytes",
    ),
    Case::new(
        "manifest-and-index",
        |it| it.with_manifest(|manifest| manifest["manifests"] = json!([])),
        "it has both `manifests` and `layers` or `config`",
    ),
    Case::new(
        "manifest-of-neither",
        |it| {
            it.with_manifest(|manifest| {
                manifest.as_object_mut().unwrap().remove("layers");
            });
        },
        "it has neither `manifests` nor `layers`",
    ),
    Case::new(
        "manifest-unknown-type",
        |it| it.with_manifest(|manifest| manifest["mediaType"] = json!("application/x-odd")),
        "unsupported media type `application/x-odd`",
    ),
    Case::new(
        "manifest-says-index",
        |it| {
            it.whole();
            it.spoil_manifest(Fault::ContentType(media_type::OCI_INDEX));
        },
        "its media type says one thing and its content another",
    ),
    Case::new(
        "manifest-schema-1",
        |it| {
            it.with_manifest(|manifest| manifest["schemaVersion"] = json!(1));
        },
        "schema 1 is not supported; push the image again",
    ),
    Case::new(
        "config-of-an-artifact",
        |it| {
            it.with_manifest(|manifest| {
                manifest["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json");
            });
        },
        "it is no image: its configuration is of type `application/vnd.oci.empty.v1+json`",
    ),
    Case::new(
        "layer-unknown-type",
        |it| {
            it.with_manifest(|manifest| {
                manifest["layers"][1]["mediaType"] = json!("application/x-odd");
            });
        },
        "unsupported media type `application/x-odd` of a layer",
    ),
    Case::new(
        "layer-of-elsewhere",
        |it| {
            it.with_manifest(|manifest| {
                manifest["layers"][1]["mediaType"] =
                    json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
            });
        },
        "fetching them from elsewhere is not supported",
    ),
    Case::new(
        "layer-of-another-packing",
        |it| {
            it.with_manifest(|manifest| {
                manifest["layers"][1]["mediaType"] = json!(media_type::OCI_LAYER_ZSTD);
            });
        },
        "the media type says zstd, and the bytes are something else",
    )
    .keeps(&[Config, First]),
    Case::new(
        "layer-digest-of-unknown-algorithm",
        |it| {
            it.with_manifest(|manifest| {
                manifest["layers"][1]["digest"] = json!(format!("sha512:{}", "a".repeat(128)));
            });
        },
        "is no sha256 digest",
    ),
    Case::new(
        "layer-digest-with-a-path",
        |it| {
            it.with_manifest(|manifest| {
                manifest["layers"][1]["digest"] = json!("sha256:../../../../etc/passwd");
            });
        },
        "`sha256:../../../../etc/passwd` is no sha256 digest",
    ),
    Case::new(
        "layer-of-negative-size",
        |it| it.with_manifest(|manifest| manifest["layers"][1]["size"] = json!(-1)),
        "`-1` is no size of a blob",
    ),
    Case::new(
        "config-no-json",
        |it| it.with_config("{\"rootfs\":"),
        "invalid image configuration: ",
    ),
    Case::new(
        "config-too-large",
        |it| {
            let mut config = config_of(&it.image.layers);
            config["author"] = json!("x".repeat(4 << 20));
            it.with_config(config.to_string());
        },
        "more than 4194304",
    ),
    Case::new(
        "config-of-fewer-layers",
        |it| it.with_config(config_of(&it.image.layers[..1]).to_string()),
        "it has 1 layers, and the manifest has 2",
    ),
    Case::new(
        "config-of-more-layers",
        |it| {
            let layers = [&it.image.layers[..], &it.image.layers[..1]].concat();
            it.with_config(config_of(&layers).to_string());
        },
        "it has 3 layers, and the manifest has 2",
    ),
    Case::new(
        "config-of-another-layer",
        |it| {
            let mut layers = it.image.layers.clone();
            layers[1].diff = Digest::of(b"another");
            it.with_config(config_of(&layers).to_string());
        },
        "the layer is not the one that the image's configuration names",
    )
    .keeps(&[First, Second]),
    Case::new(
        "config-diff-of-unknown-algorithm",
        |it| {
            let mut config = config_of(&it.image.layers);
            config["rootfs"]["diff_ids"][1] = json!("md5:d41d8cd98f00b204e9800998ecf8427e");
            it.with_config(config.to_string());
        },
        "invalid image configuration: ",
    ),
    Case::new(
        "config-of-another-history",
        |it| {
            let mut config = config_of(&it.image.layers);
            config["history"] = json!([{"created_by": "one"}]);
            it.with_config(config.to_string());
        },
        "its history makes 1 layers, and its rootfs has 2",
    ),
    Case::new(
        "index-without-our-platform",
        |it| {
            it.with_index(|mut entry| {
                entry["platform"] = json!({"os": "linux", "architecture": "s390x"});
                vec![entry]
            });
        },
        "no matching manifest for linux/",
    ),
    Case::new(
        "index-of-nothing",
        |it| it.with_index(|_| Vec::new()),
        "no matching manifest for linux/",
    ),
    Case::new(
        "index-one-byte-more",
        |it| {
            it.with_index(|mut entry| {
                entry["size"] = json!(entry["size"].as_u64().unwrap() + 1);
                vec![entry]
            });
        },
        "it says that manifest sha256:",
    ),
    Case::new(
        "index-of-a-missing-manifest",
        |it| {
            it.with_index(|mut entry| {
                entry["digest"] = json!(Digest::of(b"missing"));
                vec![entry]
            });
        },
        "not found: manifest unknown: manifest unknown",
    ),
    Case::new(
        "index-of-an-index",
        |it| {
            it.with_index(|entry| vec![entry]);
            let (_, inner) = it.registry.manifest(it.name, "latest").unwrap();
            it.with_index(|mut entry| {
                entry["digest"] = json!(Digest::of(&inner));
                entry["size"] = json!(inner.len());
                vec![entry]
            });
        },
        "it leads to another index, and only one level is allowed",
    ),
    // What is not there.
    Case::new(
        "tag-missing",
        |_| {},
        ":latest not found: manifest unknown: manifest unknown",
    ),
    Case::new(
        "repository-missing",
        |it| it.spoil_manifest(status(404, "NAME_UNKNOWN", "repository name not known")),
        "not found: name unknown: repository name not known to registry",
    ),
    Case::new(
        "config-missing",
        |it| {
            it.whole();
            it.spoil(it.image.config().digest, status(404, "BLOB_UNKNOWN", "blob unknown"));
        },
        "blob unknown to registry",
    )
    .asks("config", 1),
    Case::new(
        "layer-missing",
        |it| {
            it.whole();
            it.spoil_second(status(404, "BLOB_UNKNOWN", "blob unknown to registry"));
        },
        "blob unknown to registry",
    )
    .keeps(&[Config, First])
    .asks("second", 1),
    // Connections.
    Case::new(
        "manifest-never-comes",
        |it| {
            it.whole();
            it.spoil_manifest(Fault::Silence);
        },
        "no byte for 1 s: i/o timeout",
    )
    .asks("manifest", ATTEMPTS),
    Case::new(
        "manifest-stalls",
        |it| {
            it.whole();
            it.spoil_manifest(Fault::StallAfter(20));
        },
        "no byte for 1 s: i/o timeout",
    )
    .asks("manifest", ATTEMPTS),
    Case::new(
        "layer-stalls",
        |it| {
            it.whole();
            it.spoil_second(Fault::StallAfter(200));
        },
        "no byte for 1 s: i/o timeout",
    )
    .keeps(&[Config, First])
    .asks("second", ATTEMPTS),
    Case::new(
        "layer-always-closes",
        |it| {
            it.whole();
            it.spoil_second(Fault::CloseAfter(200));
        },
        " broke",
    )
    .keeps(&[Config, First])
    .asks("second", ATTEMPTS),
    Case::new(
        "layer-always-ends-early",
        |it| {
            it.whole();
            it.spoil_second(Fault::NoLength(0));
        },
        "is shorter than its descriptor says",
    )
    .keeps(&[Config, First])
    .asks("second", ATTEMPTS),
    Case::new(
        "layer-redirects-for-ever",
        |it| {
            it.whole();
            let blob = it.image.layers[1].descriptor().digest;
            let here = format!("http://{}/v2/{}/blobs/{blob}", it.registry.host(), it.name);
            it.spoil_second(Fault::Redirect(here));
        },
        "redirects where we do not follow: ",
    )
    .keeps(&[Config, First]),
    Case::new(
        "layer-is-encoded",
        |it| {
            it.whole();
            it.spoil_second(Fault::Encoded);
        },
        "sent a blob encoded as `gzip`, which was not asked for",
    )
    .keeps(&[Config, First]),
    // Refusals.
    Case::new(
        "manifest-401",
        |it| {
            it.whole();
            it.spoil_manifest(status(401, "UNAUTHORIZED", "authentication required"));
        },
        "repository does not exist or may require 'strata login': unauthorized: authentication \
         required",
    )
    .asks("manifest", 1),
    Case::new(
        "layer-403",
        |it| {
            it.whole();
            it.spoil_second(status(403, "DENIED", "requested access is denied"));
        },
        "repository does not exist or may require 'strata login': denied: requested access",
    )
    .keeps(&[Config, First])
    .asks("second", 1),
    Case::new(
        "manifest-429",
        |it| {
            it.whole();
            let after = vec![("Retry-After", "1".to_owned())];
            let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
            it.spoil_manifest(Fault::Status(429, after, body.to_owned()));
        },
        "toomanyrequests: slow down",
    )
    .asks("manifest", ATTEMPTS),
    Case::new(
        "layer-500",
        |it| {
            it.whole();
            it.spoil_second(Fault::Status(500, Vec::new(), "<html>\x07 oops".into()));
        },
        "unexpected status 500: <html> oops",
    )
    .keeps(&[Config, First])
    .asks("second", ATTEMPTS),
];

#[test]
fn what_goes_wrong_is_told_in_one_line_and_leaves_nothing() {
    let mut before: Option<(Cell, Vec<String>)> = None;
    for cell in cells() {
        let told = all(cell);
        if let Some((first, expected)) = &before {
            assert_eq!(&told, expected, "{cell:?} differs from {first:?}");
        } else {
            before = Some((cell, told));
        }
    }
}

/// Runs the cases on one driver; what each told, which must not depend on the driver.
fn all(cell: Cell) -> Vec<String> {
    let registry = FakeRegistry::start().unwrap();
    let store = Store::on(cell, ROOM).with(&["--durability", "volatile"]);
    let file = store.home().join("strata.yaml");
    fs_err::write(&file, PATIENCE).unwrap();
    let store = store.with(&["--config", file.to_str().unwrap()]);
    for case in CASES {
        (case.serve)(&Served {
            registry: &registry,
            name: case.name,
            image: Image::named(case.name),
            layout: Layout::new(store.root()),
        });
    }
    let outputs = at_once(|case| pull(&store, &registry, case));
    let told = CASES.iter().zip(&outputs).map(|(case, output)| {
        let (error, hint) = complaint(output);
        let line = format!("{}: {error} [{}]", case.name, hint.unwrap_or_default());
        assert!(line.contains(case.told), "expected `{}`: {line}", case.told);
        if let Some((what, times)) = case.asked {
            assert_eq!(registry.count(&request(case, what)), times, "{line}");
        }
        line.replace(&registry.host(), "REGISTRY")
    });
    let told: Vec<String> = told.collect();
    shows_no_image(&store);
    is_clean(&store);
    mended(&store, &registry);
    told
}

/// The images of all cases are right at last, and come without what was kept.
fn mended(store: &Store, registry: &FakeRegistry) {
    registry.heal();
    let parts = [(Config, "config"), (First, "first"), (Second, "second")];
    let asked = |case: &Case| parts.map(|(_, part)| registry.count(&request(case, part)));
    let before: Vec<_> = CASES.iter().map(asked).collect();
    for case in CASES {
        Image::named(case.name).serve(registry, case.name);
    }
    let outputs = at_once(|case| pull(store, registry, case));
    for ((case, output), before) in CASES.iter().zip(&outputs).zip(before) {
        assert!(output.status.success(), "{}: {}", case.name, stderr(output));
        let after = asked(case);
        let kept = parts.iter().enumerate().filter(|(at, _)| before[*at] == after[*at]);
        let kept: Vec<Part> = kept.map(|(_, (part, _))| *part).collect();
        assert_eq!(kept, case.kept, "{}", case.name);
    }
    let images = store.good(&["images", "-q"]);
    assert_eq!(images.lines().count(), CASES.len());
    is_clean(store);
}

fn pull(store: &Store, registry: &FakeRegistry, case: &Case) -> Output {
    store.run(&["pull", "-q", &format!("{}/{}", registry.host(), case.name)])
}

/// What a request for a part of a case's good image contains.
fn request(case: &Case, what: &str) -> String {
    let image = Image::named(case.name);
    match what {
        "manifest" => format!("/v2/{}/manifests/", case.name),
        "config" => format!("/blobs/{}", image.config().digest),
        "first" => format!("/blobs/{}", image.layers[0].descriptor().digest),
        _ => format!("/blobs/{}", image.layers[1].descriptor().digest),
    }
}

/// Runs all cases, some at once, and gives what came of each in their order.
fn at_once(run: impl Fn(&Case) -> Output + Sync) -> Vec<Output> {
    let next = AtomicUsize::new(0);
    let one = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = CASES.get(at) else { return done };
            done.push((at, run(case)));
        }
    };
    let mut outputs: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(one)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    outputs.sort_by_key(|(at, _)| *at);
    outputs.into_iter().map(|(_, output)| output).collect()
}
