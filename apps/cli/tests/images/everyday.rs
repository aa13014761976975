//! Every command once, on every driver of the host: the same ids, chains and digests everywhere.

use crate::support::{Cell, Parts, Store, cells};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use strata_store::Digest;

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

    told += &store.good(&["explain", &small, "/bin/sh"]);
    let gone = store.run(&["explain", &small, "/usr/no/such"]);
    assert_eq!(gone.status.code(), Some(1));
    told += &String::from_utf8_lossy(&gone.stdout);

    let archive = store.home().join("small.tar");
    let archive = archive.to_str().unwrap();
    store.good(&["save", "-o", archive, &small, "mine:1"]);
    let saved = fs_err::read(archive).unwrap();
    writeln!(told, "saved {}", Digest::of(&saved)).unwrap();
    // Without the blobs that it came in, each layer is written again: its name is its DiffID.
    let plain = store.good(&["save", "--uncompressed", "-o", "plain.tar", "mine:1"]);
    assert_eq!(plain, "");
    told += &diffs_of(&store.home().join("plain.tar"));

    let elsewhere = format!("{}/copy/of:small", parts.registry.host());
    store.good(&["tag", &small, &elsewhere]);
    let pushed = store.good(&["push", &elsewhere]);
    let digest = parts.layout.image("small").unwrap().digest;
    assert!(
        pushed.contains(&format!("small: digest: {digest} size: ")),
        "{pushed}"
    );
    store.good(&["rmi", &elsewhere]);

    let removed = store.good(&["rmi", "mine:1"]);
    assert_eq!(removed, "Untagged: mine:1\n");
    let missing = store.bad(&["rmi", "mine:1"]);
    assert!(missing.contains("No such image: mine:1"), "{missing}");
    let removed = store.good(&["rmi", &small]);
    assert!(removed.starts_with(&format!(
        "Untagged: {small}:latest\nUntagged: {small}@sha256:"
    )));
    told += &removed.replace(parts.registry.host(), "REGISTRY");
    assert!(store.good(&["images", "-q"]).is_empty());
    let empty = store.good(&["system", "prune", "-f"]);
    assert!(empty.ends_with("Total reclaimed space: 0B\n"), "{empty}");
    told += &store.good(&["system", "df"]);

    let loaded = store.good(&["load", "-i", archive]);
    assert_eq!(
        loaded,
        format!("Loaded image: {small}:latest\nLoaded image: mine:1\n")
    );
    told += &store.good(&["images", "--no-trunc", "--format", "{{.ID}} {{.Size}}"]);
    told += &store.good(&["system", "df"]);
    store.good(&["save", "-o", "again.tar", &small, "mine:1"]);
    let again = fs_err::read(store.home().join("again.tar")).unwrap();
    assert!(
        again == saved,
        "{cell:?}: saved, loaded and saved again differs"
    );

    let checked = store.good(&["check", "--full"]);
    assert!(checked.starts_with("clean: 1 image, "), "{checked}");
    let pruned = store.good(&["system", "prune", "-af"]);
    told += &pruned.replace(parts.registry.host(), "REGISTRY");
    told += &store.good(&["system", "df"]);
    let left = store.good(&["snapshot", "ls"]);
    assert_eq!(left.trim(), "[]");
    told
}

/// The digests of the blobs in an archive of plain tars, each held against its own name.
fn diffs_of(archive: &Path) -> String {
    let place = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar")
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(place.path())
        .status();
    assert!(unpacked.unwrap().success());
    let mut found = Vec::new();
    for blob in fs_err::read_dir(place.path().join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        let bytes = fs_err::read(blob.path()).unwrap();
        let name = blob.file_name().into_string().unwrap();
        assert_eq!(Digest::of(&bytes).hex(), name);
        found.push(format!("{name} {}\n", bytes.len()));
    }
    found.sort();
    found.concat()
}
