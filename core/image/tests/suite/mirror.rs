//! Mirrors: asked first, never trusted to be there.

use crate::{Memory, digest_of, fake, fetch, noise, quick, settings};
use strata_image::document::Platform;
use strata_image::registry::{OciRegistry, Registry, Which};
use strata_image::testing::Fault;

#[tokio::test]
async fn mirror_that_has_it_spares_the_registry() {
    let (origin, mirror) = (fake(), fake());
    origin.add_image("a/b", "1", &Platform::host(), &[]);
    mirror.add_image("a/b", "1", &Platform::host(), &[]);
    let blob = mirror.add_blob("", &noise(1000));
    let settings = settings().with_mirror(origin.host(), format!("http://{}", mirror.host()));
    let registry = OciRegistry::new(settings, None).unwrap();
    let repository = origin.repository("a/b");
    registry
        .manifest(&repository, &Which::Tag("1".into()))
        .await
        .unwrap();
    let mut sink = Memory::default();
    fetch(&registry, &repository, &blob, &mut sink, &quick())
        .await
        .0
        .unwrap();
    assert_eq!(digest_of(&sink), blob.digest);
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn mirror_that_fails_is_passed_over() {
    let (origin, broken, gone) = (fake(), fake(), fake());
    origin.add_image("a/b", "1", &Platform::host(), &[]);
    let blob = origin.add_blob("", &noise(1000));
    let mut wrong = noise(999);
    wrong.push(0);
    broken.fail("/v2/", Fault::Status(500, vec![], String::new()), 1);
    let gone_host = gone.host();
    drop(gone);
    let settings = settings()
        .with_mirror(origin.host(), gone_host)
        .with_mirror(origin.host(), broken.host());
    let registry = OciRegistry::new(settings, None).unwrap();
    let repository = origin.repository("a/b");
    registry
        .manifest(&repository, &Which::Tag("1".into()))
        .await
        .unwrap();
    // A length that cannot be right is seen before the first byte.
    broken.add_blob("", &noise(1000));
    broken.fail("/blobs/", Fault::ContentLength(7), 1);
    let mut sink = Memory::default();
    let (result, said) = fetch(&registry, &repository, &blob, &mut sink, &quick()).await;
    result.unwrap();
    assert_eq!(digest_of(&sink), blob.digest);
    assert!(said.is_empty());
    assert_eq!((broken.requests().len(), origin.requests().len()), (2, 2));
}
