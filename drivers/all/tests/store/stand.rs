//! A store in memory with an image of four layers, on a driver.

use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_driver::changeset::{
    END_MARK, Entry, EntryKind, EntryPath, Metadata, Timestamp, encode_entry, encode_opaque,
    encode_whiteout, padding,
};
use strata_driver::{DiffId, Durability, Host, OpenOptions, Result, StorageDriver};
use strata_store::check::{CheckOptions, CheckReport, Level};
use strata_store::{
    BlobRole, ChainId, Digest, Layers, NewImage, Place, Store, Target, parse_diff_id,
};
use tempfile::TempDir;

/// Drivers whose trees lie in directories, which tests can spoil.
pub(crate) const DRIVERS: &[&str] = &["vfs", "overlay"];

/// Whether this host cannot try it: layers have owners, and are seen through mounts.
pub(crate) fn is_skipped() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: needs root: layers have owners, and are seen through mounts");
    }
    !is_root
}

/// How a layer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blob {
    None,
    Plain,
    Gzip,
}

/// An archive that is put together entry by entry.
#[derive(Clone, Default)]
pub(crate) struct Archive(Vec<u8>);

impl Archive {
    fn entry(mut self, path: &str, kind: EntryKind, mode: u32, xattrs: &[(&str, &str)]) -> Self {
        let entry = Entry {
            path: path_of(path),
            metadata: Metadata {
                mode,
                uid: 0,
                gid: 0,
                mtime: Timestamp {
                    seconds: 1_000_000_000,
                    nanoseconds: 0,
                },
            },
            kind,
            xattrs: xattrs
                .iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect(),
        };
        encode_entry(&entry, &mut self.0).unwrap();
        self
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        self.entry(path, EntryKind::Directory, 0o755, &[])
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.noted(path, content, &[])
    }

    pub(crate) fn noted(self, path: &str, content: &str, xattrs: &[(&str, &str)]) -> Self {
        let size = content.len() as u64;
        let mut archive = self.entry(path, EntryKind::File { size }, 0o644, xattrs);
        archive.0.extend_from_slice(content.as_bytes());
        archive.0.extend_from_slice(padding(size));
        archive
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        let target = target.into();
        self.entry(path, EntryKind::Symlink { target }, 0o777, &[])
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        let target = path_of(target);
        self.entry(path, EntryKind::HardLink { target }, 0o644, &[])
    }

    pub(crate) fn whiteout(mut self, directory: &str, name: &str) -> Self {
        encode_whiteout(&path_of(directory), name.as_bytes(), &mut self.0).unwrap();
        self
    }

    pub(crate) fn opaque(mut self, directory: &str) -> Self {
        encode_opaque(&path_of(directory), &mut self.0).unwrap();
        self
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&END_MARK);
        self.0
    }
}

pub(crate) fn path_of(path: &str) -> EntryPath {
    match path {
        "" => EntryPath::root(),
        _ => EntryPath::parse(path.as_bytes()).unwrap(),
    }
}

/// Four layers with whiteouts, an opaque directory, hard links, and attributes.
pub(crate) fn four_layers() -> Vec<Vec<u8>> {
    vec![
        Archive::default()
            .directory("etc")
            .file("etc/passwd", "root:x:0:0\n")
            .file("etc/hosts", "127.0.0.1 localhost\n")
            .directory("usr")
            .directory("usr/bin")
            .file(
                "usr/bin/tool",
                "first tool, the one that comes with the base",
            )
            .symlink("bin", "usr/bin")
            .directory("var")
            .directory("var/cache")
            .file("var/cache/old", "old")
            .end(),
        Archive::default()
            .directory("etc")
            .file("etc/passwd", "root:x:0:0\napp:x:1:1\n")
            .directory("usr")
            .directory("usr/bin")
            .noted("usr/bin/tool", "second tool", &[("user.note", "kept")])
            .hard_link("usr/bin/alias", "usr/bin/tool")
            .end(),
        Archive::default()
            .directory("etc")
            .whiteout("etc", "hosts")
            .directory("var")
            .directory("var/cache")
            .opaque("var/cache")
            .file("var/cache/new", "new")
            .end(),
        Archive::default()
            .directory("srv")
            .file("srv/data", "what the image is for")
            .symlink("srv/here", "/bin/tool")
            .symlink("srv/loop", "loop")
            .end(),
    ]
}

/// What made them, as the image's history has it.
const STEPS: &[&str] = &[
    "ADD rootfs.tar / # buildkit",
    "RUN /bin/sh -c adduser app # buildkit",
    "RUN /bin/sh -c clean # buildkit",
    "COPY data /srv # buildkit",
];

/// A store with its directory.
pub(crate) struct Stand {
    place: TempDir,
    pub(crate) driver: &'static str,
    pub(crate) tars: Vec<Vec<u8>>,
}

impl Stand {
    /// An empty store.
    pub(crate) fn empty(driver: &'static str) -> Self {
        Self::empty_in(driver, &std::env::temp_dir())
    }

    /// An empty store below `place`.
    pub(crate) fn empty_in(driver: &'static str, place: &Path) -> Self {
        Self {
            place: TempDir::new_in(place).unwrap(),
            driver,
            tars: Vec::new(),
        }
    }

    /// A store with an image of [`four_layers`], each with a blob as told.
    pub(crate) async fn filled(driver: &'static str, blobs: Blob) -> Self {
        Self::filled_in(driver, blobs, &std::env::temp_dir()).await
    }

    /// The same below `place`.
    pub(crate) async fn filled_in(driver: &'static str, blobs: Blob, place: &Path) -> Self {
        let mut stand = Self::empty_in(driver, place);
        stand.tars = four_layers();
        let layers = stand.open();
        install(&layers, &stand.tars, blobs, "image").await;
        stand
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.place.path().join("store")
    }

    pub(crate) fn open(&self) -> Layers {
        let store = Store::open(&self.root(), Durability::Volatile).unwrap();
        let driver = open_driver(self.driver, &store.layout().driver()).unwrap();
        Layers::new(Arc::new(store), driver)
    }

    /// The chain of a layer, by its place from the base.
    pub(crate) fn chain(&self, at: usize) -> ChainId {
        let diffs = self.tars.iter().take(at + 1).map(|tar| diff_of(tar));
        ChainId::of_all(diffs).unwrap()
    }

    pub(crate) fn diff(&self, at: usize) -> DiffId {
        diff_of(&self.tars[at])
    }

    /// Where the driver keeps a file of the layer that brought it: found by what it holds. Others
    /// may have copies.
    pub(crate) fn in_tree(&self, path: &str, content: &str) -> PathBuf {
        self.in_trees(path, content).remove(0)
    }

    /// Where the driver keeps copies of a file, the lowest layer's first.
    pub(crate) fn in_trees(&self, path: &str, content: &str) -> Vec<PathBuf> {
        let snapshots = self.root().join("layers/snapshots");
        let mut found: Vec<(u64, PathBuf)> = fs_err::read_dir(snapshots)
            .unwrap()
            .filter_map(|entry| {
                let entry = entry.unwrap();
                let number = entry.file_name().to_str()?.parse().ok()?;
                let file = entry.path().join("fs").join(path);
                let held = fs_err::read_to_string(&file).ok()?;
                (held == content).then_some((number, file))
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, file)| file).collect()
    }
}

pub(crate) fn open_driver(name: &str, root: &Path) -> Result<Arc<dyn StorageDriver>> {
    let options = OpenOptions::new(root).with_durability(Durability::Volatile);
    strata_drivers::registry().open(name, &options, &Host::probe())
}

pub(crate) fn diff_of(tar: &[u8]) -> DiffId {
    parse_diff_id(&Digest::of(tar).to_string()).unwrap()
}

/// Puts an image together from tars; its id.
pub(crate) async fn install(layers: &Layers, tars: &[Vec<u8>], blobs: Blob, name: &str) -> Digest {
    let store = layers.store();
    let mut parent = None;
    let mut chains = Vec::new();
    let mut taken = Vec::new();
    for tar in tars {
        let blob = match blobs {
            Blob::None => None,
            Blob::Plain => Some(store.put_document(tar, &|| false).unwrap()),
            Blob::Gzip => {
                let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packed.write_all(tar).unwrap();
                Some(
                    store
                        .put_document(&packed.finish().unwrap(), &|| false)
                        .unwrap(),
                )
            }
        };
        taken.extend(blob.map(|blob| (blob, BlobRole::Layer)));
        let diff = diff_of(tar);
        let chain = ChainId::of(parent, diff);
        if layers.find(&chain).await.unwrap().is_none() {
            let bytes = tar.clone();
            let source = Arc::new(move || Ok(Box::new(Cursor::new(bytes.clone())) as Box<_>));
            let draft = layers.apply(diff, parent.as_ref(), source).await.unwrap();
            layers.commit(draft, Place { parent, blob }).await.unwrap();
        }
        parent = Some(chain);
        chains.push(chain);
    }
    let history: Vec<_> = (0..tars.len())
        .map(|at| serde_json::json!({"created_by": STEPS.get(at).unwrap_or(&"RUN more")}))
        .collect();
    let diffs: Vec<_> = tars.iter().map(|tar| diff_of(tar).to_string()).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "history": history,
        "rootfs": {"type": "layers", "diff_ids": diffs},
    });
    let id = store
        .put_document(config.to_string().as_bytes(), &|| false)
        .unwrap();
    taken.push((id, BlobRole::Config));
    store
        .add_image(&NewImage {
            id,
            parent: None,
            created: None,
            labels: BTreeMap::new(),
            layers: chains,
            blobs: taken,
            names: vec![(
                format!("docker.io/library/{name}"),
                Target::Tag("latest".into()),
            )],
        })
        .unwrap();
    id
}

pub(crate) async fn check(layers: &Layers, level: Level) -> CheckReport {
    layers
        .check(&CheckOptions::default().with_level(level))
        .await
        .unwrap()
}

pub(crate) async fn repair(layers: &Layers) -> CheckReport {
    let options = CheckOptions::default()
        .with_level(Level::Full)
        .with_repair(strata_image::mend::repair());
    layers.check(&options).await.unwrap()
}

/// What a report tells, one line a finding.
pub(crate) fn told(report: &CheckReport) -> String {
    let lines: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
