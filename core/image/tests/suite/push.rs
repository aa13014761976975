//! Pushing: what is there is not sent, what another repository has is taken over.

use crate::{client, fake, noise, settings};
use futures_util::StreamExt as _;
use strata_image::document::{Descriptor, Document, media_type};
use strata_image::registry::{
    BlobSource, Credential, CredentialFile, OciRegistry, Pushed, Registry, Which,
};
use strata_image::testing::{Access, Fault};
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
        let file = CredentialFile::at(directory.path().join("config.json"));
        let credential = Credential::Password {
            username: "ann".into(),
            password: "secret".into(),
        };
        file.store(&fake.host(), &credential).unwrap();
        let registry = OciRegistry::new(settings(), Some(file)).unwrap();
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

    // A registry that has it not, cannot do so or will not, gets the bytes.
    for fault in [None, Some(Fault::Status(405, vec![], String::new()))] {
        let bytes = noise(2000);
        let blob = described(&bytes);
        if let Some(fault) = fault {
            fake.fail("mount=", fault, 1);
        }
        let pushed = registry
            .push_blob(&repository, &blob, source(&bytes), Some(&from))
            .await;
        assert_eq!(pushed.unwrap(), Pushed::Uploaded);
        assert_eq!(fake.blob(blob.digest), Some(bytes));
    }
    let elsewhere: Repository = "other.example/a/b".parse().unwrap();
    registry
        .push_blob(&repository, &blob, source(&bytes), Some(&elsewhere))
        .await
        .unwrap();
    assert_eq!(
        fake.count("from=a/b"),
        3,
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
