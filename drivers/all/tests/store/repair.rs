//! What a repair promises, and what it refuses.

use crate::stand::{Blob, DRIVERS, Stand, check, install, repair, told};
use std::sync::Arc;
use strata_driver::{PrepareOptions, SnapshotName, mount};
use strata_store::check::{CheckOptions, Level, Outcome, Subject};
use strata_store::{Digest, name_of};

/// The base of the image, in which a byte is another.
async fn spoiled_base(driver: &'static str, blobs: Blob) -> Stand {
    let stand = Stand::filled(driver, blobs).await;
    let content = "127.0.0.1 localhost\n";
    let file = stand.in_tree("etc/hosts", content);
    fs_err::write(file, "127.0.0.2 localhost\n").unwrap();
    stand
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_is_made_again_with_all_that_stands_on_it() {
    if crate::stand::is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = spoiled_base(driver, Blob::Gzip).await;
        let layers = stand.open();
        let more = [stand.tars[0].clone(), stand.tars[3].clone()];
        install(&layers, &more, Blob::Gzip, "sibling").await;
        let report = repair(&layers).await;
        assert_eq!(told(&report), "", "{driver}");
        let again = report
            .repaired
            .iter()
            .filter(|done| matches!(done.subject, Subject::Layer(_)))
            .map(|done| &done.outcome);
        assert!(again.clone().all(|outcome| *outcome == Outcome::MadeAgain));
        assert_eq!(again.count(), 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_blob_nothing_is_removed() {
    if crate::stand::is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = spoiled_base(driver, Blob::None).await;
        let layers = stand.open();
        let report = repair(&layers).await;
        assert!(told(&report).contains("etc/hosts"), "{report:?}");
        let Outcome::Refused(why) = &report.repaired[0].outcome else {
            panic!("{report:?}");
        };
        assert!(why.contains("no blob that is right"), "{why}");
        assert_eq!(layers.driver().list().await.unwrap().len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_is_in_use_stays() {
    if crate::stand::is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = spoiled_base(driver, Blob::Gzip).await;
        let layers = stand.open();
        let key = SnapshotName::new("container").unwrap();
        let driver = layers.driver();
        let options = PrepareOptions::default();
        let top = name_of(&stand.chain(3));
        driver.prepare(&key, Some(&top), &options).await.unwrap();
        let plan = driver.mounts(&key).await.unwrap();
        let seen = mount::detached(&plan).unwrap();
        let report = repair(&layers).await;
        let why = format!("{:?}", report.repaired);
        assert!(told(&report).contains("etc/hosts"), "{report:?}");
        assert!(
            why.contains("the active snapshot container stands on it"),
            "{why}"
        );
        assert_eq!(driver.list().await.unwrap().len(), 5);
        drop(seen);
        driver.remove(&key).await.unwrap();
        assert_eq!(told(&repair(&layers).await), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_blob_comes_from_a_registry_only() {
    if crate::stand::is_skipped() {
        return;
    }
    let stand = Stand::filled("vfs", Blob::Gzip).await;
    let layers = stand.open();
    let image = layers.store().facts().images().unwrap()[0].id;
    let blobs = layers.store().facts().blobs_of(&image).unwrap();
    let (layer, _) = blobs
        .iter()
        .find(|(_, role)| *role == strata_store::BlobRole::Layer)
        .unwrap();
    fs_err::remove_file(layers.store().layout().blob(layer)).unwrap();
    let report = repair(&layers).await;
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert!(report.findings[0].mend.contains("pull the image again"));
    let why = format!("{:?}", report.repaired);
    assert!(why.contains("pull the image again"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_whose_row_was_lost_is_taken_in() {
    if crate::stand::is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = Stand::filled(driver, Blob::Plain).await;
        // A copy of the facts from before the top layer came.
        let other = Stand::empty(driver);
        {
            let layers = other.open();
            install(&layers, &stand.tars[..3], Blob::Plain, "image").await;
        }
        for name in ["store.db", "store.db-wal", "store.db-shm"] {
            let (from, to) = (other.root().join(name), stand.root().join(name));
            if from.exists() {
                fs_err::copy(from, to).unwrap();
            } else if to.exists() {
                fs_err::remove_file(to).unwrap();
            }
        }
        let layers = stand.open();
        let report = check(&layers, Level::Quick).await;
        assert!(
            told(&report).contains("it is a layer's, and no row is"),
            "{}",
            told(&report)
        );
        let report = repair(&layers).await;
        let outcomes: Vec<_> = report.repaired.iter().map(|done| &done.outcome).collect();
        assert!(outcomes.contains(&&Outcome::TakenIn), "{report:?}");
        let row = layers.store().facts().layer(&stand.chain(3)).unwrap();
        assert!(row.is_some(), "{report:?}");
    }
}

/// A blob that came between the look and the repair once was removed as a stray.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_stray_any_more_stays() {
    if crate::stand::is_skipped() {
        return;
    }
    let stand = Stand::filled("vfs", Blob::Gzip).await;
    let layers = stand.open();
    let store = Arc::clone(layers.store());
    let digest = Digest::of(b"late");
    let (blob, journal) = (
        store.layout().blob(&digest),
        store.layout().journals().join("of-nothing"),
    );
    fs_err::write(&blob, "late").unwrap();
    fs_err::write(&journal, "").unwrap();
    let options = CheckOptions::default()
        .with_repair(strata_image::mend::repair())
        .with_progress(Arc::new(move |_, _, _| drop(store.keep_blob(&digest))));
    let report = layers.check(&options).await.unwrap();
    let outcomes = report.repaired.iter().map(|done| match &done.outcome {
        Outcome::Refused(why) => why.clone(),
        other => format!("{other:?}"),
    });
    let outcomes: Vec<_> = outcomes.collect();
    assert!(outcomes.contains(&"it is no stray any more".to_owned()));
    assert!(outcomes.contains(&"Removed".to_owned()), "{outcomes:?}");
    assert!(blob.exists() && !journal.exists());
}
