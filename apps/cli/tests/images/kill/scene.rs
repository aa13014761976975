//! A store of one driver, the registry beside it, and what is asked after every kill.

use super::account::{self, Kept};
use super::little;
use super::victim::{Ended, Victim, wait_until_all_ended};
use crate::support::{Cell, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use strata_harness::images::{ImageLayout, Peers, RegistryServer};

/// Room for the little images, and for `small` on every driver.
const ROOM: u64 = 4 << 30;

/// The registry with the little images.
pub struct Shop {
    pub registry: RegistryServer,
    layouts: Vec<(ImageLayout, Vec<&'static str>)>,
    _place: tempfile::TempDir,
}

impl Shop {
    /// None where there is no registry, which is said.
    pub fn open() -> Option<Self> {
        let peers = Peers::find()
            .map_err(|skip| eprintln!("skipped: {skip}"))
            .ok()?;
        let place = tempfile::tempdir().unwrap();
        let own = little::make(&place.path().join("images"));
        let storage = place.path().join("registry");
        fs_err::create_dir(&storage).unwrap();
        let registry = RegistryServer::start(&peers, &storage).unwrap();
        let mut layouts = vec![(own, little::ALL.to_vec())];
        match ImageLayout::cached() {
            Ok(cached) => layouts.push((cached, vec!["small"])),
            Err(skip) => eprintln!("skipped: the image `small`: {skip}"),
        }
        for (layout, names) in &layouts {
            registry.fill(layout, names).unwrap();
        }
        Some(Self {
            registry,
            layouts,
            _place: place,
        })
    }

    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.registry.host())
    }

    pub fn has(&self, image: &str) -> bool {
        self.layouts.iter().any(|(_, names)| names.contains(&image))
    }

    /// The id that an image must have.
    fn id(&self, image: &str) -> String {
        let (layout, _) = self
            .layouts
            .iter()
            .find(|(_, names)| names.contains(&image))
            .unwrap();
        let manifest = layout.image(image).unwrap().digest;
        let manifest = fs_err::read(layout.blob(&manifest)).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest["config"]["digest"].as_str().unwrap().to_owned()
    }
}

pub struct Scene<'a> {
    pub shop: &'a Shop,
    pub cell: Cell,
    pub store: Store,
    pub runtime: tokio::runtime::Runtime,
    empty: BTreeMap<PathBuf, u64>,
}

impl<'a> Scene<'a> {
    pub fn new(shop: &'a Shop, cell: Cell) -> Self {
        Self::with_room(shop, cell, ROOM)
    }

    pub fn with_room(shop: &'a Shop, cell: Cell, room: u64) -> Self {
        let store = Store::on(cell, room);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let layers = account::open(cell, &store);
        runtime.block_on(layers.driver().close()).unwrap();
        drop(layers);
        let empty = account::listing(&store.root());
        Self {
            shop,
            cell,
            store,
            runtime,
            empty,
        }
    }

    pub fn pull(&self, image: &str) -> String {
        self.store.good(&["pull", "-q", &self.shop.name(image)])
    }

    /// Starts a command whose trace is read.
    pub fn watch(&self, arguments: &[&str]) -> Victim {
        Victim::start(self.store.command(arguments))
    }

    /// Runs a command to its end, and gives its trace.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let ended = self.watch(arguments).end();
        assert!(
            ended.status.success(),
            "{arguments:?}: {}",
            ended.trace.rest
        );
        ended
    }

    /// After a death: `system df` mends, all is accounted for, and what was verified is used.
    #[track_caller]
    pub fn recover(&self, why: &str) -> Kept {
        wait_until_all_ended(&self.store.root());
        account::check(self.cell, &self.store, &self.runtime, why)
    }

    /// As [`recover`](Self::recover); nothing that had come is gone.
    #[track_caller]
    pub fn recover_pull(&self, why: &str) -> Kept {
        wait_until_all_ended(&self.store.root());
        let before = Kept::look(&self.store);
        let kept = self.recover(why);
        assert_eq!(kept, before, "{why}: blobs before and after the recovery");
        kept
    }

    /// Pulls an image; what was kept is not fetched again.
    #[track_caller]
    pub fn pull_rest(&self, image: &str, kept: &Kept, why: &str) {
        let before = self.shop.registry.log().unwrap().len();
        self.pull(image);
        let format = "{{.ID}}";
        let name = self.shop.name(image);
        let id = self
            .store
            .good(&["images", "--no-trunc", "--format", format, &name]);
        assert_eq!(id.trim(), self.shop.id(image), "{why}: the image's id");
        let log = self.shop.registry.log().unwrap();
        let fetches = fetches(&log[before..]);
        if *kept == Kept::default() {
            assert!(
                !fetches.is_empty(),
                "{why}: the log tells of no fetch: {log}"
            );
        }
        for fetch in fetches {
            let Fetch {
                digest,
                status,
                bytes,
            } = &fetch;
            assert!(
                !kept.whole.contains(digest),
                "{why}: fetched again: {fetch:?}"
            );
            let Some(had) = kept.parts.get(digest).filter(|had| **had > 0) else {
                continue;
            };
            let size = self.size_of(digest);
            assert_eq!(
                (*status, *bytes),
                (206, size - had),
                "{why}: {had} of {size} bytes were there: {fetch:?}"
            );
        }
    }

    fn size_of(&self, digest: &str) -> u64 {
        let found = self.shop.layouts.iter().find_map(|(layout, _)| {
            let metadata = fs_err::metadata(layout.blob(digest)).ok()?;
            Some(metadata.len())
        });
        found.unwrap()
    }

    /// Removes everything; nothing is left.
    #[track_caller]
    pub fn clear(&self, why: &str) {
        account::prune(&self.store, &self.empty, why);
    }

    /// No image is visible, and no name.
    #[track_caller]
    pub fn nothing_visible(&self, why: &str) {
        let images = self.store.good(&["images", "-aq", "--no-trunc"]);
        assert_eq!(images, "", "{why}: images");
    }
}

/// A blob that a registry gave.
#[derive(Debug, PartialEq, Eq)]
struct Fetch {
    digest: String,
    status: u16,
    bytes: u64,
}

/// `... http.request.method=GET http.request.uri="/v2/NAME/blobs/DIGEST" ...
/// http.response.status=206 http.response.written=12 ...`
fn fetches(log: &str) -> Vec<Fetch> {
    let field = |line: &str, name: &str| -> Option<String> {
        let (_, rest) = line.split_once(&format!("{name}="))?;
        let value = rest.split([' ', '\n']).next()?;
        Some(value.trim_matches('"').to_owned())
    };
    let mut seen = BTreeSet::new();
    log.lines()
        .filter(|line| line.contains("response completed"))
        .filter_map(|line| {
            if field(line, "http.request.method")? != "GET" {
                return None;
            }
            let uri = field(line, "http.request.uri")?;
            let (_, digest) = uri.split_once("/blobs/")?;
            // One answer is told in more than one line by some versions.
            let id = field(line, "http.request.id").unwrap_or_default();
            if !id.is_empty() && !seen.insert(id) {
                return None;
            }
            Some(Fetch {
                digest: digest.to_owned(),
                status: field(line, "http.response.status")?.parse().ok()?,
                bytes: field(line, "http.response.written")?.parse().ok()?,
            })
        })
        .collect()
}

#[test]
fn fetches_are_read_from_the_log() {
    let log = "time=\"x\" level=info msg=\"response completed\" http.request.id=1 \
               http.request.method=GET http.request.uri=\"/v2/a/blobs/sha256:00\" \
               http.response.status=206 http.response.written=12\n\
               time=\"x\" level=info msg=\"response completed\" http.request.id=2 \
               http.request.method=GET http.request.uri=\"/v2/a/manifests/latest\" \
               http.response.status=200 http.response.written=5\n";
    let expected = Fetch {
        digest: "sha256:00".to_owned(),
        status: 206,
        bytes: 12,
    };
    assert_eq!(fetches(log), [expected]);
}
