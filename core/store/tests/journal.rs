//! Journals: a tar comes back to the bit from its journal and the tree that it was applied to.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::File;
use std::io::Cursor;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use strata_driver::apply::{ApplyTarget, PlainPlacement};
use strata_driver::changeset::{
    END_MARK, Entry, EntryKind, EntryPath, Metadata, Timestamp, encode_entry, encode_opaque,
    encode_whiteout, padding,
};
use strata_driver::{ApplyObserver, ApplyOptions, ErrorKind};
use strata_store::journal::{
    Inline, JournalReader, JournalWriter, Record, Written, reassemble, write_again,
};
use tempfile::TempDir;

/// An archive that is put together entry by entry.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(&mut self, path: &str, kind: EntryKind) {
        let entry = Entry {
            path: EntryPath::parse(path.as_bytes()).unwrap(),
            metadata: Metadata {
                mode: if kind == EntryKind::Directory {
                    0o755
                } else {
                    0o644
                },
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
                mtime: Timestamp {
                    seconds: 1_000_000_000,
                    nanoseconds: 0,
                },
            },
            kind,
            xattrs: Vec::new(),
        };
        encode_entry(&entry, &mut self.0).unwrap();
    }

    fn directory(mut self, path: &str) -> Self {
        self.entry(path, EntryKind::Directory);
        self
    }

    fn file(mut self, path: &str, content: &[u8]) -> Self {
        let size = content.len() as u64;
        self.entry(path, EntryKind::File { size });
        self.0.extend_from_slice(content);
        self.0.extend_from_slice(padding(size));
        self
    }

    fn symlink(mut self, path: &str, target: &str) -> Self {
        let target = target.into();
        self.entry(path, EntryKind::Symlink { target });
        self
    }

    fn hard_link(mut self, path: &str, target: &str) -> Self {
        let target = EntryPath::parse(target.as_bytes()).unwrap();
        self.entry(path, EntryKind::HardLink { target });
        self
    }

    fn whiteout(mut self, name: &str) -> Self {
        encode_whiteout(&EntryPath::root(), name.as_bytes(), &mut self.0).unwrap();
        self
    }

    fn opaque(mut self, directory: &str) -> Self {
        let directory = EntryPath::parse(directory.as_bytes()).unwrap();
        encode_opaque(&directory, &mut self.0).unwrap();
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&END_MARK);
        self.0
    }
}

/// A layer's tree, its journal and what became of that.
struct Layer {
    place: TempDir,
    written: Written,
}

impl Layer {
    fn apply(tar: &[u8]) -> Self {
        let place = TempDir::new().unwrap();
        fs_err::create_dir(place.path().join("tree")).unwrap();
        let file = File::create(place.path().join("journal")).unwrap();
        let writer = JournalWriter::new(file, Inline::Known).unwrap();
        let observer = Arc::new(Mutex::new(Some(writer)));
        let root = File::open(place.path().join("tree")).unwrap();
        let target = ApplyTarget {
            root: root.as_fd(),
            placement: &mut PlainPlacement,
        };
        let seen: Arc<Mutex<dyn ApplyObserver>> = Arc::new(Mutex::new(Shared(observer.clone())));
        let options = ApplyOptions::default().with_observer(seen);
        let source = Box::new(Cursor::new(tar.to_vec()));
        let applied = strata_driver::apply(target, source, &options).unwrap();
        let writer = observer.lock().unwrap().take().unwrap();
        let written = writer.finish(applied.diff_id, applied.size.0).unwrap();
        let mut layer = Self { place, written };
        if let Written::Again(inline) = layer.written.clone() {
            let file = File::create(layer.journal()).unwrap();
            let fact = (applied.diff_id, applied.size.0);
            layer.written = write_again(file, inline, &mut Cursor::new(tar), fact).unwrap();
        }
        layer
    }

    fn journal(&self) -> std::path::PathBuf {
        self.place.path().join("journal")
    }

    fn tree(&self) -> std::path::PathBuf {
        self.place.path().join("tree")
    }

    fn records(&self) -> Vec<Record> {
        let file = File::open(self.journal()).unwrap();
        JournalReader::open(file)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    fn reassembled(&self) -> strata_driver::Result<Vec<u8>> {
        let records = JournalReader::open(File::open(self.journal()).unwrap()).unwrap();
        let root = File::open(self.tree()).unwrap();
        let mut out = Vec::new();
        let made = reassemble(records, root.as_fd(), &mut out)?;
        assert_eq!(made.size.0, out.len() as u64);
        Ok(out)
    }
}

/// Passes what it sees on to a writer that can be taken back.
struct Shared(Arc<Mutex<Option<JournalWriter>>>);

impl ApplyObserver for Shared {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.lock().unwrap().as_mut().unwrap().raw(bytes);
    }

    fn item(&mut self, item: &strata_driver::changeset::Item) {
        self.0.lock().unwrap().as_mut().unwrap().item(item);
    }

    fn data(&mut self, bytes: &[u8]) {
        self.0.lock().unwrap().as_mut().unwrap().data(bytes);
    }
}

fn comes_back(tar: &[u8]) -> Layer {
    let layer = Layer::apply(tar);
    assert!(matches!(layer.written, Written::Whole { .. }));
    assert!(layer.reassembled().unwrap() == tar);
    layer
}

/// How many contents stand in the journal.
fn inline(layer: &Layer) -> usize {
    let records = layer.records();
    let inline = records
        .iter()
        .filter(|record| matches!(record, Record::Inline(_)));
    inline.count()
}

#[test]
fn a_layer_comes_back_without_its_contents_in_the_journal() {
    let long = vec![7; 3_000_000];
    let tar = Archive::default()
        .directory("etc")
        .file("etc/passwd", b"root:x:0:0\n")
        .file("etc/empty", b"")
        .hard_link("etc/shadow", "etc/passwd")
        .symlink("link", "etc/passwd")
        .file("long", &long)
        .whiteout("gone")
        .directory("var")
        .opaque("var")
        .end();
    let layer = comes_back(&tar);
    assert_eq!(inline(&layer), 0);
    assert_eq!(
        layer.written,
        Written::Whole {
            contents: 3_000_011
        }
    );
    assert!(fs_err::metadata(layer.journal()).unwrap().len() < 2_000);
}

#[test]
fn a_journal_tells_what_the_layer_says() {
    let tar = Archive::default()
        .file("a", b"1")
        .whiteout("gone")
        .directory("var")
        .opaque("var")
        .end();
    let layer = Layer::apply(&tar);
    let said: Vec<String> = layer
        .records()
        .into_iter()
        .filter_map(|record| match record {
            Record::Entry { path, kind, .. } => Some(format!("{path} {kind:?}")),
            Record::Whiteout { name, .. } => Some(format!("gone {}", name.escape_ascii())),
            Record::Opaque(directory) => Some(format!("opaque {directory}")),
            _ => None,
        })
        .collect();
    let expected = ["a File(1)", "gone gone", "var Directory", "opaque var"];
    assert_eq!(said, expected);
}

#[test]
fn what_the_layer_itself_replaces_stands_in_the_journal() {
    let tar = Archive::default()
        .file("twice", b"first")
        .file("twice", b"second")
        .directory("d")
        .file("d/below", b"covered")
        .symlink("d", "elsewhere")
        .end();
    assert_eq!(inline(&comes_back(&tar)), 2);
}

#[test]
fn a_layer_that_writes_through_its_own_link_comes_back() {
    let tar = Archive::default()
        .directory("real")
        .file("real/x", b"first")
        .symlink("alias", "real")
        .file("alias/x", b"second, through the link")
        .end();
    comes_back(&tar);
}

#[test]
fn what_follows_the_end_comes_back() {
    let mut tar = Archive::default().file("a", b"1").end();
    tar.extend_from_slice(&[0; 9216]);
    tar.extend_from_slice(b"rubbish");
    comes_back(&tar);
    // And an archive without its end.
    let whole = Archive::default().file("a", b"1").end();
    comes_back(&whole[..whole.len() - 1024]);
}

#[test]
fn content_that_changed_is_told_by_its_path() {
    let tar = Archive::default()
        .directory("d")
        .file("d/good", b"good")
        .file("d/bad", b"as it came")
        .end();
    let break_it: [fn(&Path); 4] = [
        |path| fs_err::write(path, "as it CAME").unwrap(),
        |path| fs_err::write(path, "as it came, and more").unwrap(),
        |path| fs_err::remove_file(path).unwrap(),
        |path| {
            fs_err::remove_file(path).unwrap();
            fs_err::os::unix::fs::symlink("good", path).unwrap();
        },
    ];
    for spoil in break_it {
        let layer = Layer::apply(&tar);
        spoil(&layer.tree().join("d/bad"));
        let error = layer.reassembled().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("d/bad"), "{error}");
    }
}

#[test]
fn a_journal_that_is_damaged_gives_no_layer() {
    let tar = Archive::default().file("a", b"1").whiteout("b").end();
    let layer = Layer::apply(&tar);
    let whole = fs_err::read(layer.journal()).unwrap();
    let root = File::open(layer.tree()).unwrap();
    for length in 0..whole.len() {
        let Ok(records) = JournalReader::new(&whole[..length]) else {
            continue;
        };
        let mut out = Vec::new();
        let error = reassemble(records, root.as_fd(), &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    for at in 0..whole.len() {
        let mut spoiled = whole.clone();
        spoiled[at] ^= 0x40;
        let Ok(records) = JournalReader::new(spoiled.as_slice()) else {
            continue;
        };
        let mut out = Vec::new();
        // What zstd does not mind must not matter.
        if reassemble(records, root.as_fd(), &mut out).is_ok() {
            assert!(out == tar);
        }
    }
}

#[test]
fn modes_do_not_keep_a_layer_from_coming_back() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root: others cannot read what has no mode");
        return;
    }
    let tar = Archive::default().file("a", b"1").end();
    let layer = Layer::apply(&tar);
    let none = std::fs::Permissions::from_mode(0o000);
    fs_err::set_permissions(layer.tree().join("a"), none).unwrap();
    assert!(layer.reassembled().unwrap() == tar);
}
