//! Stores on drivers, and what is asked of them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use strata_driver::{Durability, Host, OpenOptions, SnapshotKind, StorageDriver};
use strata_harness::fixture::{FileSystemKind, Fixture};
use strata_image::archive::{Input, LoadOptions, Loaded, Loader, SaveOptions, save};
use strata_image::install::Cancel;
use strata_image::progress::Silent;
use strata_store::{Layers, Store};

/// A store on a file system of its own; gone when dropped.
pub(crate) struct Bed {
    // In order of dropping.
    pub(crate) layers: Layers,
    pub(crate) driver: &'static str,
    fixture: Fixture,
}

impl Bed {
    /// An empty store with this driver.
    pub(crate) fn new(driver: &'static str) -> Self {
        let fixture = Fixture::file_system(FileSystemKind::Tmpfs, 256 << 20).unwrap();
        let root = fixture.path().join("store");
        let store = Arc::new(Store::open(&root, Durability::Volatile).unwrap());
        let options =
            OpenOptions::new(store.layout().driver()).with_durability(Durability::Volatile);
        let opened = strata_drivers::registry().open(driver, &options, &Host::probe());
        let opened: Arc<dyn StorageDriver> = opened.unwrap();
        Self {
            layers: Layers::new(store, opened),
            driver,
            fixture,
        }
    }

    pub(crate) fn store(&self) -> &Store {
        self.layers.store()
    }

    /// A place for files beside the store.
    pub(crate) fn path(&self) -> &Path {
        self.fixture.path()
    }

    pub(crate) async fn load(&self, archive: &[u8]) -> strata_image::Result<Vec<Loaded>> {
        let path = self.path().join("archive.tar");
        fs_err::write(&path, archive).unwrap();
        let loaded = self.load_from(Input::open(&path).unwrap()).await;
        fs_err::remove_file(path).unwrap();
        loaded
    }

    pub(crate) async fn load_from(&self, input: Input) -> strata_image::Result<Vec<Loaded>> {
        let loader = Loader {
            layers: self.layers.clone(),
            options: LoadOptions::default(),
            progress: Arc::new(Silent),
            cancel: Cancel::default(),
        };
        loader.load(input).await
    }

    pub(crate) async fn save(&self, images: &[&str]) -> Vec<u8> {
        self.save_with(images, &SaveOptions::default())
            .await
            .unwrap()
    }

    pub(crate) async fn save_with(
        &self,
        images: &[&str],
        options: &SaveOptions,
    ) -> strata_image::Result<Vec<u8>> {
        let images: Vec<String> = images.iter().map(|&name| name.to_owned()).collect();
        save(&self.layers, &images, Vec::new(), options).await
    }

    /// What the store says that an image is: its layers, with everything that is the same on
    /// every driver.
    pub(crate) fn facts(&self, image: &str) -> Vec<String> {
        let facts = self.store().facts();
        let id = strata_image::images::Images::of(self.store())
            .find(image)
            .unwrap()
            .id;
        let rows = facts.layers_of(&id).unwrap();
        let rows = rows.iter().map(|row| {
            format!(
                "{} {} {:?} {:?}",
                row.chain, row.diff, row.size, row.contents
            )
        });
        std::iter::once(id.to_string()).chain(rows).collect()
    }

    /// Nothing is half made: no snapshot but committed ones, no file on its way.
    pub(crate) async fn is_clean(&self) {
        let snapshots = self.layers.driver().list().await.unwrap();
        for snapshot in snapshots {
            assert_eq!(snapshot.kind, SnapshotKind::Committed, "{}", snapshot.name);
        }
        let left: Vec<_> = fs_err::read_dir(self.store().layout().fetches())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.len() != 64)
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Whether stores can be made on this host; if not, that is said.
pub(crate) fn can_run() -> bool {
    let missing = FileSystemKind::Tmpfs.missing();
    if let Some(missing) = &missing {
        eprintln!("skipped: {missing}");
    }
    missing.is_none()
}

pub(crate) fn run<F: Future<Output = ()>>(work: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work);
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// The files of an archive that we wrote: ustar headers, and nothing that differs from one run to
/// the next.
pub(crate) fn members(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut rest = archive;
    let text = |field: &[u8]| String::from_utf8(field.to_vec()).unwrap();
    let number = |field: &[u8]| {
        let digits = text(field).trim_matches(['\0', ' ']).to_owned();
        u64::from_str_radix(&digits, 8).unwrap()
    };
    let mut last = String::new();
    while rest[0] != 0 {
        let (header, content) = rest.split_at(512);
        let name = text(&header[..100]).trim_matches('\0').to_owned();
        assert!(last < name, "{last} stands before {name}");
        let is_file = header[156] == b'0';
        assert_eq!(
            number(&header[100..108]),
            if is_file { 0o644 } else { 0o755 }
        );
        for field in [108..116, 116..124, 136..148] {
            assert_eq!(number(&header[field]), 0, "{name}");
        }
        let size = number(&header[124..136]) as usize;
        rest = &content[size.next_multiple_of(512)..];
        if is_file {
            found.insert(name.clone(), content[..size].to_vec());
        }
        last = name;
    }
    assert!(rest.len() == 1024 && rest.iter().all(|&byte| byte == 0));
    found
}

/// Tells what was said.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<String>>);

impl Heard {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl strata_image::progress::Progress for Heard {
    fn layer(&self, id: &str, stage: strata_image::progress::Stage) {
        use strata_image::progress::Stage;
        if !matches!(stage, Stage::Pushing(..)) {
            let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            heard.push(format!("{id}: {stage:?}"));
        }
    }

    fn say(&self, id: Option<&str>, text: &str) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(id.map_or(text.to_owned(), |id| format!("{id}: {text}")));
    }
}
