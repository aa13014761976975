//! The same client against Debian's `docker-registry`, where the tree of tools is there.

use crate::{Memory, client, digest_of, fetch, noise, quick};
use bytes::Bytes;
use futures_util::StreamExt as _;
use strata_harness::images::{Peers, RegistryServer};
use strata_image::document::{Descriptor, Document, Manifest, media_type};
use strata_image::registry::{Pushed, Registry, SearchMethod, Which};
use strata_image::{ImageError, Repository};
use strata_store::Digest;

/// A running registry, which ends before its files do.
struct Real {
    server: RegistryServer,
    _storage: tempfile::TempDir,
}

impl Real {
    fn host(&self) -> &str {
        self.server.host()
    }
}

fn started() -> Option<Real> {
    let peers = match Peers::find() {
        Ok(peers) => peers,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return None;
        }
    };
    let storage = tempfile::tempdir().unwrap();
    Some(Real {
        server: RegistryServer::start(&peers, storage.path()).unwrap(),
        _storage: storage,
    })
}

async fn push(repository: &Repository, bytes: &[u8], media_type: &str) -> Descriptor {
    let blob = Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64);
    let chunks: Vec<_> = bytes
        .chunks(65536)
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    let source = futures_util::stream::iter(chunks).boxed();
    let pushed = client()
        .push_blob(repository, &blob, source, None)
        .await
        .unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    blob
}

#[tokio::test]
async fn image_goes_there_and_back() {
    let Some(real) = started() else { return };
    let registry = client();
    let repository: Repository = format!("{}/peers/small", real.host()).parse().unwrap();
    let bytes = noise(3_000_000);
    let layer = push(&repository, &bytes, media_type::OCI_LAYER_GZIP).await;
    assert!(registry.has_blob(&repository, layer.digest).await.unwrap());
    assert!(
        !registry
            .has_blob(&repository, Digest::of(b"none"))
            .await
            .unwrap()
    );
    let config = push(&repository, b"{}", media_type::OCI_CONFIG).await;
    let text = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": config, "layers": [layer],
    });
    let document = Document::new(text.to_string(), Some(media_type::OCI_MANIFEST.to_owned()));
    for tag in ["1", "2"] {
        let which = Which::Tag(tag.to_owned());
        registry
            .push_manifest(&repository, &which, &document)
            .await
            .unwrap();
    }
    let tag = Which::Tag("1".to_owned());
    let came = registry.manifest(&repository, &tag).await.unwrap();
    assert_eq!(came, document);
    let Manifest::Image(image) = came.manifest().unwrap() else {
        panic!("it is an image")
    };
    assert_eq!(image.layers[0].descriptor, layer);
    // In no order, as the file system lists them.
    let mut tags = registry.tags(&repository).await.unwrap();
    tags.sort();
    assert_eq!(tags, ["1", "2"]);

    // Whole, and from the middle.
    for beginning in [0, 1_234_567] {
        let mut sink = Memory {
            bytes: bytes[..beginning].to_vec(),
            restarts: 0,
        };
        let (result, _) = fetch(&registry, &repository, &layer, &mut sink, &quick()).await;
        result.unwrap();
        assert_eq!((digest_of(&sink), sink.restarts), (layer.digest, 0));
    }

    let other: Repository = format!("{}/new/name", real.host()).parse().unwrap();
    let unread = futures_util::stream::once(async { panic!("it is not read") }).boxed();
    let pushed = registry
        .push_blob(&other, &layer, unread, Some(&repository))
        .await
        .unwrap();
    assert_eq!(pushed, Pushed::Mounted);

    let found = registry
        .search(&format!("{}/small", real.host()), 25)
        .await
        .unwrap();
    assert_eq!(found.method, SearchMethod::Catalogue);
    assert_eq!(found.rows[0].name, format!("{}/peers/small", real.host()));
}

#[tokio::test]
async fn refusals_read_as_dockers() {
    let Some(real) = started() else { return };
    let registry = client();
    let repository: Repository = format!("{}/peers/nope", real.host()).parse().unwrap();
    let error = registry
        .manifest(&repository, &Which::Tag("1".into()))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "manifest for {}/peers/nope:1 not found: manifest unknown: manifest unknown",
            real.host()
        )
    );
    let blob = Descriptor::new("", Digest::of(b"none"), 4);
    let error = registry.blob(&repository, &blob, 0).await.unwrap_err();
    assert!(matches!(error, ImageError::BlobUnknown { .. }), "{error}");
    let error = registry.tags(&repository).await.unwrap_err();
    assert!(
        matches!(error, ImageError::RepositoryUnknown { .. }),
        "{error}"
    );
    let unknown = Descriptor::new(media_type::OCI_CONFIG, Digest::of(b"none"), 4);
    let text = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": unknown, "layers": [],
    });
    let document = Document::new(text.to_string(), Some(media_type::OCI_MANIFEST.to_owned()));
    let which = Which::Tag("1".into());
    let pushed = registry.push_manifest(&repository, &which, &document).await;
    let text = pushed.unwrap_err().to_string();
    assert!(
        text.contains("400: manifest blob unknown: blob unknown to registry"),
        "{text}"
    );
}
