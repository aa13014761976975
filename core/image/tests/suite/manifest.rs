//! Manifests from a registry: whose bytes they are, and what is refused.

use crate::{client, fake, hasty, quick};
use strata_image::document::{Manifest, Platform, media_type};
use strata_image::registry::{Registry, Which, retry};
use strata_image::testing::Fault;
use strata_image::{ImageError, Reference};
use strata_store::Digest;

fn tag(name: &str) -> Which {
    Which::Tag(name.to_owned())
}

#[tokio::test]
async fn manifest_comes_as_it_was_put() {
    let fake = fake();
    let digest = fake.add_image("a/b", "1", &Platform::host(), &[]);
    let document = client()
        .manifest(&fake.repository("a/b"), &tag("1"))
        .await
        .unwrap();
    assert_eq!(document.digest, digest);
    assert_eq!(
        document.media_type.as_deref(),
        Some(media_type::OCI_MANIFEST)
    );
    assert!(matches!(document.manifest().unwrap(), Manifest::Image(_)));
    let again = client()
        .manifest(&fake.repository("a/b"), &Which::Digest(digest))
        .await
        .unwrap();
    assert_eq!(again, document);
}

#[tokio::test]
async fn unknown_manifest_is_told_in_dockers_words() {
    let fake = fake();
    let reference = fake.reference("peers/small:latest");
    let error = client()
        .manifest(reference.repository(), &Which::of(&reference))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "manifest for {}/peers/small:latest not found: manifest unknown: manifest unknown",
            fake.host()
        )
    );
    let digest = Digest::of(b"");
    let error = client()
        .manifest(reference.repository(), &Which::Digest(digest))
        .await
        .unwrap_err();
    let named = format!("{}/peers/small@{digest} not found", fake.host());
    assert!(error.to_string().contains(&named), "{error}");
}

#[tokio::test]
async fn refused_connection_is_told_as_go_tells_it() {
    let host = {
        let fake = fake();
        fake.host()
    };
    let reference = Reference::parse(&format!("{host}/x/y")).unwrap();
    let error = client()
        .manifest(reference.repository(), &Which::of(&reference))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("Get \"http://{host}/v2/\": dial tcp {host}: connect: connection refused")
    );
    assert!(!error.is_transient());
    // Or it would be told again in other words.
    assert!(std::error::Error::source(&error).is_none());
    let hint = format!("is a registry running at {host}, and is the name right?");
    assert_eq!(error.hint(), Some(hint));
}

#[tokio::test]
async fn other_bytes_than_named_are_refused() {
    let fake = fake();
    let digest = fake.add_image("a/b", "1", &Platform::host(), &[]);
    // By digest we know what must come; by tag the registry contradicts itself.
    for which in [Which::Digest(digest), tag("1")] {
        fake.fail("/manifests/", Fault::WrongByte, 1);
        let error = client()
            .manifest(&fake.repository("a/b"), &which)
            .await
            .unwrap_err();
        assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");
        assert!(
            error.to_string().contains(&format!("expected {digest}")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn endless_or_encoded_manifests_are_refused() {
    let fake = fake();
    fake.add_image("a/b", "1", &Platform::host(), &[]);
    for (fault, message) in [
        (Fault::Endless(5 << 20), "sent more than 4194304 bytes"),
        (
            Fault::ContentLength(5 << 20),
            "sent more than 4194304 bytes",
        ),
        (Fault::Encoded, "encoded as `gzip`"),
    ] {
        fake.fail("/manifests/", fault, 1);
        let error = client()
            .manifest(&fake.repository("a/b"), &tag("1"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn manifest_that_breaks_off_or_stalls_passes() {
    let fake = fake();
    fake.add_image("a/b", "1", &Platform::host(), &[]);
    for fault in [Fault::CloseAfter(10), Fault::StallAfter(10), Fault::Silence] {
        fake.fail("/manifests/", fault.clone(), 1);
        let error = hasty()
            .manifest(&fake.repository("a/b"), &tag("1"))
            .await
            .unwrap_err();
        assert!(error.is_transient(), "{fault:?}: {error}");
        if !matches!(fault, Fault::CloseAfter(_)) {
            assert!(error.to_string().contains("no byte for 1 s"), "{error}");
        }
    }
    fake.fail("/manifests/", Fault::Status(500, vec![], String::new()), 3);
    let (registry, repository, which) = (client(), fake.repository("a/b"), tag("1"));
    let attempt = || registry.manifest(&repository, &which);
    retry(&quick(), &|_| {}, attempt).await.unwrap();
}

#[tokio::test]
async fn confusions_of_index_and_manifest_are_refused() {
    let fake = fake();
    let repository = fake.repository("a/b");
    let both = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"layers":[],
        "config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}"#;
    fake.add_manifest("a/b", "both", media_type::OCI_INDEX, both.as_bytes());
    fake.add_image("a/b", "image", &Platform::host(), &[]);
    for (name, fault, message) in [
        ("both", None, "has both `manifests` and `layers`"),
        (
            "image",
            Some(media_type::OCI_INDEX),
            "one thing and its content another",
        ),
        ("image", Some(media_type::DOCKER_MANIFEST), "was promised"),
        (
            "image",
            Some("text/html"),
            "unsupported media type `text/html`",
        ),
        (
            "image",
            Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
            "schema 1 is not supported",
        ),
    ] {
        if let Some(lie) = fault {
            fake.fail("/manifests/", Fault::ContentType(lie), 1);
        }
        let document = client().manifest(&repository, &tag(name)).await.unwrap();
        let error = document.manifest().unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    // A type that says nothing is no lie.
    fake.fail(
        "/manifests/",
        Fault::ContentType("application/json; charset=utf-8"),
        1,
    );
    let document = client().manifest(&repository, &tag("image")).await.unwrap();
    document.manifest().unwrap();
}

#[tokio::test]
async fn all_pages_of_tags_are_read() {
    let fake = fake();
    for name in ["1", "2", "3", "4", "5"] {
        fake.add_image("a/b", name, &Platform::host(), &[]);
    }
    fake.set_page(2);
    let tags = client().tags(&fake.repository("a/b")).await.unwrap();
    assert_eq!(tags, ["1", "2", "3", "4", "5"]);
    assert_eq!(fake.count("/tags/list"), 3);
    let error = client()
        .tags(&fake.repository("no/such"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ImageError::RepositoryUnknown { .. }),
        "{error}"
    );
}
