//! Several at work in one store.

use crate::stand::{Archive, Blob, DRIVERS, Stand, is_skipped};
use std::cell::RefCell;
use std::sync::Arc;
use strata_driver::{Bytes, CommitOptions, Durability, ErrorKind, PrepareOptions, SnapshotName};
use strata_store::{
    BlobSource, ChainId, Digest, Layers, Place, Store, Target, name_of, parse_diff_id,
};

/// A prune between a layer's commit and its image once took the layer along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_layer_is_kept_for_who_brings_it() {
    if is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = Stand::filled(driver, Blob::Gzip).await;
        let layers = stand.open();
        let tar = Archive::default().file("new", driver).end();
        let diff = parse_diff_id(&Digest::of(&tar).to_string()).unwrap();
        let parent = stand.chain(3);
        let from = (!layers.can_apply_apart()).then_some(&parent);
        let read = Arc::new(move || {
            let tar: Box<dyn std::io::Read + Send> = Box::new(std::io::Cursor::new(tar.clone()));
            Ok(tar)
        });
        let draft = layers.apply(diff, from, read).await.unwrap();
        let place = Place {
            parent: Some(parent),
            blob: None,
        };
        let row = layers.commit(draft, place).await.unwrap();

        let other = Store::open(layers.store().layout().root(), Durability::Volatile).unwrap();
        assert!(other.free_blobs().unwrap().layers.is_empty(), "{driver}");
        layers.sweep().await.unwrap();
        assert!(layers.find(&row.chain).await.unwrap().is_some(), "{driver}");
    }
}

/// A removed layer with somebody's snapshot on it once kept every command from opening the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_layer_in_use_waits_and_blocks_nobody() {
    if is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = Stand::filled(driver, Blob::Gzip).await;
        let layers = stand.open();
        let (top, key) = (stand.chain(3), SnapshotName::new("box").unwrap());
        let options = PrepareOptions::default();
        let below = name_of(&top);
        let prepared = layers.driver().prepare(&key, Some(&below), &options);
        prepared.await.unwrap();
        let facts = layers.store().facts();
        let image = facts.images().unwrap().remove(0);
        let names = facts.references_of(&image.id).unwrap();
        let removed = layers.store().remove_image(&image.id, names.len());
        assert_eq!(removed.unwrap().layers.len(), 4, "{driver}");

        let told = layers.sweep().await.unwrap_err();
        assert_eq!(told.kind(), ErrorKind::InUse, "{driver}: {told}");
        layers.recover().await.unwrap();
        assert!(layers.store().facts().layer(&top).unwrap().is_some());
        layers.driver().remove(&key).await.unwrap();
        layers.sweep().await.unwrap();
        assert!(layers.store().facts().layers().unwrap().is_empty());
        assert!(layers.driver().list().await.unwrap().is_empty(), "{driver}");
    }
}

/// What others wrote while a migration copied was once lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migration_and_others_keep_each_other_away() {
    if is_skipped() {
        return;
    }
    let stand = Stand::filled("vfs", Blob::Gzip).await;
    let layers: Layers = stand.open();
    let root = layers.store().layout().root().to_owned();
    let user = Store::open(&root, Durability::Volatile).unwrap();
    user.use_driver().unwrap();
    let refused = layers
        .migrate(|_| panic!("the other driver was opened"), |_| {})
        .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Busy);
    drop(user);

    let layers = stand.open();
    let late = root.clone();
    let outcome = layers
        .migrate(
            move |_| {
                let store = Store::open(&late, Durability::Volatile)?;
                Err(store.use_driver().unwrap_err())
            },
            |_| {},
        )
        .await;
    let told = outcome.unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Busy, "{told}");
    assert!(told.chain().contains("moved to another driver"), "{told}");
    Store::open(&root, Durability::Volatile)
        .unwrap()
        .use_driver()
        .unwrap();
}

/// A layer of a diff that is known, standing on nothing: whoever committed it died before its row.
pub(crate) async fn committed_without_row(layers: &Layers, like: &ChainId) -> ChainId {
    let driver = layers.driver();
    let labels = driver.stat(&name_of(like)).await.unwrap().labels;
    let chain = ChainId::of(None, parse_diff_id(&labels["strata.diff"]).unwrap());
    let (key, options) = (
        SnapshotName::new("dead").unwrap(),
        PrepareOptions::default(),
    );
    driver.prepare(&key, None, &options).await.unwrap();
    let options = CommitOptions::default().with_labels(labels);
    let name = name_of(&chain);
    driver.commit(&key, &name, &options).await.unwrap();
    chain
}

/// A layer that had no row yet once lost its journal when another of the same diff was removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removal_keeps_the_journal_of_a_layer_without_row() {
    if is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = Stand::filled(driver, Blob::Gzip).await;
        let layers = stand.open();
        let chain = committed_without_row(&layers, &stand.chain(3)).await;
        let image = layers.store().facts().images().unwrap().remove(0).id;
        layers.store().remove_image(&image, 1).unwrap();
        layers.sweep().await.unwrap();
        let layout = layers.store().layout();
        assert!(layout.journal(stand.diff(3)).exists(), "{driver}");
        assert!(!layout.journal(stand.diff(2)).exists(), "{driver}");
        assert_eq!(layers.recover().await.unwrap().layers, 1, "{driver}");
        assert!(layers.find(&chain).await.unwrap().is_some(), "{driver}");
    }
}

/// Who was slower once removed a name that somebody had just given, or named what was gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_is_removed_with_the_names_that_were_seen_and_named_while_it_is_there() {
    if is_skipped() {
        return;
    }
    let stand = Stand::filled("vfs", Blob::Gzip).await;
    let layers = stand.open();
    let (store, facts) = (layers.store(), layers.store().facts());
    let image = facts.images().unwrap().remove(0).id;
    let name = |tag: &str| {
        facts.set_reference("docker.io/library/image", &Target::Tag(tag.into()), &image)
    };
    name("late").unwrap();
    let told = store.remove_image(&image, 1).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Busy, "{told}");
    assert_eq!(facts.references_of(&image).unwrap().len(), 2);
    store.remove_image(&image, 2).unwrap();
    let told = name("later").unwrap_err();
    assert_eq!(told.kind(), ErrorKind::NotFound, "{told}");
    assert!(facts.references().unwrap().is_empty());
}

/// Who is told to end once waited for ever for another who wrote the same document.
#[test]
fn document_that_somebody_else_writes_is_not_waited_for_after_the_end() {
    let stand = Stand::empty("vfs");
    let store = Store::open(&stand.root(), Durability::Volatile).unwrap();
    let other = store.blob(&Digest::of(b"text"), Bytes(4)).unwrap();
    assert!(matches!(other, BlobSource::Fetch(_)));
    let other = RefCell::new(Some(other));
    let is_ended = || {
        // Who went on after this would come to the end.
        drop(other.take());
        true
    };
    let told = store.put_document(b"text", &is_ended).unwrap_err();
    assert!(told.to_string().contains("interrupted"), "{told}");
    store.put_document(b"text", &is_ended).unwrap();
}
