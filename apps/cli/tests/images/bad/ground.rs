//! What a store shows, and what it must not.

use crate::support::Store;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_driver::{Durability, Host, OpenOptions, PrepareOptions, SnapshotKind, SnapshotName};
use strata_harness::tree::Tree;
use strata_store::{ChainId, Layers};

/// What `system df` says of images where there are none.
const NO_IMAGES: &str = "Images          0         0         0B        0B";

/// Longer than any command here takes; one that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command to its end, which must come.
pub fn run(store: &Store, arguments: &[&str]) -> Output {
    let mut child = store
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{arguments:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// The one line of an error that ended a command, and its hint.
#[track_caller]
pub fn complaint(output: &Output) -> (String, Option<String>) {
    let text = crate::support::stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let (first, hint) = match lines[..] {
        [first] => (first, None),
        [first, second] => (first, second.strip_prefix("hint: ")),
        _ => panic!("more than an error and a hint:\n{text}"),
    };
    let Some(error) = first.strip_prefix("error: ") else {
        panic!("no error:\n{text}");
    };
    assert!(lines.len() == 1 || hint.is_some(), "no hint:\n{text}");
    let is_clean = !error.chars().any(char::is_control);
    assert!(is_clean && error.len() < 1000, "not for people: {error:?}");
    (error.to_owned(), hint.map(str::to_owned))
}

/// Runs `look` with the store's layers, in this process.
pub fn with_layers<T>(store: &Store, look: impl AsyncFnOnce(&Layers) -> T) -> T {
    let open = Arc::new(strata_store::Store::open(&store.root(), Durability::Volatile).unwrap());
    let options = OpenOptions::new(open.layout().driver()).with_durability(Durability::Volatile);
    let driver = strata_drivers::registry()
        .open(store.driver, &options, &Host::probe())
        .unwrap();
    let layers = Layers::new(open, driver);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let value = runtime.block_on(look(&layers));
    runtime.block_on(layers.driver().close()).unwrap();
    value
}

/// After failures only: no command shows an image.
pub fn shows_no_image(store: &Store) {
    assert_eq!(
        store.good(&["images", "-a"]),
        "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n"
    );
    let usage = store.good(&["system", "df"]);
    let images = usage.lines().nth(1).unwrap();
    assert_eq!(images.trim_end(), NO_IMAGES, "{usage}");
}

/// Nothing half made is in the store: no snapshot at work, nobody who holds anything, no journal
/// under way, no directory of the driver's that no snapshot has.
pub fn is_clean(store: &Store) {
    with_layers(store, async |layers| {
        assert!(!layers.store().needs_recovery().unwrap(), "somebody left");
        let snapshots = layers.driver().list().await.unwrap();
        for snapshot in &snapshots {
            assert_eq!(snapshot.kind, SnapshotKind::Committed, "{}", snapshot.name);
        }
        let layout = layers.store().layout();
        for name in names_in(&layout.fetches()) {
            assert!(!name.contains('.'), "{name} is left in fetch/");
        }
        assert_eq!(names_in(&layout.root().join("holders")).len(), 0);
    });
}

pub fn names_in(directory: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs_err::read_dir(directory) else {
        return BTreeSet::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// The trees of layers, as a mount shows them.
pub fn trees(store: &Store, chains: &[ChainId]) -> Vec<Tree> {
    let place = tempfile::tempdir().unwrap();
    with_layers(store, async |layers| {
        let driver = layers.driver();
        let mut trees = Vec::new();
        for chain in chains {
            let look = SnapshotName::new("look").unwrap();
            let parent = strata_store::name_of(chain);
            driver
                .view(&look, Some(&parent), &PrepareOptions::default())
                .await
                .unwrap();
            let plan = driver.mounts(&look).await.unwrap();
            let mounted = strata_driver::mount::mount(&plan, place.path()).unwrap();
            trees.push(Tree::read_with_contents(place.path()).unwrap());
            mounted.unmount().unwrap();
            driver.remove(&look).await.unwrap();
        }
        trees
    })
}
