//! Whiteouts and opaque marks on a whole tree.

use crate::is_root;
use crate::layer::{Head, Layer};
use crate::tree::{paths, tree};
use std::path::Path;
use tempfile::{TempDir, tempdir};

/// A root with a tree from before: `d/{a,b,sub/x}` and `f`.
fn old() -> TempDir {
    let root = tempdir().unwrap();
    let layer = Layer::new()
        .add("d", Head::new(b'5').mode(0o700).mtime(77), b"")
        .file("d/a", b"old")
        .file("d/b", b"old")
        .add("d/sub", Head::new(b'5').mode(0o711).mtime(78), b"")
        .file("d/sub/x", b"old")
        .file("f", b"old");
    layer.apply(root.path()).unwrap();
    root
}

fn applied(layer: &Layer) -> TempDir {
    let root = old();
    layer.apply(root.path()).unwrap();
    root
}

fn is_new(root: &Path, path: &str) -> bool {
    fs_err::read(root.join(path)).unwrap() == b"new"
}

#[test]
fn whiteouts_remove_what_was_there() {
    let root = applied(&Layer::new().mark("d/.wh.a").mark("d/.wh.sub").mark(".wh.f"));
    assert_eq!(paths(root.path()), ["d", "d/b"]);
}

#[test]
fn whiteouts_of_absent_names_make_nothing() {
    let layer = Layer::new()
        .mark(".wh.none")
        .mark("none/.wh.x")
        .mark("f/.wh.x")
        .mark("none/.wh..wh..opq")
        .mark("f/.wh..wh..opq");
    assert_eq!(tree(applied(&layer).path()), tree(old().path()));
}

#[test]
fn a_file_outlives_its_own_whiteout_in_either_order() {
    for layer in [
        Layer::new().file("d/a", b"new").mark("d/.wh.a"),
        Layer::new().mark("d/.wh.a").file("d/a", b"new"),
    ] {
        assert!(is_new(applied(&layer).path(), "d/a"));
    }
}

#[test]
fn a_directory_outlives_its_own_whiteout_and_shows_nothing_from_below() {
    let head = || Head::new(b'5').mode(0o750);
    for layer in [
        Layer::new()
            .add("d", head(), b"")
            .file("d/new", b"new")
            .mark(".wh.d"),
        Layer::new()
            .add("d", head(), b"")
            .mark(".wh.d")
            .file("d/new", b"new"),
        Layer::new()
            .mark(".wh.d")
            .add("d", head(), b"")
            .file("d/new", b"new"),
    ] {
        let root = applied(&layer);
        assert_eq!(paths(root.path()), ["d", "d/new", "f"]);
        assert!(tree(root.path())["d"].starts_with("directory 750 "));
    }
}

#[test]
fn a_hidden_directory_leaves_no_attributes() {
    if !is_root() {
        return;
    }
    for layer in [
        Layer::new().file("d/sub/new", b"new").mark(".wh.d"),
        Layer::new().mark(".wh.d").file("d/sub/new", b"new"),
    ] {
        let root = applied(&layer);
        assert_eq!(paths(root.path()), ["d", "d/sub", "d/sub/new", "f"]);
        assert_eq!(tree(root.path())["d"], "directory 755 0:0 0 {}");
        assert_eq!(tree(root.path())["d/sub"], "directory 755 0:0 0 {}");
    }
}

#[test]
fn opaque_hides_what_was_there_and_nothing_else_in_any_order() {
    if !is_root() {
        return;
    }
    let items: [&dyn Fn(Layer) -> Layer; 3] = [
        &|layer| layer.file("d/sub/new", b"new"),
        &|layer| layer.mark("d/.wh..wh..opq"),
        &|layer| layer.file("d/a", b"new"),
    ];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let layer = order
            .iter()
            .fold(Layer::new(), |layer, &at| items[at](layer));
        let root = applied(&layer);
        assert_eq!(
            paths(root.path()),
            ["d", "d/a", "d/sub", "d/sub/new", "f"],
            "{order:?}"
        );
        let found = tree(root.path());
        assert!(found["d"].starts_with("directory 700 ") && found["d"].ends_with(" 77 {}"));
        assert_eq!(found["d/sub"], "directory 755 0:0 0 {}");
    }
}

#[test]
fn opaque_root_hides_everything() {
    if !is_root() {
        return;
    }
    for layer in [
        Layer::new().file("d/sub/new", b"new").mark(".wh..wh..opq"),
        Layer::new().mark(".wh..wh..opq").file("d/sub/new", b"new"),
        Layer::new()
            .mark("./.wh..wh..opq")
            .mark("./.wh..wh..opq")
            .file("d/sub/new", b"new"),
    ] {
        let root = applied(&layer);
        assert_eq!(paths(root.path()), ["d", "d/sub", "d/sub/new"]);
    }
}

#[test]
fn whiteouts_inside_an_opaque_directory_are_fine() {
    for layer in [
        Layer::new()
            .mark("d/.wh..wh..opq")
            .mark("d/.wh.a")
            .mark("d/sub/.wh.x"),
        Layer::new()
            .mark("d/.wh.a")
            .mark("d/sub/.wh.x")
            .mark("d/.wh..wh..opq"),
    ] {
        assert_eq!(paths(applied(&layer).path()), ["d", "f"]);
    }
}

#[test]
fn a_whiteout_below_a_whiteout_is_fine() {
    for layer in [
        Layer::new().mark(".wh.d").mark("d/.wh.a"),
        Layer::new().mark("d/.wh.a").mark(".wh.d"),
        Layer::new().mark(".wh.d").file("d", b"new").mark("d/.wh.a"),
        Layer::new().mark("d/.wh.a").file("d", b"new"),
    ] {
        let root = applied(&layer);
        let left = paths(root.path());
        assert!(
            left == ["f"] || (left == ["d", "f"] && is_new(root.path(), "d")),
            "{left:?}"
        );
    }
}

#[test]
fn directories_that_lose_or_gain_names_keep_their_times() {
    let layer = Layer::new()
        .mark("d/.wh.a")
        .file("d/sub/new", b"new")
        .file("d/sub/x", b"new");
    let (before, after) = (tree(old().path()), tree(applied(&layer).path()));
    assert_eq!(before["d"], after["d"]);
    assert_eq!(before["d/sub"], after["d/sub"]);
}

#[test]
fn the_root_keeps_its_time() {
    let root = old();
    let mtime = |root: &TempDir| fs_err::metadata(root.path()).unwrap().modified().unwrap();
    let before = mtime(&root);
    let layer = Layer::new()
        .add("./", Head::new(b'5').mtime(5), b"")
        .file("new", b"")
        .mark(".wh.f");
    layer.apply(root.path()).unwrap();
    assert_eq!(mtime(&root), before);
}
