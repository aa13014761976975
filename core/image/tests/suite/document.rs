//! Documents by themselves: what is taken, what is refused, and which platform is chosen.

use proptest::prelude::*;
use serde_json::{Value, json};
use strata_image::document::{
    Compression, Document, ImageConfig, Index, Manifest, Platform, media_type,
};
use strata_store::{ChainId, Digest, parse_diff_id};

fn digest(byte: u8) -> String {
    Digest::from_sha256([byte; 32]).to_string()
}

fn descriptor(media_type: &str, byte: u8, size: i64) -> Value {
    json!({"mediaType": media_type, "digest": digest(byte), "size": size})
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(media_type::OCI_CONFIG, 1, 100),
        "layers": [
            descriptor(media_type::OCI_LAYER_GZIP, 2, 200),
            descriptor(media_type::DOCKER_LAYER, 3, 0),
            descriptor(media_type::OCI_LAYER_ZSTD, 4, 300),
        ],
        "unknown": {"kept": "in the bytes"},
    })
}

fn parse(value: &Value) -> Result<Manifest, String> {
    Manifest::parse(value.to_string().as_bytes(), None).map_err(|error| error.to_string())
}

#[test]
fn image_manifest_is_read() {
    let Manifest::Image(manifest) = parse(&image()).unwrap() else {
        panic!("it is an image")
    };
    assert_eq!(manifest.config.size, 100);
    let packed: Vec<_> = manifest
        .layers
        .iter()
        .map(|layer| layer.compression)
        .collect();
    assert_eq!(
        packed,
        [Compression::Gzip, Compression::None, Compression::Zstd]
    );
}

#[test]
fn media_type_may_be_left_out() {
    let mut value = image();
    value.as_object_mut().unwrap().remove("mediaType");
    let manifest = parse(&value).unwrap();
    assert_eq!(manifest.media_type(), media_type::OCI_MANIFEST);
    let text = value.to_string();
    let docker = Manifest::parse(text.as_bytes(), Some(media_type::DOCKER_MANIFEST)).unwrap();
    assert_eq!(docker.media_type(), media_type::DOCKER_MANIFEST);
}

#[test]
fn what_breaks_a_rule_is_refused() {
    let with = |pointer: &str, value: Value| {
        let mut document = image();
        *document.pointer_mut(pointer).unwrap() = value;
        document
    };
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let nondistributable = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let many = vec![descriptor(media_type::OCI_LAYER, 2, 1); 1025];
    let mut both = image();
    both["manifests"] = json!([]);
    let mut schema_1 = image();
    schema_1["schemaVersion"] = json!(1);
    let big = with("/unknown", json!("x".repeat(5 << 20)));
    for (value, message) in [
        (both, "has both"),
        (schema_1, "schema 1 is not supported"),
        (
            json!({"schemaVersion": 2, "fsLayers": [], "layers": []}),
            "schema 1 is not supported",
        ),
        (big, "more than 4194304"),
        (with("/schemaVersion", json!(3)), "schemaVersion is not 2"),
        (
            with("/mediaType", json!(media_type::OCI_INDEX)),
            "one thing and its content another",
        ),
        (
            with("/mediaType", json!("application/json")),
            "its media type is `application/json`",
        ),
        (
            with("/mediaType", json!("text/html")),
            "unsupported media type `text/html`",
        ),
        (
            with("/config/size", json!(5 << 20)),
            "its configuration has 5242880 bytes",
        ),
        (with("/config/size", json!(-1)), "`-1` is no size"),
        (with("/layers/0/size", json!(1_u64 << 41)), "is no size"),
        (with("/layers/0/size", json!(1.5)), "is no size"),
        (with("/layers/0/size", json!("1")), "invalid type"),
        (
            with("/config/digest", json!("sha512:00")),
            "is no sha256 digest",
        ),
        (
            with("/layers/1/digest", json!("sha256:../../x")),
            "is no sha256 digest",
        ),
        (
            with(
                "/config/mediaType",
                json!("application/vnd.docker.plugin.v1+json"),
            ),
            "it is no image",
        ),
        (
            with("/layers/0/mediaType", json!(foreign)),
            "such layers are not kept",
        ),
        (
            with("/layers/0/mediaType", json!(nondistributable)),
            "such layers are not kept",
        ),
        (
            with("/layers/0/mediaType", json!("text/plain")),
            "unsupported media type `text/plain`",
        ),
        (with("/layers", json!(many)), "1025 layers"),
        (with("/layers", Value::Null), "neither"),
        (json!({"schemaVersion": 2, "layers": []}), "no `config`"),
        (json!([]), "invalid manifest"),
    ] {
        let error = parse(&value).unwrap_err();
        assert!(error.contains(message), "{message}: {error}");
    }
    let twice = image().to_string().replacen('{', r#"{"layers":[],"#, 1);
    assert!(
        Manifest::parse(twice.as_bytes(), None).is_err(),
        "one name given twice"
    );
}

fn index(platforms: &[(&str, &str, &str)]) -> Index {
    let entries: Vec<Value> = (0..)
        .zip(platforms)
        .map(|(byte, (os, architecture, variant))| {
            let mut entry = descriptor(media_type::OCI_MANIFEST, byte, 1);
            if !os.is_empty() {
                entry["platform"] =
                    json!({"os": os, "architecture": architecture, "variant": variant});
            }
            entry
        })
        .collect();
    let value =
        json!({"schemaVersion": 2, "mediaType": media_type::DOCKER_INDEX, "manifests": entries});
    match parse(&value).unwrap() {
        Manifest::Index(index) => index,
        Manifest::Image(_) => panic!("it is an index"),
    }
}

#[test]
fn platform_is_chosen_as_containerd_chooses() {
    let many = index(&[
        ("unknown", "unknown", ""),
        ("windows", "amd64", ""),
        ("linux", "386", ""),
        ("linux", "amd64", "v3"),
        ("linux", "amd64", ""),
        ("linux", "amd64", "v1"),
        ("linux", "arm", "v5"),
        ("linux", "arm", "v6"),
        ("linux", "arm64", "v8"),
        ("linux", "riscv64", ""),
    ]);
    for (wanted, chosen) in [
        ("linux/amd64", 4),
        ("amd64", 4),
        ("linux/x86_64", 4),
        ("linux/amd64/v3", 3),
        ("linux/amd64/v2", 4),
        ("linux/386", 2),
        ("linux/arm64", 8),
        ("linux/aarch64", 8),
        ("linux/arm/v7", 7),
        ("linux/arm", 7),
        ("linux/arm/v5", 6),
        ("windows/amd64", 1),
    ] {
        let platform: Platform = wanted.parse().unwrap();
        let found = many.choose(&platform).unwrap();
        assert_eq!(found.digest.to_string(), digest(chosen), "{wanted}");
    }
    for (missing, shown) in [
        ("linux/s390x", "linux/s390x"),
        ("linux/arm/v4", "linux/arm/v4"),
    ] {
        let error = many.choose(&missing.parse().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("no matching manifest for {shown} in the manifest list entries")
        );
    }
    let one = index(&[("linux", "amd64", "")]);
    let error = one.choose(&"linux/arm64".parse().unwrap());
    assert_eq!(
        error.unwrap_err().to_string(),
        "no matching manifest for linux/arm64 in the manifest list entries"
    );
    // The 32-bit sibling, if there is nothing better; and one that names no platform at last.
    let amd64: Platform = "linux/amd64".parse().unwrap();
    let sibling = index(&[("linux", "arm64", ""), ("linux", "386", "")]);
    assert_eq!(
        sibling.choose(&amd64).unwrap().digest.to_string(),
        digest(1)
    );
    let nameless = index(&[("", "", ""), ("linux", "arm64", "")]);
    assert_eq!(
        nameless.choose(&amd64).unwrap().digest.to_string(),
        digest(0)
    );
    for bad in ["", "/", "linux/", "a/b/c/d", "linux/am d64"] {
        assert!(bad.parse::<Platform>().is_err(), "{bad}");
    }
}

fn config() -> Value {
    json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "author": null,
        "config": {"Env": ["A=b"], "Cmd": null, "Labels": {"x": "y"}, "ArgsEscaped": true},
        "rootfs": {"type": "layers", "diff_ids": [digest(1), digest(2)]},
        "history": [
            {"created_by": "ADD x", "created": "2026-01-01T00:00:00Z"},
            {"created_by": "CMD y", "empty_layer": true},
            {"created_by": "RUN z", "comment": "buildkit"},
        ],
    })
}

#[test]
fn configuration_is_read() {
    let parsed = ImageConfig::parse(config().to_string().as_bytes()).unwrap();
    assert_eq!(parsed.platform.to_string(), "linux/amd64");
    assert_eq!(
        parsed.history.iter().filter(|step| step.is_empty()).count(),
        1
    );
    assert_eq!(parsed.config["ArgsEscaped"], true);
    let run = parsed.run().unwrap();
    assert_eq!(
        (run.env, run.cmd, run.labels["x"].as_str()),
        (vec!["A=b".to_owned()], vec![], "y")
    );
    let first = ChainId::of(None, parse_diff_id(&digest(1)).unwrap());
    assert_eq!(parsed.chain_ids()[0], first);
    assert_eq!(parsed.chain_ids().len(), 2);
    parsed.check_layers(2).unwrap();
    let error = parsed.check_layers(3).unwrap_err().to_string();
    assert!(
        error.contains("has 2 layers, and the manifest has 3"),
        "{error}"
    );
}

#[test]
fn configuration_that_contradicts_itself_is_refused() {
    let with = |pointer: &str, value: Value| {
        let mut document = config();
        *document.pointer_mut(pointer).unwrap() = value;
        document
    };
    for (value, message) in [
        (
            with("/history/1/empty_layer", json!(false)),
            "makes 3 layers, and its rootfs has 2",
        ),
        (with("/rootfs/type", json!("other")), "of type `other`"),
        (with("/rootfs", Value::Null), "no `rootfs`"),
        (with("/rootfs/diff_ids/0", json!("sha256:x")), "no sha256"),
        (with("/config", json!([])), "`config` is no object"),
        (
            with("/author", json!("x".repeat(5 << 20))),
            "more than 4194304",
        ),
        (json!("x"), "invalid image configuration"),
    ] {
        let error = ImageConfig::parse(value.to_string().as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{message}: {error}");
    }
    for fine in [
        with("/history", json!([])),
        with("/config", Value::Null),
        with("/history", Value::Null),
    ] {
        ImageConfig::parse(fine.to_string().as_bytes())
            .unwrap()
            .run()
            .unwrap();
    }
}

#[test]
fn digest_is_of_the_bytes_as_they_came() {
    let text = " { \"schemaVersion\" : 2, \"manifests\" : [] } \n";
    let document = Document::new(text, None);
    assert_eq!(document.digest, Digest::of(text.as_bytes()));
    assert!(matches!(document.manifest().unwrap(), Manifest::Index(_)));
}

proptest! {
    /// Documents come from anybody: whatever they hold, they are read or refused.
    #[test]
    fn damaged_documents_do_not_panic(
        damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8),
        is_config in any::<bool>(),
    ) {
        let mut bytes = if is_config { config() } else { image() }.to_string().into_bytes();
        for (place, byte) in damage {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        drop(Manifest::parse(&bytes, None));
        if let Ok(config) = ImageConfig::parse(&bytes) {
            drop(config.run());
        }
    }
}
