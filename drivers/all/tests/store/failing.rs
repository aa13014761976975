//! What fails on the way, and what is told and left then.

use crate::company::committed_without_row;
use crate::stand::{Blob, DRIVERS, Stand, check, diff_of, four_layers, is_skipped, repair, told};
use crate::stubborn::{Call, stubborn};
use async_trait::async_trait;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strata_driver::ErrorKind;
use strata_image::ImageError;
use strata_image::document::Descriptor;
use strata_image::install::{From, Installer, Planned, Source};
use strata_image::registry::Sink;
use strata_store::check::{Level, Outcome, Subject};
use strata_store::name_of;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

/// A look that could not be removed once took what was seen with it, and stayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn look_that_cannot_be_removed_hides_nothing_and_is_recovered() {
    if is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = Stand::filled(driver, Blob::Gzip).await;
        let layers = stand.open();
        let refusing = stubborn(&layers, |call, key| {
            call == Call::Remove && key.as_str().starts_with("look")
        });
        let row = layers.store().facts().layer(&stand.chain(3));
        let row = row.unwrap().unwrap();
        let written = refusing.export(&row, std::io::sink()).await.unwrap();
        assert_eq!(written.diff_id, row.diff, "{driver}");
        let report = check(&refusing, Level::Full).await;
        assert_eq!(told(&report), "", "{driver}");

        drop((refusing, layers));
        let layers = stand.open();
        assert!(layers.store().needs_recovery().unwrap(), "{driver}");
        layers.recover().await.unwrap();
        assert_eq!(layers.driver().list().await.unwrap().len(), 4, "{driver}");
    }
}

/// A journal that could not be written again once ended the repair, and left a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_that_cannot_be_written_is_told_and_others_are() {
    if is_skipped() {
        return;
    }
    let stand = Stand::filled("vfs", Blob::Gzip).await;
    let layers = stand.open();
    let layout = layers.store().layout();
    for at in [0, 1, 2, 3] {
        fs_err::remove_file(layout.journal(stand.diff(at))).unwrap();
    }
    // No file can be renamed over a directory.
    fs_err::create_dir(layout.journal(stand.diff(1))).unwrap();
    let report = repair(&layers).await;
    for at in [0, 1, 2, 3] {
        let subject = Subject::Journal(stand.diff(at));
        let done = report.repaired.iter().find(|done| done.subject == subject);
        match &done.unwrap().outcome {
            Outcome::MadeAgain => assert_ne!(at, 1),
            Outcome::Refused(why) => assert!(at == 1 && why.contains("repair store"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    let left = fs_err::read_dir(layout.fetches()).unwrap().count();
    assert_eq!(left, 0, "a file is left on its way");
}

struct NoSource;

#[async_trait]
impl Source for NoSource {
    async fn bring(
        &self,
        _blob: &Descriptor,
        _sink: &mut dyn Sink,
        _retrying: &(dyn Fn(Duration) + Send + Sync),
    ) -> strata_image::Result<()> {
        unreachable!("nothing comes from elsewhere")
    }
}

fn planned(tar: &[u8]) -> Planned {
    let (diff, tar) = (diff_of(tar), tar.to_vec());
    let from = From::Tar(Arc::new(move || {
        Ok(Box::new(Cursor::new(tar.clone())) as Box<_>)
    }));
    let id = diff.to_string();
    Planned { diff, id, from }
}

/// A recovered layer without its journal was once used as it was, and could never be saved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layer_without_its_journal_is_known_and_brought_anew() {
    if is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = Stand::filled(driver, Blob::Gzip).await;
        let layers = stand.open();
        let chain = committed_without_row(&layers, &stand.chain(3)).await;
        let journal = layers.store().layout().journal(stand.diff(3));
        fs_err::remove_file(&journal).unwrap();
        layers.recover().await.unwrap();
        let known = layers.find(&chain).await.unwrap().unwrap();
        assert!(!layers.is_whole(&known), "{driver}");

        let installer = Installer::new(layers.clone(), Arc::new(NoSource));
        let brought = installer.layers(&[planned(&stand.tars[3])]).await.unwrap();
        assert_eq!(brought, [chain], "{driver}");
        assert!(layers.is_whole(&known), "{driver}");
        assert_eq!(layers.driver().list().await.unwrap().len(), 5, "{driver}");
    }
}

/// One draft that could not be removed once kept the others, and hid why they were to go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drafts_go_though_one_of_them_cannot() {
    if is_skipped() {
        return;
    }
    let stand = Stand::empty("overlay");
    let layers = stand.open();
    assert!(layers.can_apply_apart());
    let tars = four_layers();
    let planned: Vec<Planned> = tars.iter().map(|tar| planned(tar)).collect();
    let (applied, removed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let refusing = stubborn(&layers, move |call, _| match call {
        Call::Applied => applied.fetch_add(1, Ordering::SeqCst) > tars.len(),
        Call::Commit => {
            while applied.load(Ordering::SeqCst) < tars.len() {
                std::thread::sleep(Duration::from_millis(1));
            }
            true
        }
        // The first is that of the layer whose commit failed.
        Call::Remove => removed.fetch_add(1, Ordering::SeqCst) == 1,
    });
    let installer = Installer::new(refusing.clone(), Arc::new(NoSource));
    let ImageError::Local(error) = installer.layers(&planned).await.unwrap_err() else {
        panic!("another error")
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert_eq!(layers.driver().list().await.unwrap().len(), 1);

    drop((installer, refusing, layers));
    let layers = stand.open();
    assert!(layers.store().needs_recovery().unwrap());
    assert_eq!(layers.recover().await.unwrap().drafts, 1);
    assert!(layers.driver().list().await.unwrap().is_empty());
    let left = fs_err::read_dir(layers.store().layout().fetches()).unwrap();
    assert_eq!(left.count(), 0);
}

/// What somebody took again in the middle of a removal once lost what it stands on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layer_that_is_taken_again_keeps_what_it_stands_on() {
    if is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = Stand::filled(driver, Blob::Gzip).await;
        let layers = stand.open();
        let (taker, top, below) = (layers.clone(), stand.chain(3), name_of(&stand.chain(2)));
        let refusing = stubborn(&layers, move |call, name| {
            if call == Call::Remove && *name == below {
                let found = || Handle::current().block_on(taker.find(&top));
                assert!(block_in_place(found).unwrap().is_some());
            }
            call == Call::Remove
        });
        let facts = layers.store().facts();
        let image = facts.images().unwrap().remove(0).id;
        layers.store().remove_image(&image, 1).unwrap();
        let told = refusing.sweep().await.unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Busy, "{driver}: {told}");
        let rows = facts.layers().unwrap();
        assert_eq!(rows.len(), 4, "{driver}");
        assert!(rows.iter().all(|row| !row.is_doomed), "{driver}: {rows:?}");
    }
}
