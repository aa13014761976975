//! A blob to its end: what is verified is not fetched again, and what is wrong is named.

use crate::{Memory, client, digest_of, fake, fetch, hasty, noise, quick};
use std::time::Duration;
use strata_image::ImageError;
use strata_image::document::{Descriptor, media_type};
use strata_image::registry::Registry;
use strata_image::testing::{FakeRegistry, Fault};
use strata_store::Digest;

const SIZE: usize = 300_000;
const HALF: usize = SIZE / 2;

fn with_blob() -> (FakeRegistry, Descriptor) {
    let fake = fake();
    let blob = fake.add_blob(media_type::OCI_LAYER_GZIP, &noise(SIZE));
    (fake, blob)
}

/// The first bytes that each request for the blob asked for.
fn ranges(fake: &FakeRegistry) -> Vec<String> {
    let range = |range: Option<String>| range.unwrap_or_else(|| "all".to_owned());
    fake.requests()
        .into_iter()
        .map(|seen| range(seen.range))
        .collect()
}

#[tokio::test]
async fn whole_blob_comes_in_one_request() {
    let (fake, blob) = with_blob();
    let mut sink = Memory::default();
    let (result, said) = fetch(
        &client(),
        &fake.repository("a/b"),
        &blob,
        &mut sink,
        &quick(),
    )
    .await;
    result.unwrap();
    assert_eq!(digest_of(&sink), blob.digest);
    assert_eq!((said.len(), ranges(&fake).len()), (0, 1));
}

#[tokio::test]
async fn interrupted_blob_goes_on_where_it_was() {
    for fault in [
        Fault::CloseAfter(HALF),
        Fault::StallAfter(HALF),
        Fault::NoLength(HALF),
    ] {
        let (fake, blob) = with_blob();
        fake.fail("/blobs/", fault.clone(), 1);
        let mut sink = Memory::default();
        let registry = match fault {
            Fault::StallAfter(_) => hasty(),
            _ => client(),
        };
        let (result, said) = fetch(
            &registry,
            &fake.repository("a/b"),
            &blob,
            &mut sink,
            &quick(),
        )
        .await;
        result.unwrap();
        assert_eq!(digest_of(&sink), blob.digest, "{fault:?}");
        assert_eq!(
            ranges(&fake),
            ["all".to_owned(), format!("bytes={HALF}-")],
            "{fault:?}"
        );
        assert_eq!(fake.bytes_sent(), SIZE as u64, "{fault:?}: no byte twice");
        assert_eq!((said.len(), sink.restarts), (1, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn sink_with_a_beginning_gets_the_rest() {
    let (fake, blob) = with_blob();
    let mut sink = Memory {
        bytes: noise(SIZE)[..1000].to_vec(),
        restarts: 0,
    };
    let (result, _) = fetch(
        &client(),
        &fake.repository("a/b"),
        &blob,
        &mut sink,
        &quick(),
    )
    .await;
    result.unwrap();
    assert_eq!(digest_of(&sink), blob.digest);
    assert_eq!(fake.bytes_sent(), SIZE as u64 - 1000);
}

#[tokio::test]
async fn complete_sink_asks_nothing() {
    let (fake, blob) = with_blob();
    let mut sink = Memory {
        bytes: noise(SIZE),
        restarts: 0,
    };
    let (result, _) = fetch(
        &client(),
        &fake.repository("a/b"),
        &blob,
        &mut sink,
        &quick(),
    )
    .await;
    result.unwrap();
    assert!(fake.requests().is_empty());
}

#[tokio::test]
async fn registry_without_ranges_makes_the_sink_start_again() {
    let (fake, blob) = with_blob();
    fake.fail("/blobs/", Fault::CloseAfter(HALF), 1);
    fake.fail("/blobs/", Fault::IgnoreRange, 1);
    let mut sink = Memory::default();
    let (result, _) = fetch(
        &client(),
        &fake.repository("a/b"),
        &blob,
        &mut sink,
        &quick(),
    )
    .await;
    result.unwrap();
    assert_eq!((digest_of(&sink), sink.restarts), (blob.digest, 1));
}

#[tokio::test]
async fn more_bytes_than_named_are_refused_before_they_are_written() {
    for fault in [
        Fault::ContentLength(SIZE as u64 + 1),
        Fault::Endless(1 << 20),
    ] {
        let (fake, blob) = with_blob();
        fake.fail("/blobs/", fault.clone(), usize::MAX);
        let mut sink = Memory::default();
        let (result, said) = fetch(
            &client(),
            &fake.repository("a/b"),
            &blob,
            &mut sink,
            &quick(),
        )
        .await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, ImageError::BlobTooLong { .. }),
            "{fault:?}: {error}"
        );
        assert!(
            error
                .to_string()
                .contains("longer than its descriptor says: 300000 bytes")
        );
        assert!(sink.bytes.len() <= SIZE);
        assert_eq!(said.len(), 0, "{fault:?}: it will not get better");
    }
}

#[tokio::test]
async fn fewer_bytes_than_named_are_an_error_with_a_name() {
    let (fake, mut blob) = with_blob();
    blob.size += 5;
    let mut sink = Memory::default();
    let (result, _) = fetch(
        &client(),
        &fake.repository("a/b"),
        &blob,
        &mut sink,
        &quick(),
    )
    .await;
    let text = result.unwrap_err().to_string();
    assert!(text.contains("300000 of 300005 bytes came"), "{text}");

    // Without a length, it may have been the network: asked for the rest, the registry has none.
    fake.fail("/blobs/", Fault::NoLength(SIZE), 1);
    let (result, said) = fetch(
        &client(),
        &fake.repository("a/b"),
        &blob,
        &mut sink,
        &quick(),
    )
    .await;
    let error = result.unwrap_err();
    assert!(error.to_string().contains("416"), "{error}");
    assert_eq!(said.len(), 1);
}

#[tokio::test]
async fn attempts_come_to_an_end() {
    let (fake, blob) = with_blob();
    fake.fail(
        "/blobs/",
        Fault::Status(503, vec![], "<h1>busy</h1>".into()),
        usize::MAX,
    );
    let policy = quick().with_attempts(3);
    let (result, said) = fetch(
        &client(),
        &fake.repository("a/b"),
        &blob,
        &mut Memory::default(),
        &policy,
    )
    .await;
    let text = result.unwrap_err().to_string();
    assert!(
        text.contains("unexpected status 503: <h1>busy</h1>"),
        "{text}"
    );
    assert_eq!((said.len(), fake.requests().len()), (2, 3));
}

#[tokio::test]
async fn passing_failures_are_repeated_and_final_ones_are_not() {
    for (status, passes) in [
        (500, true),
        (502, true),
        (503, true),
        (504, true),
        (429, true),
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (418, false),
    ] {
        let (fake, blob) = with_blob();
        fake.fail("/blobs/", Fault::Status(status, vec![], String::new()), 2);
        let mut sink = Memory::default();
        let (result, said) = fetch(
            &client(),
            &fake.repository("a/b"),
            &blob,
            &mut sink,
            &quick(),
        )
        .await;
        assert_eq!(
            (result.is_ok(), said.len()),
            (passes, if passes { 2 } else { 0 }),
            "{status}"
        );
    }
}

#[tokio::test]
async fn retry_after_is_heeded_up_to_the_longest_wait() {
    let (fake, blob) = with_blob();
    let limited = |seconds: &str| {
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
        Fault::Status(
            429,
            vec![("Retry-After", seconds.to_owned())],
            body.to_owned(),
        )
    };
    fake.fail("/blobs/", limited("0"), 1);
    fake.fail("/blobs/", limited("86400"), 1);
    let policy = quick().with_longest_wait(Duration::from_millis(30));
    let (result, said) = fetch(
        &client(),
        &fake.repository("a/b"),
        &blob,
        &mut Memory::default(),
        &policy,
    )
    .await;
    result.unwrap();
    assert_eq!(
        said,
        [
            "1: 0ns: toomanyrequests: You have reached your pull rate limit.",
            "2: 30ms: toomanyrequests: You have reached your pull rate limit.",
        ]
    );
}

#[tokio::test]
async fn silence_ends_a_request_by_name() {
    let (fake, blob) = with_blob();
    fake.fail("/blobs/", Fault::Silence, usize::MAX);
    let policy = quick().with_attempts(1);
    let (result, _) = fetch(
        &hasty(),
        &fake.repository("a/b"),
        &blob,
        &mut Memory::default(),
        &policy,
    )
    .await;
    let error = result.unwrap_err();
    assert!(matches!(error, ImageError::Stalled { .. }), "{error}");
    assert!(
        error.to_string().ends_with("no byte for 1 s: i/o timeout"),
        "{error}"
    );
}

#[tokio::test]
async fn wrong_bytes_come_through_for_the_sink_to_judge() {
    let (fake, blob) = with_blob();
    fake.fail("/blobs/", Fault::WrongByte, 1);
    let mut sink = Memory::default();
    let (result, _) = fetch(
        &client(),
        &fake.repository("a/b"),
        &blob,
        &mut sink,
        &quick(),
    )
    .await;
    result.unwrap();
    assert_ne!(digest_of(&sink), blob.digest);
}

#[tokio::test]
async fn redirect_is_followed_without_our_credentials() {
    let (fake, blob) = with_blob();
    let storage = crate::fake();
    storage.add_blob("", &noise(SIZE));
    fake.allow(strata_image::testing::Access::Token("ann", "secret"));
    let to = format!("http://{}/v2/a/b/blobs/{}", storage.host(), blob.digest);
    let registry = client();
    // The first request is for the challenge; the redirect answers the second.
    let challenge =
        r#"Bearer realm="http://HOST/token",service="fake""#.replace("HOST", &fake.host());
    let refusal = Fault::Status(401, vec![("WWW-Authenticate", challenge)], String::new());
    fake.fail("/blobs/", refusal, 1);
    fake.fail("/blobs/", Fault::Redirect(to), 1);
    storage.fail("/blobs/", Fault::CloseAfter(HALF), 1);
    let mut sink = Memory::default();
    let (result, _) = fetch(
        &registry,
        &fake.repository("a/b"),
        &blob,
        &mut sink,
        &quick(),
    )
    .await;
    result.unwrap();
    assert_eq!(digest_of(&sink), blob.digest);
    let shown = fake.requests();
    assert!(
        shown
            .iter()
            .any(|seen| seen.authorization.as_deref() == Some("Bearer may-read"))
    );
    assert!(
        storage
            .requests()
            .iter()
            .all(|seen| seen.authorization.is_none())
    );
    // The storage broke off once; its half was not fetched from it again.
    assert_eq!(fake.count("/blobs/"), 3);
    assert_eq!(storage.bytes_sent(), HALF as u64);
}

#[tokio::test]
async fn redirects_have_an_end() {
    let (fake, blob) = with_blob();
    let to = format!("/v2/a/b/blobs/{}", blob.digest);
    fake.fail("/blobs/", Fault::Redirect(to), usize::MAX);
    let (result, said) = fetch(
        &client(),
        &fake.repository("a/b"),
        &blob,
        &mut Memory::default(),
        &quick(),
    )
    .await;
    let text = result.unwrap_err().to_string();
    assert!(text.contains("redirects where we do not follow"), "{text}");
    assert!(said.is_empty() && fake.requests().len() < 20);
}

#[tokio::test]
async fn encoding_that_nobody_asked_for_is_refused() {
    let (fake, blob) = with_blob();
    fake.fail("/blobs/", Fault::Encoded, 1);
    let (result, _) = fetch(
        &client(),
        &fake.repository("a/b"),
        &blob,
        &mut Memory::default(),
        &quick(),
    )
    .await;
    let text = result.unwrap_err().to_string();
    assert!(
        text.contains("encoded as `gzip`, which was not asked for"),
        "{text}"
    );
}

#[tokio::test]
async fn range_that_begins_elsewhere_is_refused() {
    let (fake, blob) = with_blob();
    let range = vec![("Content-Range", format!("bytes 0-{}/{SIZE}", SIZE - 1))];
    let body = String::from_utf8(vec![b'x'; SIZE]).unwrap();
    fake.fail("/blobs/", Fault::Status(206, range, body), 1);
    let error = client()
        .blob(&fake.repository("a/b"), &blob, 7)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("sent byte 0 first, not 7"),
        "{error}"
    );
}

#[tokio::test]
async fn missing_blob_is_named() {
    let (fake, mut blob) = with_blob();
    blob.digest = Digest::of(b"other");
    let (result, _) = fetch(
        &client(),
        &fake.repository("a/b"),
        &blob,
        &mut Memory::default(),
        &quick(),
    )
    .await;
    let error = result.unwrap_err();
    assert!(matches!(error, ImageError::BlobUnknown { .. }), "{error}");
}

#[tokio::test]
async fn no_more_blobs_at_once_than_set() {
    let (fake, blob) = with_blob();
    let settings = crate::settings().with_max_concurrent(1);
    let registry = strata_image::registry::OciRegistry::new(settings, None).unwrap();
    let repository = fake.repository("a/b");
    let first = registry.blob(&repository, &blob, 0).await.unwrap();
    let second = registry.blob(&repository, &blob, 0);
    let mut second = std::pin::pin!(second);
    tokio::select! {
        biased;
        _ = &mut second => panic!("the second blob did not wait"),
        () = tokio::task::yield_now() => {}
    }
    drop(first);
    second.await.unwrap();
}
