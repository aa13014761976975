//! Manifests, indexes and configurations that say what cannot be.

use super::Case;
use super::Part::{Config, First, Second};
use crate::bad::image::config_of;
use serde_json::json;
use strata_image::document::media_type;
use strata_image::testing::Fault;
use strata_store::Digest;

pub const CASES: &[Case] = &[
    Case::new(
        "manifest-no-json",
        |it| {
            it.whole();
            let name = media_type::OCI_MANIFEST;
            it.registry
                .add_manifest(it.name, "latest", name, b"<html>\x1b[31mno</html>");
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
    .keeps(&[Config, First, Second]),
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
];
