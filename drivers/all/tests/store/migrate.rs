//! Layers that move from one driver to another, also where that is cut off.

use crate::stand::{Blob, Stand, check, install, open_driver, told};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use strata_driver::{
    Availability, ErrorKind, Host, PrepareOptions, Result, SnapshotName, StorageDriver,
};
use strata_harness::fixture::{FileSystemKind, Fixture};
use strata_store::check::Level;
use strata_store::{Layers, Migrated, MigrationStep, name_of};

type Open = Box<dyn FnOnce(&Path) -> Result<Arc<dyn StorageDriver>> + Send>;

fn to(driver: &'static str) -> Open {
    Box::new(move |root| open_driver(driver, root))
}

async fn migrate(stand: &mut Stand, driver: &'static str) -> Result<Migrated> {
    let migrated = stand.open().migrate(to(driver), |_| {}).await?;
    stand.driver = driver;
    Ok(migrated)
}

/// The store is whole, and gives every layer to the bit.
async fn is_whole(stand: &Stand) -> Layers {
    let layers = stand.open();
    layers.recover().await.unwrap();
    assert_eq!(told(&check(&layers, Level::Full).await), "");
    for (at, tar) in stand.tars.iter().enumerate() {
        let row = layers
            .store()
            .facts()
            .layer(&stand.chain(at))
            .unwrap()
            .unwrap();
        let written = layers.export(&row, std::io::sink()).await.unwrap();
        assert_eq!(written.size.0, tar.len() as u64);
    }
    assert!(!layers.store().layout().next_driver().exists());
    layers
}

/// Drivers that run below `place`.
fn drivers(place: &Path) -> Vec<&'static str> {
    let host = Host::probe();
    let registry = strata_drivers::registry();
    let mut able = Vec::new();
    for name in ["vfs", "overlay", "btrfs"] {
        match registry
            .get(name)
            .map(|factory| factory.probe(&host, place))
        {
            Ok(Availability::Available(_)) => able.push(name),
            Ok(Availability::Unavailable(why)) => eprintln!("skipped: {name}: {}", why.missing),
            Err(_) => eprintln!("skipped: {name}: not in this build"),
        }
    }
    able
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_move_there_and_back() {
    if crate::stand::is_skipped() {
        return;
    }
    there_and_back(&std::env::temp_dir()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_move_there_and_back_on_btrfs() {
    if !cfg!(feature = "btrfs") {
        eprintln!("skipped: needs the feature `btrfs`");
        return;
    }
    if let Some(missing) = FileSystemKind::Btrfs.missing() {
        eprintln!("skipped: {missing}");
        return;
    }
    let fixture = Fixture::file_system(FileSystemKind::Btrfs, 256 << 20).unwrap();
    there_and_back(fixture.path()).await;
}

/// Between all drivers that run below `place`.
async fn there_and_back(place: &Path) {
    let drivers = drivers(place);
    for from in &drivers {
        for there in drivers.iter().filter(|there| *there != from) {
            let mut stand = Stand::filled_in(from, Blob::Gzip, place).await;
            let before = labels(&stand.open()).await;
            let migrated = migrate(&mut stand, there).await.unwrap();
            assert_eq!((migrated.layers, migrated.left), (4, None));
            let bytes: usize = stand.tars.iter().map(Vec::len).sum();
            assert_eq!(migrated.bytes.0, bytes as u64);
            let layers = is_whole(&stand).await;
            assert_eq!(layers.driver().info().name.as_str(), *there);
            assert_eq!(labels(&layers).await, before);
            drop(layers);
            migrate(&mut stand, from).await.unwrap();
            is_whole(&stand).await;
        }
    }
}

/// What was known of each layer's origin.
async fn labels(layers: &Layers) -> Vec<strata_driver::Labels> {
    let snapshots = layers.driver().list().await.unwrap();
    snapshots.into_iter().map(|info| info.labels).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_merged_tree_is_the_same() {
    if crate::stand::is_skipped() {
        return;
    }
    let mut stand = Stand::filled("overlay", Blob::None).await;
    let before = changes(&stand).await;
    migrate(&mut stand, "vfs").await.unwrap();
    assert_eq!(changes(&stand).await, before);
}

/// The whole tree of the top layer as a canonical diff: its digest covers attributes and links.
async fn changes(stand: &Stand) -> (usize, strata_store::Digest) {
    use std::io::Read as _;
    let layers = stand.open();
    let driver = layers.driver();
    let top = name_of(&stand.chain(3));
    let options = strata_driver::DiffOptions::default();
    let diff = driver.diff(None, &top, &options).await.unwrap();
    strata_driver::blocking(move || {
        let mut bytes = Vec::new();
        diff.into_read().read_to_end(&mut bytes).unwrap();
        Ok((bytes.len(), strata_store::Digest::of(&bytes)))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_it_is_cut_off_the_store_is_whole() {
    if crate::stand::is_skipped() {
        return;
    }
    for stop in 1..=7 {
        let mut stand = Stand::filled("vfs", Blob::None).await;
        let layers = stand.open();
        let count = AtomicUsize::new(0);
        let last = Arc::new(std::sync::Mutex::new(None));
        let heard = Arc::clone(&last);
        let work = layers.migrate(to("overlay"), move |step| {
            let is_last = count.fetch_add(1, Ordering::Relaxed) + 1 == stop;
            *heard.lock().unwrap() = Some(step);
            // Unwinds through the migration, which does nothing any more.
            assert!(!is_last, "cut off, as planned");
        });
        let outcome = tokio::spawn(work).await;
        assert!(outcome.is_err(), "there are {stop} steps");
        let last = last.lock().unwrap().take().unwrap();
        let is_there = stand.root().join("layers.next").exists();
        assert_eq!(is_there, last != MigrationStep::Removed, "{last:?}");
        if matches!(last, MigrationStep::Exchanged | MigrationStep::Removed) {
            stand.driver = "overlay";
            is_whole(&stand).await;
        } else {
            // Both ways out: a recovery, and the next migration.
            if stop % 2 == 0 {
                is_whole(&stand).await;
            }
            migrate(&mut stand, "overlay").await.unwrap();
            is_whole(&stand).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_fails_leaves_nothing() {
    if crate::stand::is_skipped() {
        return;
    }
    let stand = Stand::filled("vfs", Blob::None).await;
    // Layers above the spoiled one are not reached, and none is lost.
    let file = stand.in_tree("etc/passwd", "root:x:0:0\napp:x:1:1\n");
    fs_err::write(&file, "root:x:0:0\nApp:x:1:1\n").unwrap();
    let error = stand
        .open()
        .migrate(to("overlay"), |_| {})
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
    assert!(error.chain().contains("etc/passwd"), "{}", error.chain());
    assert!(!stand.root().join("layers.next").exists());
    fs_err::write(&file, "root:x:0:0\napp:x:1:1\n").unwrap();
    let layers = stand.open();
    assert_eq!(layers.driver().list().await.unwrap().len(), 4);
    drop(layers);
    let refused: Open = Box::new(|_| {
        Err(strata_driver::Error::new(ErrorKind::Unavailable, "open").because("not here"))
    });
    let error = stand.open().migrate(refused, |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_at_work_keeps_a_migration_away() {
    if crate::stand::is_skipped() {
        return;
    }
    let mut stand = Stand::filled("vfs", Blob::None).await;
    let other = stand.open();
    other.find(&stand.chain(0)).await.unwrap().unwrap();
    let error = migrate(&mut stand, "overlay").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error.to_string().contains("somebody else is at work"),
        "{error}"
    );

    // A snapshot that is no layer's.
    let key = SnapshotName::new("container").unwrap();
    let options = PrepareOptions::default();
    let top = name_of(&stand.chain(3));
    other
        .driver()
        .prepare(&key, Some(&top), &options)
        .await
        .unwrap();
    drop(other);
    let error = migrate(&mut stand, "overlay").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert_eq!(error.context("snapshot"), Some("container"));

    // The driver in use elsewhere in this process.
    let layers = stand.open();
    layers.driver().remove(&key).await.unwrap();
    let again = layers.clone();
    let error = layers.migrate(to("overlay"), |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    drop(again);

    // Another migration.
    let lock = strata_sys::lock::FileLock::exclusive(&stand.root()).unwrap();
    let error = migrate(&mut stand, "overlay").await.unwrap_err();
    assert!(error.to_string().contains("another migration"), "{error}");
    drop(lock);
    migrate(&mut stand, "overlay").await.unwrap();
    let layers = is_whole(&stand).await;
    // And it is a store as any other.
    let mut tars = stand.tars.clone();
    tars.push(crate::stand::Archive::default().file("more", "more").end());
    install(&layers, &tars, Blob::Gzip, "more").await;
    assert_eq!(told(&check(&layers, Level::Full).await), "");
}
