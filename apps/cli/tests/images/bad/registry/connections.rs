//! Bytes that are not those that were named, and registries that do not give any.

use super::Part::{Config, First};
use super::{ATTEMPTS, Case, resized, status};
use strata_image::testing::Fault;

pub const CASES: &[Case] = &[
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
        "the gzip stream is damaged: ",
    )
    .keeps(&[Config, First]),
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
            it.spoil(
                it.image.config().digest,
                status(404, "BLOB_UNKNOWN", "blob unknown"),
            );
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
