//! Every command once, on every driver of the host: the same ids, chains and digests everywhere.

use crate::support::{Cell, Parts, Store, cells};

/// Room for `app` and `small` on each driver.
const ROOM: u64 = 8 << 30;

#[test]
fn every_command_gives_the_same_on_every_driver() {
    let Some(parts) = Parts::with(&["small", "app"]) else {
        return;
    };
    let mut before: Option<(Cell, String)> = None;
    for cell in cells() {
        let told = everyday(&parts, cell);
        if let Some((first, expected)) = &before {
            assert_eq!(&told, expected, "{cell:?} differs from {first:?}");
        } else {
            before = Some((cell, told));
        }
    }
}

/// Runs them, and gives what must not depend on the driver.
fn everyday(parts: &Parts, cell: Cell) -> String {
    let store = Store::on(cell, ROOM);
    let small = parts.name("small");
    let mut told = String::new();

    assert_eq!(
        store.good(&["images"]),
        "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n"
    );
    let found = store.good(&["search", &parts.name("sma")]);
    assert!(found.contains("/small"), "{found}");

    let pulled = store.good(&["pull", &small]);
    assert!(pulled.starts_with("Using default tag: latest\nlatest: Pulling from small\n"));
    assert!(pulled.contains(": Pull complete\n"), "{pulled}");
    let status = format!("Status: Downloaded newer image for {small}:latest\n{small}:latest\n");
    assert!(pulled.ends_with(&status), "{pulled}");
    let again = store.good(&["pull", &small]);
    assert!(again.contains("Status: Image is up to date for"), "{again}");
    assert!(!again.contains("exists"), "{again}");

    told += &store.good(&[
        "images",
        "--no-trunc",
        "--digests",
        "--format",
        "{{.ID}} {{.Digest}} {{.Size}}",
    ]);
    told += &store.good(&[
        "history",
        "--no-trunc",
        "--format",
        "{{.ID}} {{.CreatedBy}} {{.Size}}",
        &small,
    ]);
    told += &store.good(&[
        "inspect",
        "-f",
        "{{json .RootFS}} {{json .GraphDriver.Data.Layers}} {{.Size}}",
        &small,
    ]);

    store.good(&["tag", &small, "mine:1"]);
    told += &store.good(&["images", "--format", "{{.Repository}}:{{.Tag}}", "mine"]);
    told += &store.good(&["system", "df"]);

    let removed = store.good(&["rmi", "mine:1"]);
    assert_eq!(removed, "Untagged: mine:1\n");
    let missing = store.bad(&["rmi", "mine:1"]);
    assert!(missing.contains("No such image: mine:1"), "{missing}");
    let removed = store.good(&["rmi", &small]);
    assert!(removed.starts_with(&format!(
        "Untagged: {small}:latest\nUntagged: {small}@sha256:"
    )));
    told += &removed.replace(parts.registry.host(), "REGISTRY");

    let pruned = store.good(&["system", "prune", "-f"]);
    assert!(pruned.ends_with("Total reclaimed space: 0B\n"), "{pruned}");
    told += &store.good(&["system", "df"]);
    told
}
