//! What the caller learns: digest and size, the observer's view, and errors of every kind.

use crate::is_root;
use crate::layer::{Head, Layer, apply_bytes};
use crate::memory::Memory;
use sha2::{Digest as _, Sha256};
use std::io::{Cursor, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use strata_driver::apply::{ApplyTarget, PlainPlacement};
use strata_driver::changeset::Item;
use strata_driver::{ApplyObserver, ApplyOptions, Bytes, DiffId, Error, ErrorKind};
use tempfile::tempdir;

fn digest(bytes: &[u8]) -> DiffId {
    DiffId::from_sha256(Sha256::digest(bytes).into())
}

#[derive(Default)]
struct Recorder {
    stream: Vec<u8>,
    items: Vec<Item>,
    content: Vec<u8>,
}

impl ApplyObserver for Recorder {
    fn raw(&mut self, bytes: &[u8]) {
        self.stream.extend_from_slice(bytes);
    }

    fn item(&mut self, item: &Item) {
        self.items.push(item.clone());
    }

    fn data(&mut self, bytes: &[u8]) {
        self.stream.extend_from_slice(bytes);
        self.content.extend_from_slice(bytes);
    }
}

#[test]
fn digest_and_size_are_those_of_the_whole_stream() {
    let mut bytes = Layer::new()
        .file("a", &vec![7; 600_000])
        .file("a", b"again")
        .mark(".wh.b")
        .mark(".wh..wh.plnk")
        .archive();
    bytes.extend_from_slice(&[0; 9000]);
    bytes.extend_from_slice(b"trailing bytes");
    let recorder = Arc::new(Mutex::new(Recorder::default()));
    let root = tempdir().unwrap();
    let opened = fs_err::File::open(root.path()).unwrap();
    let target = ApplyTarget {
        root: opened.file().as_fd(),
        placement: &mut PlainPlacement,
    };
    let options = ApplyOptions::default().with_observer(recorder.clone());
    let stream = Box::new(Cursor::new(bytes.clone()));
    let applied = strata_driver::apply(target, stream, &options).unwrap();
    assert_eq!(applied.diff_id, digest(&bytes));
    assert_eq!(applied.size, Bytes(bytes.len() as u64));
    assert_eq!(applied.entries, 3);
    let recorder = recorder.lock().unwrap();
    assert!(recorder.stream == bytes);
    assert_eq!(recorder.items.len(), 3);
    assert_eq!(recorder.content.len(), 600_005);
}

/// A stream that gives little at a time, and then an error.
struct Failing(Cursor<Vec<u8>>, Option<Error>);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(100);
        match self.0.read(&mut buffer[..length])? {
            0 => self
                .1
                .take()
                .map_or(Ok(0), |error| Err(std::io::Error::other(error))),
            read => Ok(read),
        }
    }
}

#[test]
fn an_error_of_the_stream_keeps_its_kind() {
    let archive = Layer::new().file("a", &[1; 5000]).archive();
    let apply = |error| {
        let root = tempdir().unwrap();
        let opened = fs_err::File::open(root.path()).unwrap();
        let target = ApplyTarget {
            root: opened.file().as_fd(),
            placement: &mut PlainPlacement,
        };
        let stream = Box::new(Failing(Cursor::new(archive.clone()), error));
        strata_driver::apply(target, stream, &ApplyOptions::default())
    };
    assert_eq!(apply(None).unwrap().diff_id, digest(&archive));
    let error = apply(Some(Error::new(ErrorKind::Corrupt, "diff"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.operation(), "apply");
}

#[test]
fn a_full_disk_is_no_space() {
    if !is_root() {
        return;
    }
    let full = Memory::new(c"size=1m");
    let layer = Layer::new()
        .file("a", b"fits")
        .file("big", &vec![1; 3 << 20])
        .file("z", b"");
    let error = layer.apply(full.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(error.context("entry"), Some("big"));
    let inodes = Memory::new(c"nr_inodes=10");
    let many = (0..20).fold(Layer::new(), |layer, n| layer.file(&format!("f{n}"), b""));
    assert_eq!(
        many.apply(inodes.path()).unwrap_err().kind(),
        ErrorKind::NoSpace
    );
}

#[test]
fn without_privilege_the_refusal_comes_with_a_hint() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs another user than root");
        return;
    }
    let head = Head::new(b'0').owner(0, 0);
    let device = Head::new(b'3').device(1, 3);
    for layer in [
        Layer::new().add("a", head, b""),
        Layer::new().add("a", device, b""),
    ] {
        let error = layer.apply(tempdir().unwrap().path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.hint_text().is_some());
    }
}

#[test]
fn a_directory_its_owner_may_not_write_is_filled_all_the_same() {
    let root = tempdir().unwrap();
    let layer = Layer::new()
        .add("d", Head::new(b'5').mode(0o500), b"")
        .add("d/e", Head::new(b'5').mode(0), b"")
        .file("d/e/f", b"1")
        .add("r", Head::new(b'0').mode(0o400).xattr("user.x", b"1"), b"2");
    layer.apply(root.path()).unwrap();
    let mode = |name| {
        fs_err::metadata(root.path().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!((mode("d"), mode("d/e"), mode("r")), (0o500, 0, 0o400));
    for name in ["d", "d/e"] {
        let wide = std::fs::Permissions::from_mode(0o700);
        fs_err::set_permissions(root.path().join(name), wide).unwrap();
    }
}

#[test]
fn the_mask_of_the_process_stays_as_it_was() {
    let before = fs_err::read_to_string("/proc/self/status").unwrap();
    Layer::new()
        .file("a", b"")
        .apply(tempdir().unwrap().path())
        .unwrap();
    let after = fs_err::read_to_string("/proc/self/status").unwrap();
    let mask = |status: &str| {
        status
            .lines()
            .find(|line| line.starts_with("Umask"))
            .map(str::to_owned)
    };
    assert_eq!(mask(&before), mask(&after));
}

#[test]
fn a_root_opened_as_a_path_will_do() {
    let root = tempdir().unwrap();
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let opened = rustix::fs::open(root.path(), flags, rustix::fs::Mode::empty()).unwrap();
    let target = ApplyTarget {
        root: opened.as_fd(),
        placement: &mut PlainPlacement,
    };
    let stream = Box::new(Cursor::new(Layer::new().file("a", b"").archive()));
    strata_driver::apply(target, stream, &ApplyOptions::default()).unwrap();
    assert!(apply_bytes(Vec::new(), root.path(), &mut PlainPlacement).is_ok());
}
