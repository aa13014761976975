//! What is in a store, held against what the command tells of it.

use crate::support::{Cell, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_driver::{Host, OpenOptions, SnapshotKind};
use strata_store::check::{CheckOptions, Level};
use strata_store::{Layers, Target, name_of};

/// Room that directories and rounding may take beyond what drivers count, for each snapshot; a
/// two-hundredth comes on top, since XFS keeps room behind the ends of files for a while.
const SLACK: u64 = 64 << 10;

/// What `system df -v` calls cache: names by kind.
pub struct Told {
    rows: BTreeSet<(String, String)>,
}

impl Told {
    fn by(store: &Store) -> Self {
        let format = "{{range .BuildCache}}{{.CacheType}} {{.ID}}\n{{end}}";
        let text = store.good(&["system", "df", "-v", "--format", format]);
        let rows = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(kind, id)| (kind.to_owned(), id.to_owned()))
            .collect();
        Self { rows }
    }

    fn has(&self, kind: &str, id: &str) -> bool {
        self.rows.contains(&(kind.to_owned(), id.to_owned()))
    }
}

/// Blobs by digest that are in their places, and bytes of those that were cut off.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub whole: BTreeSet<String>,
    pub parts: BTreeMap<String, u64>,
}

impl Kept {
    /// What lies there, known or not.
    pub fn look(store: &Store) -> Self {
        let root = store.root();
        let with_name = |(name, size): (String, u64)| (format!("sha256:{name}"), size);
        let whole = files(&root.join("oci/blobs/sha256")).into_iter();
        let parts = files(&root.join("fetch")).into_iter();
        Self {
            whole: whole.map(|file| with_name(file).0).collect(),
            parts: parts
                .filter(|(name, _)| name.len() == 64)
                .map(with_name)
                .collect(),
        }
    }
}

/// Opens the store beside the command, as it is.
pub fn open(cell: Cell, store: &Store) -> Layers {
    let durability = strata_driver::Durability::default();
    let facts = Arc::new(strata_store::Store::open(&store.root(), durability).unwrap());
    let options = OpenOptions::new(facts.layout().driver()).with_durability(durability);
    let driver = strata_drivers::registry()
        .open(cell.driver, &options, &Host::probe())
        .unwrap();
    Layers::new(facts, driver)
}

/// Everything that must hold of a store when all who worked in it are gone and `system df` has
/// been asked once. What the next pull is to use.
#[track_caller]
pub fn check(cell: Cell, store: &Store, runtime: &tokio::runtime::Runtime, why: &str) -> Kept {
    let told = Told::by(store);
    let layers = open(cell, store);
    let facts = layers.store().facts();
    assert!(
        !layers.store().needs_recovery().unwrap(),
        "{why}: something is left to recover"
    );
    let options = CheckOptions::default().with_level(Level::Full);
    let report = runtime.block_on(layers.check(&options)).unwrap();
    assert!(report.is_clean(), "{why}: {:?}", report.findings);
    assert!(report.is_quiet, "{why}: a lease is left");

    let mut of_images = BTreeSet::new();
    let mut layers_of_images = BTreeSet::new();
    for image in facts.images().unwrap() {
        let blobs = facts.blobs_of(&image.id).unwrap();
        of_images.extend(blobs.into_iter().map(|(digest, _)| digest.to_string()));
        let chains = facts.layers_of(&image.id).unwrap();
        layers_of_images.extend(chains.into_iter().map(|row| row.chain));
    }
    let layout = layers.store().layout();
    let mut kept = Kept::default();
    for (name, _) in files(&layout.blobs()) {
        let digest = format!("sha256:{name}");
        assert!(
            of_images.contains(&digest) || told.has("blob", &digest),
            "{why}: no line for blob {name}"
        );
        kept.whole.insert(digest);
    }
    for (name, size) in files(&layout.fetches()) {
        assert!(told.has("fetch", &name), "{why}: no line for fetch/{name}");
        kept.parts.insert(format!("sha256:{name}"), size);
    }
    let mut journals = BTreeSet::new();
    let rows = facts.layers().unwrap();
    for row in &rows {
        assert!(
            layers_of_images.contains(&row.chain) || told.has("layer", &row.chain.to_string()),
            "{why}: no line for layer {}",
            row.chain
        );
        journals.insert(layout.journal(row.diff));
    }
    for (name, _) in files(&layout.journals()) {
        let path = layout.journals().join(&name);
        assert!(journals.contains(&path), "{why}: journal {name} of nothing");
    }
    let snapshots = runtime.block_on(layers.driver().list()).unwrap();
    let mut bytes = 0;
    for info in &snapshots {
        assert_eq!(info.kind, SnapshotKind::Committed, "{why}: {info:?}");
        assert!(
            rows.iter().any(|row| name_of(&row.chain) == info.name),
            "{why}: snapshot {} of nothing",
            info.name
        );
        bytes += runtime
            .block_on(layers.driver().usage(&info.name))
            .unwrap()
            .bytes
            .0;
    }
    // Subvolumes share blocks among them, which a look at files does not tell.
    if cell.driver != "btrfs" {
        let taken = allocated(&layout.driver());
        let most = bytes + bytes / 200 + SLACK * (snapshots.len() as u64 + 4);
        assert!(
            taken <= most,
            "{why}: layers take {taken}, {most} explained"
        );
    }
    layout_is_true(&layers, why);
    runtime.block_on(layers.driver().close()).unwrap();
    let holders = files(&layout.root().join("holders"));
    drop(layers);
    assert!(holders.len() <= 1, "{why}: instances left: {holders:?}");
    nothing_mounted(store, why);
    kept
}

/// The layout for other tools names what the facts name.
#[track_caller]
fn layout_is_true(layers: &Layers, why: &str) {
    let layout = layers.store().layout();
    let named: BTreeSet<String> = match fs_err::read(layout.oci().join("index.json")) {
        Err(_) => BTreeSet::new(),
        Ok(bytes) => {
            let index: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let manifests = index["manifests"].as_array().unwrap().iter();
            let name = |one: &serde_json::Value| {
                let name = &one["annotations"]["org.opencontainers.image.ref.name"];
                name.as_str().unwrap().to_owned()
            };
            manifests.map(name).collect()
        }
    };
    let references = layers.store().facts().references().unwrap();
    let tags = references
        .iter()
        .filter(|row| matches!(row.target, Target::Tag(_)));
    let expected: BTreeSet<String> = tags
        .map(|row| format!("{}{}", row.repository, row.target))
        .collect();
    assert_eq!(named, expected, "{why}: names in oci/index.json");
}

/// Removes everything, and holds what is left against a store in which nothing ever was.
#[track_caller]
pub fn prune(store: &Store, empty: &BTreeMap<PathBuf, u64>, why: &str) {
    store.good(&["system", "prune", "-af"]);
    let left = listing(&store.root());
    assert_eq!(&left, empty, "{why}: left by `system prune -af`");
    nothing_mounted(store, why);
}

/// Files of a store with their sizes; of directories and databases the names alone.
pub fn listing(root: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs_err::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
            // SQLite removes these two with the last connection, or does not if that was killed.
            if name.ends_with("-wal") || name.ends_with("-shm") {
                continue;
            }
            // Made with the first name, and held against the facts elsewhere.
            if entry.path().ends_with("oci/index.json") {
                continue;
            }
            let is_sized =
                metadata.is_file() && entry.path().extension().is_none_or(|end| end != "db");
            let size = if is_sized { metadata.len() } else { 0 };
            found.insert(entry.path().strip_prefix(root).unwrap().to_owned(), size);
        }
    }
    found
}

fn files(directory: &Path) -> Vec<(String, u64)> {
    // A store that was killed while it was made has not all directories.
    let Ok(entries) = fs_err::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, entry.metadata().unwrap().len())
        })
        .collect()
}

/// Bytes of files and directories below, databases excepted; names of one file count once.
fn allocated(directory: &Path) -> u64 {
    let mut seen = BTreeSet::new();
    let mut bytes = 0;
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs_err::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let metadata = fs_err::symlink_metadata(entry.path()).unwrap();
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
            let is_database = entry.file_name().to_string_lossy().contains(".db");
            if !is_database && seen.insert(metadata.ino()) {
                bytes += metadata.blocks() * 512;
            }
        }
    }
    bytes
}

/// No mount and no loop device below the root, and no process at work in it.
#[track_caller]
fn nothing_mounted(store: &Store, why: &str) {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let below = format!(" {}/", store.root().display());
    assert!(!mounts.contains(&below), "{why}: mounted: {mounts}");
    for (device, file) in strata_sys::loopdev::attached().unwrap() {
        assert!(
            !file.starts_with(store.root()),
            "{why}: {} is attached",
            device.display()
        );
    }
    let processes = super::victim::processes(&store.root(), "");
    assert!(processes.is_empty(), "{why}: at work: {processes:?}");
}
