//! Pushing: what came is what goes, nothing goes twice, and the manifest goes last.

use crate::bed::{Bed, Heard, can_run, gzip, run, zstd};
use crate::forge::{Layout, config, docker_archive, layers};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use strata_harness::images::{Peers, RegistryServer};
use strata_image::document::{Descriptor, Document};
use strata_image::images::{Images, RemoveOptions};
use strata_image::install::Cancel;
use strata_image::pull::{PullOptions, Puller};
use strata_image::push::{Pushed, Pusher};
use strata_image::registry::{
    BlobBody, BlobSource, OciRegistry, Pushed as Came, Registry, RetryPolicy, Settings, Which,
};
use strata_image::{ImageError, Reference, Repository};
use strata_store::{Digest, Target};

/// A registry in memory, which checks what it is given.
#[derive(Debug, Default)]
struct Memory {
    blobs: Mutex<BTreeMap<(String, Digest), Vec<u8>>>,
    manifests: Mutex<BTreeMap<(String, String), Document>>,
    /// So many uploads break off first.
    failures: Mutex<u32>,
}

#[async_trait]
impl Registry for Memory {
    async fn manifest(
        &self,
        repository: &Repository,
        which: &Which,
    ) -> strata_image::Result<Document> {
        let key = (repository.to_string(), which.to_string());
        Ok(self.manifests.lock().unwrap()[&key].clone())
    }

    async fn blob(
        &self,
        _repository: &Repository,
        _blob: &Descriptor,
        _offset: u64,
    ) -> strata_image::Result<BlobBody> {
        unreachable!("a push fetches nothing")
    }

    async fn has_blob(
        &self,
        repository: &Repository,
        digest: Digest,
    ) -> strata_image::Result<bool> {
        let key = (repository.to_string(), digest);
        Ok(self.blobs.lock().unwrap().contains_key(&key))
    }

    async fn push_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        mut source: BlobSource,
        mount_from: Option<&Repository>,
    ) -> strata_image::Result<Came> {
        let key = (repository.to_string(), blob.digest);
        if let Some(from) = mount_from {
            let mut blobs = self.blobs.lock().unwrap();
            if let Some(bytes) = blobs.get(&(from.to_string(), blob.digest)).cloned() {
                blobs.insert(key, bytes);
                return Ok(Came::Mounted);
            }
        }
        let mut bytes = Vec::new();
        while let Some(some) = source.next().await {
            bytes.extend_from_slice(&some.unwrap());
            let mut failures = self.failures.lock().unwrap();
            if *failures > 0 {
                *failures -= 1;
                return Err(ImageError::Broken {
                    url: "memory".to_owned(),
                    source: "broken off".into(),
                });
            }
        }
        assert_eq!(Digest::of(&bytes), blob.digest);
        assert_eq!(bytes.len() as u64, blob.size);
        let before = self.blobs.lock().unwrap().insert(key, bytes);
        assert!(before.is_none(), "{} was sent twice", blob.digest);
        Ok(Came::Uploaded)
    }

    async fn push_manifest(
        &self,
        repository: &Repository,
        which: &Which,
        document: &Document,
    ) -> strata_image::Result<()> {
        let strata_image::document::Manifest::Image(manifest) = document.manifest()? else {
            panic!("an index was pushed");
        };
        let blobs = self.blobs.lock().unwrap();
        let parts = manifest.layers.iter().map(|layer| &layer.descriptor);
        for part in parts.chain([&manifest.config]) {
            assert!(blobs.contains_key(&(repository.to_string(), part.digest)));
        }
        let key = (repository.to_string(), which.to_string());
        self.manifests.lock().unwrap().insert(key, document.clone());
        Ok(())
    }

    async fn tags(&self, _repository: &Repository) -> strata_image::Result<Vec<String>> {
        unreachable!("a push asks for no tags")
    }
}

async fn push(
    bed: &Bed,
    registry: &Arc<Memory>,
    name: &str,
) -> (strata_image::Result<Pushed>, Vec<String>) {
    let heard = Arc::new(Heard::default());
    let work = Pusher {
        layers: bed.layers.clone(),
        registry: Arc::clone(registry) as Arc<dyn Registry>,
        policy: RetryPolicy::default().with_first_wait(std::time::Duration::from_millis(1)),
        progress: Arc::clone(&heard) as Arc<dyn strata_image::progress::Progress>,
        cancel: Cancel::default(),
    };
    let pushed = work.push(&Reference::parse(name).unwrap()).await;
    (pushed, heard.take())
}

#[test]
fn what_came_is_what_goes() {
    if !can_run() {
        return;
    }
    run(async {
        let tars = layers();
        let config = config(&tars, "push");
        let kinds = [
            ("+gzip", gzip(&tars[0])),
            ("+zstd", zstd(&tars[1])),
            ("+gzip", gzip(&tars[2])),
        ];
        let layout = Layout::new(&config, &kinds);
        let manifest = layout.manifest.to_string().into_bytes();
        let bed = Bed::new("overlay");
        bed.load(&layout.archive("127.0.0.1:5000/a/b:1"))
            .await
            .unwrap();
        let registry = Arc::new(Memory::default());
        *registry.failures.lock().unwrap() = 2;
        let (pushed, heard) = push(&bed, &registry, "127.0.0.1:5000/a/b:1").await;
        let pushed = pushed.unwrap();
        assert_eq!(pushed.digest, Digest::of(&manifest));
        assert!(!pushed.was_packed);
        assert_eq!(
            heard[0],
            "The push refers to repository [127.0.0.1:5000/a/b]"
        );
        let short = |tar: &[u8]| Digest::of(tar).hex()[..12].to_owned();
        let top_first: Vec<String> = tars
            .iter()
            .rev()
            .map(|tar| format!("{}: Preparing", short(tar)))
            .collect();
        assert_eq!(heard[1..4], top_first);
        for tar in &tars {
            assert!(
                heard.contains(&format!("{}: Pushed", short(tar))),
                "{heard:?}"
            );
        }
        let last = format!("1: digest: {} size: {}", pushed.digest, manifest.len());
        assert_eq!(heard.last(), Some(&last));
        let target = Target::Digest(pushed.digest);
        let named = bed.store().facts().reference("127.0.0.1:5000/a/b", &target);
        assert_eq!(named.unwrap(), Some(pushed.id));

        let (again, heard) = push(&bed, &registry, "127.0.0.1:5000/a/b:1").await;
        assert_eq!(again.unwrap(), pushed);
        for tar in &tars {
            assert!(
                heard.contains(&format!("{}: PushedBefore", short(tar))),
                "{heard:?}"
            );
        }
        let images = Images::of(bed.store());
        images
            .tag("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/c:x")
            .unwrap();
        let (mounted, heard) = push(&bed, &registry, "127.0.0.1:5000/c:x").await;
        assert_eq!(mounted.unwrap().digest, pushed.digest);
        for tar in &tars {
            assert!(
                heard.contains(&format!("{}: Mounted from a/b", short(tar))),
                "{heard:?}"
            );
        }
        for (name, told) in [
            (
                "127.0.0.1:5000/c:y",
                "tag does not exist: 127.0.0.1:5000/c:y",
            ),
            (
                "none",
                "An image does not exist locally with the tag: docker.io/library/none",
            ),
        ] {
            let (refused, _) = push(&bed, &registry, name).await;
            assert_eq!(refused.unwrap_err().to_string(), told);
        }
        bed.is_clean().await;
    });
}

/// Removes an image when its push has come to the registry.
struct Removing {
    layers: strata_store::Layers,
    id: Digest,
}

impl strata_image::progress::Progress for Removing {
    fn layer(&self, _id: &str, _stage: strata_image::progress::Stage) {}

    fn say(&self, _id: Option<&str>, text: &str) {
        if text.contains("digest: ") {
            self.layers.store().remove_image(&self.id, 1).unwrap();
        }
    }
}

/// It once failed, though the registry had it all.
#[test]
fn removal_at_the_end_of_a_push_fails_nothing() {
    if !can_run() {
        return;
    }
    run(async {
        let tars = layers();
        let name = "127.0.0.1:5000/a:1";
        let bed = Bed::new("vfs");
        let archive = docker_archive(name, &tars, &config(&tars, "going"));
        let id = bed.load(&archive).await.unwrap()[0].id;
        let layers = bed.layers.clone();
        let work = Pusher {
            layers: layers.clone(),
            registry: Arc::new(Memory::default()),
            policy: RetryPolicy::default(),
            progress: Arc::new(Removing { layers, id }),
            cancel: Cancel::default(),
        };
        let pushed = work.push(&Reference::parse(name).unwrap()).await.unwrap();
        assert_eq!(pushed.id, id);
        assert!(bed.store().facts().references().unwrap().is_empty());
    });
}

#[test]
fn layers_without_blobs_are_packed_the_same_each_time() {
    if !can_run() {
        return;
    }
    run(async {
        let mut tars = layers();
        tars.push(tars[0].clone());
        let config = config(&tars, "packed");
        let mut digests = Vec::new();
        for driver in ["vfs", "overlay"] {
            let bed = Bed::new(driver);
            bed.load(&docker_archive("h:1/p:1", &tars, &config))
                .await
                .unwrap();
            let registry = Arc::new(Memory::default());
            let (pushed, heard) = push(&bed, &registry, "h:1/p:1").await;
            let pushed = pushed.unwrap();
            assert!(pushed.was_packed);
            assert!(
                heard.iter().any(|line| line.contains("packed anew")),
                "{heard:?}"
            );
            let manifest =
                registry.manifests.lock().unwrap()[&("h:1/p".to_owned(), "1".to_owned())].clone();
            assert_eq!(manifest.digest, pushed.digest);
            digests.push(pushed.digest);
            let blobs = registry.blobs.lock().unwrap().clone();
            let strata_image::document::Manifest::Image(manifest) = manifest.manifest().unwrap()
            else {
                unreachable!()
            };
            assert_eq!(manifest.config.digest, Digest::of(&config));
            assert_eq!(manifest.layers.len(), tars.len());
            for (layer, tar) in manifest.layers.iter().zip(&tars) {
                let blob = &blobs[&("h:1/p".to_owned(), layer.descriptor.digest)];
                let mut unpacked = Vec::new();
                let mut decoder = flate2::read::GzDecoder::new(blob.as_slice());
                std::io::Read::read_to_end(&mut decoder, &mut unpacked).unwrap();
                assert!(unpacked == *tar);
            }
            bed.is_clean().await;
        }
        assert_eq!(digests[0], digests[1]);
    });
}

/// The layout for other tools names what is all there, and follows every change of names.
#[test]
fn layout_follows_the_names() {
    if !can_run() {
        return;
    }
    run(async {
        let tars = layers();
        let (one, two) = (config(&tars[..1], "one"), config(&tars[..2], "two"));
        let layout = Layout::new(&one, &[("+gzip", gzip(&tars[0]))]);
        let manifest = Digest::of(layout.manifest.to_string().as_bytes());
        let bed = Bed::new("vfs");
        bed.load(&docker_archive("plain:1", &tars[..2], &two))
            .await
            .unwrap();
        bed.load(&layout.archive("docker.io/library/kept:1"))
            .await
            .unwrap();
        let path = bed.store().layout().oci().join("index.json");
        let names = || -> Vec<String> {
            let index: serde_json::Value =
                serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
            let entries = index["manifests"].as_array().unwrap().iter();
            entries
                .map(|entry| {
                    assert_eq!(entry["digest"], manifest.to_string());
                    let notes = &entry["annotations"];
                    let name = &notes["org.opencontainers.image.ref.name"];
                    assert_eq!(*name, notes["io.containerd.image.name"]);
                    name.as_str().unwrap().to_owned()
                })
                .collect()
        };
        // Of the other one not every blob is there.
        assert_eq!(names(), ["docker.io/library/kept:1"]);
        let images = Images::of(bed.store());
        images.tag("kept:1", "also:2").unwrap();
        assert_eq!(
            names(),
            ["docker.io/library/also:2", "docker.io/library/kept:1"]
        );
        let all = fs_err::read(&path).unwrap();
        for strange in [None, Some("{}"), Some("\u{0}")] {
            match strange {
                None => fs_err::remove_file(&path).unwrap(),
                Some(text) => fs_err::write(&path, text).unwrap(),
            }
            images.tag("kept:1", "also:2").unwrap();
            assert_eq!(fs_err::read(&path).unwrap(), all);
        }
        images.remove("kept:1", RemoveOptions::default()).unwrap();
        assert_eq!(names(), ["docker.io/library/also:2"]);
        strata_image::layout::rebuild(bed.store()).unwrap();
        assert_eq!(names(), ["docker.io/library/also:2"]);
        images.tag("plain:1", "also:2").unwrap();
        assert!(names().is_empty());
        images.remove("plain:1", RemoveOptions::default()).unwrap();
        images.prune(|_, _| true).unwrap();
        assert!(names().is_empty());
    });
}

/// A real registry takes it, and gives it back with the same digests.
#[test]
fn real_registry_takes_it() {
    let peers = match Peers::find() {
        Ok(peers) if can_run() => peers,
        Ok(_) => return,
        Err(skip) => return eprintln!("skipped: {skip}"),
    };
    run(async {
        let tars = layers();
        let config = config(&tars, "real");
        let kinds: Vec<_> = tars.iter().map(|tar| ("+gzip", gzip(tar))).collect();
        let layout = Layout::new(&config, &kinds);
        let bed = Bed::new("overlay");
        let storage = bed.path().join("registry");
        fs_err::create_dir(&storage).unwrap();
        let server = RegistryServer::start(&peers, &storage).unwrap();
        let host = server.host().to_owned();
        let registry = OciRegistry::new(Settings::default(), None).unwrap();
        let registry: Arc<dyn Registry> = Arc::new(registry);
        bed.load(&layout.archive(&format!("{host}/a/b:1")))
            .await
            .unwrap();
        let images = Images::of(bed.store());
        images
            .tag(&format!("{host}/a/b:1"), &format!("{host}/c:1"))
            .unwrap();
        let heard = Arc::new(Heard::default());
        let work = Pusher {
            layers: bed.layers.clone(),
            registry: Arc::clone(&registry),
            policy: RetryPolicy::default(),
            progress: Arc::clone(&heard) as Arc<dyn strata_image::progress::Progress>,
            cancel: Cancel::default(),
        };
        let digest = Digest::of(layout.manifest.to_string().as_bytes());
        // Whatever was there once: what the registry does not take over is sent, and told so.
        let gone = (format!("{host}/gone/x"), Target::Digest(digest));
        let facts = bed.store().facts();
        facts
            .set_reference(&gone.0, &gone.1, &Digest::of(&config))
            .unwrap();
        for (name, told) in [
            ("a/b:1", "Pushed"),
            ("a/b:1", "PushedBefore"),
            ("c:1", "Mounted from a/b"),
        ] {
            let name = format!("{host}/{name}");
            let pushed = work.push(&Reference::parse(&name).unwrap()).await.unwrap();
            assert_eq!(pushed.digest, digest);
            let heard = heard.take();
            let lines = heard
                .iter()
                .filter(|line| line.ends_with(&format!(": {told}")));
            assert_eq!(lines.count(), tars.len(), "{name}: {heard:?}");
        }
        let asked = server.log().unwrap();
        assert!(asked.contains("from=gone/x"), "{asked}");
        for name in ["a/b:1", "c:1"] {
            let other = Bed::new("vfs");
            let work = Puller {
                layers: other.layers.clone(),
                registry: Arc::clone(&registry),
                options: PullOptions::default(),
                progress: Arc::new(strata_image::progress::Silent),
                cancel: Cancel::default(),
            };
            let name = Reference::parse(&format!("{host}/{name}")).unwrap();
            let pulled = work.pull(&name).await.unwrap();
            assert_eq!((pulled.id, pulled.digest), (Digest::of(&config), digest));
        }
        server.stop().unwrap();
    });
}
