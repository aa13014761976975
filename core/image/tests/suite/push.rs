//! Pushing: what is there is not sent, what another repository has is taken over.

use crate::{client, fake, noise, settings};
use futures_util::StreamExt as _;
use std::path::Path;
use strata_image::document::{Descriptor, Document, media_type};
use strata_image::registry::{
    BlobSource, Credential, CredentialFile, OciRegistry, Pushed, Registry, Which,
};
use strata_image::testing::{Access, FakeRegistry, Fault};
use strata_image::{ImageError, Repository};
use strata_store::Digest;

/// The bytes in chunks of what a file is read in.
fn source(bytes: &[u8]) -> BlobSource {
    let chunks: Vec<_> = bytes
        .chunks(65536)
        .map(|chunk| Ok(chunk.to_vec().into()))
        .collect();
    futures_util::stream::iter(chunks).boxed()
}

fn described(bytes: &[u8]) -> Descriptor {
    Descriptor::new(
        media_type::OCI_LAYER_GZIP,
        Digest::of(bytes),
        bytes.len() as u64,
    )
}

#[tokio::test]
async fn blob_and_manifest_arrive() {
    for access in [
        Access::Open,
        Access::Basic("ann", "secret"),
        Access::Token("ann", "secret"),
    ] {
        let fake = fake();
        fake.allow(access.clone());
        let directory = tempfile::tempdir().unwrap();
        let registry = known_to(&fake, directory.path());
        let repository = fake.repository("new/name");
        let bytes = noise(300_000);
        let blob = described(&bytes);
        assert!(
            !registry.has_blob(&repository, blob.digest).await.unwrap(),
            "{access:?}"
        );
        let pushed = registry
            .push_blob(&repository, &blob, source(&bytes), None)
            .await
            .unwrap();
        assert_eq!(pushed, Pushed::Uploaded);
        assert!(registry.has_blob(&repository, blob.digest).await.unwrap());
        assert_eq!(fake.blob(blob.digest), Some(bytes));

        let text = r#"{ "schemaVersion": 2, "manifests":[] }"#;
        let document = Document::new(text, Some(media_type::OCI_INDEX.to_owned()));
        for which in [Which::Tag("x".into()), Which::Digest(document.digest)] {
            registry
                .push_manifest(&repository, &which, &document)
                .await
                .unwrap();
            let kept = fake.manifest("new/name", &which.to_string()).unwrap();
            assert_eq!(
                kept,
                (media_type::OCI_INDEX.to_owned(), text.as_bytes().to_vec())
            );
        }
    }
}

#[tokio::test]
async fn blob_of_another_repository_is_mounted() {
    let fake = fake();
    let bytes = noise(1000);
    let blob = fake.add_blob("", &bytes);
    let broken: BlobSource = futures_util::stream::once(async { panic!("it is not read") }).boxed();
    let (registry, repository) = (client(), fake.repository("new/name"));
    let from = fake.repository("a/b");
    let pushed = registry
        .push_blob(&repository, &blob, broken, Some(&from))
        .await
        .unwrap();
    assert_eq!(pushed, Pushed::Mounted);

    // A registry that has it not, cannot do so, will not, or opens an upload although it has the
    // blob, gets the bytes.
    let session = vec![("Location", "/v2/new/name/blobs/uploads/7".to_owned())];
    for (fault, posts) in [
        (None, 1),
        (Some(Fault::Status(405, vec![], String::new())), 2),
        (Some(Fault::Status(200, vec![], String::new())), 2),
        (Some(Fault::Status(202, session, String::new())), 1),
    ] {
        let bytes = noise(2000 + posts);
        let blob = described(&bytes);
        if let Some(fault) = fault {
            fake.add_blob("", &bytes);
            fake.fail("mount=", fault, 1);
        }
        let (opened, filled) = (fake.count("POST "), fake.count("PUT "));
        let pushed = registry
            .push_blob(&repository, &blob, source(&bytes), Some(&from))
            .await;
        assert_eq!(pushed.unwrap(), Pushed::Uploaded);
        assert_eq!(fake.blob(blob.digest), Some(bytes));
        assert_eq!(fake.count("POST ") - opened, posts);
        assert_eq!(fake.count("PUT ") - filled, 1);
    }
    let elsewhere: Repository = "other.example/a/b".parse().unwrap();
    registry
        .push_blob(&repository, &blob, source(&bytes), Some(&elsewhere))
        .await
        .unwrap();
    assert_eq!(
        fake.count("from=a/b"),
        5,
        "another registry cannot be mounted from"
    );
}

#[tokio::test]
async fn denied_push_says_how_to_log_in() {
    let fake = fake();
    fake.allow(Access::Token("ann", "secret"));
    let (registry, repository) = (client(), fake.repository("a/b"));
    let bytes = noise(10);
    let blob = described(&bytes);
    let expected = format!(
        "push access denied for {}/a/b, may require 'strata login': unauthorized: authentication required",
        fake.host()
    );
    let document = Document::new("{}", Some(media_type::OCI_INDEX.to_owned()));
    let which = Which::Tag("x".into());
    let errors = [
        registry
            .push_blob(&repository, &blob, source(&bytes), None)
            .await
            .unwrap_err(),
        registry
            .push_manifest(&repository, &which, &document)
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn failures_of_an_upload_are_told_apart() {
    let fake = fake();
    let (registry, repository) = (client(), fake.repository("a/b"));
    let bytes = noise(300_000);
    let blob = described(&bytes);
    let push = async |blob: &Descriptor, bytes: &[u8]| {
        registry
            .push_blob(&repository, blob, source(bytes), None)
            .await
            .unwrap_err()
    };

    fake.fail("PUT ", Fault::Status(503, vec![], "busy".into()), 1);
    let error = push(&blob, &bytes).await;
    assert!(
        error.is_transient() && error.to_string().contains("503: busy"),
        "{error}"
    );

    let wrong = noise(300_001)[1..].to_vec();
    let error = push(&blob, &wrong).await;
    assert!(error.to_string().contains("digest invalid"), "{error}");
    assert!(!error.is_transient());

    let blob = described(&noise(5000));
    let cut = futures_util::stream::iter([
        Ok(noise(10).into()),
        Err(std::io::Error::other("the disk is gone")),
    ]);
    let error = registry
        .push_blob(&repository, &blob, cut.boxed(), None)
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Local(_)), "{error}");
    assert!(!error.is_transient());
    assert!(fake.blob(blob.digest).is_none());
}

/// A registry may take longer after the last byte than between two of them, but not forever.
#[tokio::test]
async fn silence_ends_an_upload() {
    let fake = fake();
    let settings = settings().with_stall_timeout(std::time::Duration::from_millis(200));
    let registry = OciRegistry::new(settings, None).unwrap();
    let (repository, bytes) = (fake.repository("a/b"), noise(1000));
    fake.fail("PUT ", Fault::Silence, usize::MAX);
    let error = registry
        .push_blob(&repository, &described(&bytes), source(&bytes), None)
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Stalled { .. }), "{error}");
}

/// An upload that is opened at `location`.
fn opened_at(location: &str) -> Fault {
    Fault::Status(202, vec![("Location", location.to_owned())], String::new())
}

/// A client that shows who it is, to registries that want to know.
fn known_to(fake: &FakeRegistry, directory: &Path) -> OciRegistry {
    let file = CredentialFile::at(directory.join("config.json"));
    let credential = Credential::Password {
        username: "ann".into(),
        password: "secret".into(),
    };
    file.store(&fake.host(), &credential).unwrap();
    OciRegistry::new(settings(), Some(file)).unwrap()
}

#[tokio::test]
async fn bytes_go_where_the_registry_says() {
    let fake = fake();
    let (registry, repository) = (client(), fake.repository("a/b"));
    let bytes = noise(300_000);
    let absolute = format!("http://{}/v2/a/b/blobs/uploads/4?_state=x%3D", fake.host());
    for (number, location) in [
        "/v2/a/b/blobs/uploads/0",
        "/v2/a/b/blobs/uploads/1?_state=x%3D",
        "2?_state=x%3D",
        &format!("//{}/v2/a/b/blobs/uploads/3", fake.host()),
        &absolute,
    ]
    .into_iter()
    .enumerate()
    {
        let blob = described(&bytes[number..]);
        fake.fail("POST ", opened_at(location), 1);
        registry
            .push_blob(&repository, &blob, source(&bytes[number..]), None)
            .await
            .unwrap();
        assert!(fake.blob(blob.digest).is_some(), "{location}");
        let state = if location.contains('?') {
            "_state=x=&"
        } else {
            ""
        };
        let target = format!(
            "PUT /v2/a/b/blobs/uploads/{number}?{state}digest={}",
            blob.digest
        );
        assert_eq!(fake.count(&target), 1, "{location}");
        let seen = fake.requests();
        let lengths = seen.iter().rev().take(2).map(|seen| seen.length.clone());
        let expected = [Some(blob.size.to_string()), Some("0".to_owned())];
        assert!(lengths.eq(expected), "{seen:?}");
    }
}

/// Storage of a registry may be elsewhere; who we are is nobody's business there.
#[tokio::test]
async fn credentials_stay_with_the_registry() {
    for access in [
        Access::Basic("ann", "secret"),
        Access::Token("ann", "secret"),
    ] {
        let (fake, other) = (crate::fake(), crate::fake());
        fake.allow(access);
        let directory = tempfile::tempdir().unwrap();
        let registry = known_to(&fake, directory.path());
        let repository = fake.repository("a/b");
        let bytes = noise(300_000);
        let blob = described(&bytes);
        let path = "/v2/a/b/blobs/uploads/1";
        let push = || registry.push_blob(&repository, &blob, source(&bytes), None);
        // So that it is known what to show.
        registry.has_blob(&repository, blob.digest).await.unwrap();

        let location = format!("http://{}{path}", other.host());
        fake.fail("POST ", opened_at(&location), 1);
        push().await.unwrap();
        assert_eq!(other.blob(blob.digest), Some(bytes.clone()));
        let seen = other.requests();
        assert!(
            seen.iter().all(|seen| seen.authorization.is_none()) && seen.len() == 1,
            "{seen:?}"
        );

        // The same port of another host is another server.
        let location = format!(
            "http://{}{path}",
            fake.host().replace("127.0.0.1", "localhost")
        );
        fake.fail("POST ", opened_at(&location), 1);
        let error = push().await.unwrap_err();
        assert!(matches!(error, ImageError::PushDenied { .. }), "{error}");
        // At home they are shown.
        push().await.unwrap();
        let seen = fake.requests();
        let shown: Vec<bool> = seen
            .iter()
            .filter(|seen| seen.method == "PUT")
            .map(|seen| seen.authorization.is_some())
            .collect();
        assert_eq!(shown, [false, true]);
    }
}

#[tokio::test]
async fn uploads_that_lead_nowhere_are_refused() {
    let fake = fake();
    let (registry, repository) = (client(), fake.repository("a/b"));
    let bytes = noise(10);
    let nowhere = Fault::Status(202, vec![], String::new());
    for (fault, message) in [
        (nowhere, "does not say where"),
        (opened_at("http://[x/"), "no URL leads"),
        (opened_at("ftp://127.0.0.1/x"), "`127.0.0.1` without TLS"),
        (
            opened_at("http://registry.example:5000/secret"),
            "wants the blob sent to `registry.example:5000` without TLS; if that is right, list \
             it as `insecure`",
        ),
    ] {
        fake.fail("POST ", fault, 1);
        let error = registry
            .push_blob(&repository, &described(&bytes), source(&bytes), None)
            .await
            .unwrap_err();
        assert!(matches!(error, ImageError::Protocol { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(message) && !text.contains("secret"), "{text}");
    }
    assert_eq!(fake.count("PUT "), 0);
}
