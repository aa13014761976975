//! Tests of the generated tree, of our edits, and of extraction with whiteouts.

use super::{Corpora, edits, extract, pack, seeded};
use crate::bench::outcome::{Outcome, Times};
use crate::bench::plan::RootfsSource;
use crate::tree::Tree;

#[test]
fn seeded_tree_has_the_shape_of_a_distribution_and_repeats() {
    let scratch = tempfile::tempdir_in(crate::fixture::scratch_place()).unwrap();
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    seeded::make(&one, 1, 1).unwrap();
    seeded::make(&two, 1, 1).unwrap();
    let tree = Tree::read(&one).unwrap();
    assert_eq!(tree.digest(), Tree::read(&two).unwrap().digest());
    let count = |wanted: &dyn Fn(&crate::tree::Node) -> bool| {
        tree.nodes().values().filter(|node| wanted(node)).count()
    };
    assert!((6_000..8_000).contains(&tree.nodes().len()));
    assert!(count(&|node| !node.target.is_empty()) > 300);
    assert!(count(&|node| node.mode & 0o4000 != 0) > 30);
    assert!(count(&|node| node.link_count > 1 && node.link_leader.is_some()) > 100);
    let bytes: u64 = tree.nodes().values().map(|node| node.size).sum();
    assert!((60_000_000..140_000_000).contains(&bytes), "{bytes}");
    for edit in edits::LAYERS {
        edit(&one, 1).unwrap();
        edit(&two, 1).unwrap();
    }
    let edited = Tree::read(&one).unwrap();
    assert_ne!(edited.digest(), tree.digest());
    assert_eq!(
        edited.compare(&Tree::read(&two).unwrap()),
        Vec::<String>::new()
    );
}

#[test]
fn packed_and_extracted_tree_is_the_same_and_compressed_tars_are_read() {
    let scratch = tempfile::tempdir_in(crate::fixture::scratch_place()).unwrap();
    let (tree, copy) = (scratch.path().join("tree"), scratch.path().join("copy"));
    fs_err::create_dir_all(tree.join("d/e")).unwrap();
    fs_err::write(tree.join("d/file"), "content").unwrap();
    fs_err::hard_link(tree.join("d/file"), tree.join("d/same")).unwrap();
    let tar = scratch.path().join("tree.tar");
    pack(&tree, &tar).unwrap();
    let packed = fs_err::read(&tar).unwrap();
    let zst = scratch.path().join("tree.tar.zst");
    fs_err::write(&zst, zstd::stream::encode_all(&packed[..], 1).unwrap()).unwrap();
    let source = RootfsSource::Tar {
        base: zst,
        layers: Vec::new(),
    };
    let corpora = Corpora::make(&source, scratch.path(), 1).unwrap();
    assert_eq!(fs_err::read(&corpora.tars[0]).unwrap(), packed);
    assert_eq!(corpora.content, 7);
    fs_err::create_dir(&copy).unwrap();
    extract(&corpora.tars[0], &copy).unwrap();
    let expected = Outcome::of_tree(&tree, Times::Set).unwrap();
    assert_eq!(
        Outcome::of_tree(&copy, Times::Set)
            .unwrap()
            .fault(&expected),
        None
    );
}

#[test]
fn extraction_obeys_whiteouts_and_opaque_marks() {
    let scratch = tempfile::tempdir_in(crate::fixture::scratch_place()).unwrap();
    let (layer, below) = (scratch.path().join("layer"), scratch.path().join("below"));
    for path in ["gone", "kept"] {
        fs_err::create_dir_all(below.join(path)).unwrap();
    }
    fs_err::create_dir_all(below.join("made-again/old")).unwrap();
    fs_err::create_dir_all(layer.join("made-again")).unwrap();
    fs_err::write(layer.join(".wh.gone"), "").unwrap();
    fs_err::write(layer.join("made-again/.wh..wh..opq"), "").unwrap();
    fs_err::write(layer.join("made-again/new"), "").unwrap();
    let tar = scratch.path().join("layer.tar");
    pack(&layer, &tar).unwrap();
    extract(&tar, &below).unwrap();
    let paths = Tree::read(&below).unwrap().paths();
    assert_eq!(paths, ["kept", "made-again", "made-again/new"]);
}
