//! Names, parents, links, duplicates, type changes: what an entry may name and what it makes.

use crate::is_root;
use crate::layer::{Head, Layer};
use crate::tree::{paths, tree};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use strata_driver::ErrorKind;
use tempfile::tempdir;

fn read(path: &Path) -> String {
    String::from_utf8(fs_err::read(path).unwrap()).unwrap()
}

#[test]
fn names_are_clamped_to_the_root() {
    let root = tempdir().unwrap();
    let layer = Layer::new()
        .directory("./")
        .directory("/abs/")
        .file("/abs/a", b"1")
        .file("./abs//./b", b"2")
        .file("abs/c/", b"3");
    layer.apply(root.path()).unwrap();
    assert_eq!(paths(root.path()), ["abs", "abs/a", "abs/b", "abs/c"]);
}

#[test]
fn odd_names_are_kept() {
    let root = tempdir().unwrap();
    let long = "n".repeat(255);
    let layer = Layer::new()
        .file("new\nline\x01", b"1")
        .add("x", Head::new(b'0').pax("path", long.as_bytes()), b"2")
        .add("x", Head::new(b'0').pax("path", b"\xff\xfe"), b"3");
    layer.apply(root.path()).unwrap();
    assert_eq!(read(&root.path().join("new\nline\x01")), "1");
    assert_eq!(read(&root.path().join(long)), "2");
    assert_eq!(paths(root.path()).len(), 3);
}

#[test]
fn parent_symlink_of_this_layer_is_resolved_inside() {
    for target in ["real", "/real", "../../../real", "./x/../real", "hop"] {
        let root = tempdir().unwrap();
        let layer = Layer::new()
            .directory("real")
            .directory("x")
            .symlink("hop", "/real")
            .symlink("link", target)
            .file("link/file", b"1")
            .hard_link("again", "link/file")
            .mark("link/.wh.gone");
        layer.apply(root.path()).unwrap();
        assert_eq!(read(&root.path().join("real/file")), "1", "{target}");
        assert!(root.path().join("link").is_symlink());
        let inode = |name| fs_err::metadata(root.path().join(name)).unwrap().ino();
        assert_eq!(inode("again"), inode("real/file"));
    }
}

#[test]
fn parent_symlink_into_nowhere_gets_its_directory() {
    if !is_root() {
        return;
    }
    let root = tempdir().unwrap();
    let layer = Layer::new().symlink("lib", "usr/lib").file("lib/a", b"1");
    layer.apply(root.path()).unwrap();
    assert_eq!(paths(root.path()), ["lib", "usr", "usr/lib", "usr/lib/a"]);
}

#[test]
fn parent_symlink_from_below_becomes_a_directory() {
    if !is_root() {
        return;
    }
    let root = tempdir().unwrap();
    fs_err::create_dir(root.path().join("real")).unwrap();
    symlink("real", root.path().join("link")).unwrap();
    fs_err::create_dir(root.path().join("real/sub")).unwrap();
    let layer = Layer::new()
        .file("link/sub/file", b"1")
        .file("link/file", b"2");
    layer.apply(root.path()).unwrap();
    let wanted = [
        "link",
        "link/file",
        "link/sub",
        "link/sub/file",
        "real",
        "real/sub",
    ];
    assert_eq!(paths(root.path()), wanted);
}

#[test]
fn link_chains_end() {
    let chain = |length: usize| {
        let start = Layer::new().directory("l0");
        let links = (1..=length).fold(start, |layer, n| {
            layer.symlink(&format!("l{n}"), &format!("l{}", n - 1))
        });
        links.file(&format!("l{length}/file"), b"1")
    };
    let root = tempdir().unwrap();
    chain(40).apply(root.path()).unwrap();
    assert_eq!(read(&root.path().join("l0/file")), "1");
    let refused = [
        chain(41),
        Layer::new()
            .symlink("a", "b")
            .symlink("b", "a")
            .file("a/x", b""),
        Layer::new().symlink("self", "self").file("self/x", b""),
    ];
    for layer in refused {
        let error = layer.apply(tempdir().unwrap().path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_file_is_no_parent() {
    let layer = Layer::new().file("a", b"").file("a/b", b"");
    let error = layer.apply(tempdir().unwrap().path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.context("entry"), Some("a/b"));
    assert_eq!(error.context("offset"), Some("512"));
    assert_eq!(error.operation(), "apply");
}

#[test]
fn hard_links_join_names_of_this_layer() {
    let root = tempdir().unwrap();
    let layer = Layer::new()
        .file("a", b"1")
        .symlink("s", "a")
        .directory("d")
        .file("d/old", b"2")
        .hard_link("b", "a")
        .hard_link("t", "s")
        .hard_link("b", "a")
        .hard_link("a", "/./a");
    layer.apply(root.path()).unwrap();
    let inode = |name| {
        fs_err::symlink_metadata(root.path().join(name))
            .unwrap()
            .ino()
    };
    assert_eq!(inode("a"), inode("b"));
    assert_eq!(inode("s"), inode("t"));
    assert_eq!(read(&root.path().join("a")), "1");
}

#[test]
fn hard_link_to_anything_else_is_refused() {
    for target in [
        "missing",
        "later",
        "directory",
        "below",
        "../x",
        "/etc/passwd",
        ".wh.x",
        "d/x/y",
    ] {
        let root = tempdir().unwrap();
        fs_err::write(root.path().join("below"), "").unwrap();
        let layer = Layer::new()
            .directory("directory")
            .hard_link("link", target)
            .file("later", b"");
        let error = layer.apply(root.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{target}");
        assert!(!root.path().join("link").exists());
    }
    let own_child = Layer::new()
        .directory("d")
        .file("d/x", b"")
        .hard_link("d", "d/x");
    let error = own_child.apply(tempdir().unwrap().path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let replaced = Layer::new()
        .directory("d")
        .file("d/x", b"")
        .file("d", b"")
        .directory("d")
        .hard_link("y", "d/x");
    let error = replaced.apply(tempdir().unwrap().path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn of_duplicate_names_the_last_wins() {
    let root = tempdir().unwrap();
    let layer = Layer::new()
        .file("a", b"first")
        .file("./a", b"second")
        .symlink("b", "a")
        .file("b", b"third")
        .directory("c")
        .file("c/x", b"")
        .file("c", b"fourth")
        .file("d", b"")
        .directory("d")
        .file("d/y", b"fifth")
        .symlink("e", "d")
        .file("e/through", b"")
        .directory("e")
        .file("e/z", b"sixth")
        .directory("g")
        .file("g/gone", b"")
        .file("g", b"")
        .directory("g")
        .file("g/new", b"");
    layer.apply(root.path()).unwrap();
    let wanted = [
        "a",
        "b",
        "c",
        "d",
        "d/through",
        "d/y",
        "e",
        "e/z",
        "g",
        "g/new",
    ];
    assert_eq!(paths(root.path()), wanted);
    assert_eq!(read(&root.path().join("a")), "second");
    assert_eq!(read(&root.path().join("b")), "third");
    assert_eq!(read(&root.path().join("c")), "fourth");
}

#[test]
fn types_change_over_what_was_there() {
    let root = tempdir().unwrap();
    let old = Layer::new()
        .directory("full")
        .directory("full/deep")
        .file("full/deep/x", b"")
        .file("file", b"old")
        .symlink("dangling", "nowhere")
        .symlink("to-full", "full")
        .directory("kept")
        .file("kept/old", b"");
    old.apply(root.path()).unwrap();
    let new = Layer::new()
        .file("full", b"now a file")
        .directory("file")
        .file("file/inside", b"")
        .directory("dangling")
        .directory("to-full")
        .file("to-full/y", b"")
        .directory("kept")
        .symlink("kept/new", "old");
    new.apply(root.path()).unwrap();
    let wanted = [
        "dangling",
        "file",
        "file/inside",
        "full",
        "kept",
        "kept/new",
        "kept/old",
        "to-full",
        "to-full/y",
    ];
    assert_eq!(paths(root.path()), wanted);
    assert_eq!(read(&root.path().join("full")), "now a file");
}

#[test]
fn directories_without_an_entry_are_plain() {
    if !is_root() {
        return;
    }
    let root = tempdir().unwrap();
    Layer::new().file("a/b/c", b"").apply(root.path()).unwrap();
    let found = tree(root.path());
    assert_eq!(found["a"], "directory 755 0:0 0 {}");
    assert_eq!(found["a/b"], "directory 755 0:0 0 {}");
}

#[test]
fn an_entry_after_its_children_gives_the_directory_its_attributes() {
    if !is_root() {
        return;
    }
    let root = tempdir().unwrap();
    let layer = Layer::new()
        .file("a/b", b"")
        .add("a", Head::new(b'5').mode(0o1500).owner(7, 8).mtime(99), b"")
        .file("a/c", b"");
    layer.apply(root.path()).unwrap();
    assert_eq!(tree(root.path())["a"], "directory 1500 7:8 99 {}");
}

#[test]
fn nothing_is_made_by_an_empty_stream_or_a_missing_end() {
    let root = tempdir().unwrap();
    Layer::new().apply(root.path()).unwrap();
    let bare = crate::layer::apply_bytes(
        Vec::new(),
        root.path(),
        &mut strata_driver::apply::PlainPlacement,
    );
    assert_eq!(bare.unwrap().entries, 0);
    let no_end = Layer::new().file("a", b"1").bytes;
    crate::layer::apply_bytes(
        no_end,
        root.path(),
        &mut strata_driver::apply::PlainPlacement,
    )
    .unwrap();
    assert_eq!(paths(root.path()), ["a"]);
}
