//! Archives that try to reach out of the root. Canaries stand outside.

use crate::layer::{Head, Layer, apply_bytes};
use crate::tree::{paths, tree};
use std::collections::BTreeMap;
use std::path::PathBuf;
use strata_driver::ErrorKind;
use strata_driver::apply::PlainPlacement;
use tempfile::{TempDir, tempdir};

/// A root with a directory of canaries beside it.
struct Cage {
    directory: TempDir,
    before: BTreeMap<String, String>,
}

impl Cage {
    fn new() -> Self {
        let directory = tempdir().unwrap();
        let outside = directory.path().join("outside");
        fs_err::create_dir_all(outside.join("sub")).unwrap();
        fs_err::create_dir(directory.path().join("root")).unwrap();
        fs_err::write(outside.join("passwd"), "canary").unwrap();
        fs_err::write(outside.join("sub/x"), "canary").unwrap();
        let before = tree(&outside);
        Self { directory, before }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn outside(&self) -> String {
        self.directory
            .path()
            .join("outside")
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// Neither the canaries nor anything beside the root has changed.
    fn check(&self) {
        let outside = self.directory.path().join("outside");
        assert_eq!(tree(&outside), self.before);
        assert_eq!(fs_err::read_dir(self.directory.path()).unwrap().count(), 2);
    }
}

#[test]
fn names_that_climb_are_refused() {
    for name in [
        "../x",
        "a/../../x",
        "a/../b",
        "..",
        "a/..",
        "./../outside/passwd",
        "/../x",
    ] {
        for flag in [b'0', b'5', b'6'] {
            let cage = Cage::new();
            let layer = Layer::new().directory("a").add(name, Head::new(flag), b"");
            let error = layer.apply(&cage.root()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
            assert!(error.context("offset").is_some() && error.context("entry").is_some());
            cage.check();
        }
    }
}

#[test]
fn names_with_nul_and_empty_names_are_refused() {
    let cage = Cage::new();
    for layer in [
        Layer::new().add("x", Head::new(b'0').pax("path", b"a\0b"), b""),
        Layer::new().file("", b""),
        Layer::new().add(
            "x",
            Head::new(b'0').pax("path", "n".repeat(256).as_bytes()),
            b"",
        ),
        Layer::new().mark("a/.wh."),
        Layer::new().mark(".wh..."),
        Layer::new().mark(".wh.."),
        Layer::new().mark(".wh.a/b"),
    ] {
        let error = layer.apply(&cage.root()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    cage.check();
}

/// Everything that can be said about a path through `link`.
fn uses_of(link: &str) -> Vec<Layer> {
    let at = |name: &str| format!("{link}/{name}");
    vec![
        Layer::new().file(&at("passwd"), b"evil"),
        Layer::new().file(&at("new"), b"evil"),
        Layer::new().add(link, Head::new(b'5').mode(0o777), b""),
        Layer::new().add(&at("."), Head::new(b'5').mode(0o777), b""),
        Layer::new().add(&at("sub"), Head::new(b'5').mode(0o777).owner(9, 9), b""),
        Layer::new().hard_link("stolen", &at("passwd")),
        Layer::new().mark(&at(".wh.passwd")),
        Layer::new().mark(&at(".wh.sub")),
        Layer::new().mark(&at(".wh..wh..opq")),
        Layer::new().mark(&at("sub/.wh..wh..opq")),
        Layer::new().mark(&format!(".wh.{link}")),
        Layer::new().symlink(&at("passwd"), "evil"),
        Layer::new().add(&at("passwd"), Head::new(b'6'), b""),
        Layer::new().file(link, b"evil"),
        Layer::new().add(
            link,
            Head::new(b'0').xattr("user.evil", b"1").mode(0o666),
            b"evil",
        ),
    ]
}

#[test]
fn links_of_the_same_layer_lead_nowhere_else() {
    let cage = Cage::new();
    for target in [
        cage.outside(),
        "../outside".into(),
        "/proc/self/root".into(),
        "/proc/self/cwd".into(),
    ] {
        for layer in uses_of("a") {
            fs_err::remove_dir_all(cage.root()).unwrap();
            fs_err::create_dir(cage.root()).unwrap();
            let mut both = Layer::new().symlink("a", &target);
            both.bytes.extend_from_slice(&layer.bytes);
            // Refused or resolved inside: both are fine, as long as nothing outside changes.
            drop(both.apply(&cage.root()));
            cage.check();
            for path in paths(&cage.root()) {
                let path = cage.root().join(path);
                if fs_err::symlink_metadata(&path).unwrap().is_file() {
                    assert_ne!(fs_err::read(&path).unwrap(), b"canary");
                }
            }
        }
    }
}

#[test]
fn links_of_an_earlier_layer_lead_nowhere_else() {
    let cage = Cage::new();
    for target in [
        cage.outside(),
        "../outside".into(),
        "/proc/self/root".into(),
    ] {
        for layer in uses_of("a") {
            fs_err::remove_dir_all(cage.root()).unwrap();
            fs_err::create_dir(cage.root()).unwrap();
            Layer::new()
                .symlink("a", &target)
                .apply(&cage.root())
                .unwrap();
            drop(layer.apply(&cage.root())); // as above
            cage.check();
        }
    }
}

#[test]
fn a_link_to_a_file_outside_is_replaced_not_written_through() {
    let cage = Cage::new();
    let target = format!("{}/passwd", cage.outside());
    Layer::new()
        .symlink("passwd", &target)
        .apply(&cage.root())
        .unwrap();
    Layer::new()
        .file("passwd", b"new")
        .apply(&cage.root())
        .unwrap();
    assert_eq!(fs_err::read(cage.root().join("passwd")).unwrap(), b"new");
    cage.check();
}

#[test]
fn a_root_that_is_no_directory_is_refused() {
    let cage = Cage::new();
    let outside = cage.outside();
    for (flag, link) in [
        (b'2', outside.as_str()),
        (b'0', ""),
        (b'6', ""),
        (b'1', "x"),
    ] {
        for name in ["./", "/", "."] {
            let layer = Layer::new()
                .file("x", b"")
                .add(name, Head::new(flag).link(link), b"");
            let error = layer.apply(&cage.root()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
    cage.check();
}

#[test]
fn marks_of_overlay_cannot_be_smuggled_in() {
    let cage = Cage::new();
    for layer in [
        Layer::new().add(
            "d",
            Head::new(b'5').xattr("trusted.overlay.opaque", b"y"),
            b"",
        ),
        Layer::new().add("d", Head::new(b'5').xattr("user.overlay.opaque", b"y"), b""),
        Layer::new().add("c", Head::new(b'3').device(0, 0), b""),
    ] {
        assert_eq!(
            layer.apply(&cage.root()).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
    assert!(paths(&cage.root()).is_empty());
}

#[test]
fn a_deep_tree_is_made_and_hidden_again() {
    let cage = Cage::new();
    let deep = (1..=1900).map(|_| "d").collect::<Vec<_>>().join("/");
    let mut layer = Layer::new().directory("d");
    let mut path = "d".to_owned();
    while path.len() < deep.len() {
        path.push_str("/d");
        layer = layer.add("x", Head::new(b'5').pax("path", path.as_bytes()), b"");
    }
    layer.apply(&cage.root()).unwrap();
    Layer::new().mark(".wh.d").apply(&cage.root()).unwrap();
    assert!(paths(&cage.root()).is_empty());
    layer
        .mark(".wh..wh..opq")
        .file("d", b"")
        .apply(&cage.root())
        .unwrap();
    assert_eq!(paths(&cage.root()), ["d"]);
}

#[test]
fn a_mount_behind_a_whiteout_keeps_its_files() {
    use rustix::mount::{MountPropagationFlags, UnmountFlags};
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_err()
        || rustix::mount::mount_change("/", private).is_err()
    {
        eprintln!("skipped: needs a mount namespace");
        return;
    }
    for whiteout in [".wh.d", ".wh..wh..opq"] {
        let cage = Cage::new();
        let mounted = cage.root().join("d/e");
        fs_err::create_dir_all(&mounted).unwrap();
        rustix::mount::mount_bind(cage.outside(), &mounted).unwrap();
        let error = Layer::new().mark(whiteout).apply(&cage.root()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
        cage.check();
        rustix::mount::unmount(&mounted, UnmountFlags::empty()).unwrap();
        Layer::new().mark(whiteout).apply(&cage.root()).unwrap();
        assert!(paths(&cage.root()).is_empty());
        cage.check();
    }
}

#[test]
fn every_truncation_is_an_error_or_a_shorter_layer() {
    let whole = Layer::new()
        .directory("d")
        .add("d/f", Head::new(b'0').xattr("user.x", b"1"), &[1; 1500])
        .file("g", b"2")
        .archive();
    for length in (0..whole.len()).step_by(256) {
        let cage = Cage::new();
        let outcome = apply_bytes(whole[..length].to_vec(), &cage.root(), &mut PlainPlacement);
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{length}: {error:?}");
        } else {
            let left = paths(&cage.root());
            assert!(
                ["d", "d/f", "g"].starts_with(&left.iter().map(String::as_str).collect::<Vec<_>>())
            );
        }
    }
}

#[test]
fn corrupt_headers_are_refused() {
    let good = Layer::new().file("a", b"1").file("b", b"2").archive();
    for (at, byte) in [
        (0, b'b'),
        (100, b'9'),
        (124, b'8'),
        (124, 0xff),
        (150, b'9'),
        (1024, b'x'),
    ] {
        let mut bad = good.clone();
        bad[at] = byte;
        let error = apply_bytes(bad, tempdir().unwrap().path(), &mut PlainPlacement).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "byte {at}");
    }
}
