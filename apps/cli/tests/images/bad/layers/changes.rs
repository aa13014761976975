//! What one entry does to another, in one layer and over a lower one.

use super::Case;
use super::tree;
use strata_harness::tar::Entry;

pub fn cases() -> Vec<Case> {
    let full = [
        Entry::dir("d"),
        Entry::dir("d/deep"),
        Entry::file("d/deep/x", "old"),
        Entry::file("f", "old"),
        Entry::symlink("l", "d"),
        Entry::symlink("n", "nowhere"),
    ];
    let below: &[Entry] = &full;
    let all = [
        "d d",
        "d d/deep",
        "f d/deep/x=old",
        "f f=old",
        "l l->d",
        "l n->nowhere",
    ];
    let over =
        |name: &str, upper: &[Entry], lines: &[&str]| Case::new(name, &[below, upper], tree(lines));
    let file = Entry::file;
    let mut cases = vec![
        over("empty layer over", &[], &all),
        over(
            "file over a directory",
            &[file("d", "1")],
            &["f d=1", all[3], all[4], all[5]],
        ),
        over(
            "directory over a file",
            &[Entry::dir("f"), file("f/x", "1")],
            &[all[0], all[1], all[2], "d f", "f f/x=1", all[4], all[5]],
        ),
        over(
            "directory over links",
            &[Entry::dir("l"), file("l/x", "1"), Entry::dir("n")],
            &[all[0], all[1], all[2], all[3], "d l", "f l/x=1", "d n"],
        ),
        over(
            "directory over a directory",
            &[Entry::dir("d").mode(0o700), file("d/y", "1")],
            &["d d 700", all[1], all[2], "f d/y=1", all[3], all[4], all[5]],
        ),
        over(
            "whiteouts",
            &[
                Entry::whiteout("d"),
                Entry::whiteout("f"),
                Entry::whiteout("missing"),
            ],
            &[all[4], all[5]],
        ),
        over(
            "a whiteout and its file",
            &[
                file("f", "new"),
                Entry::whiteout("f"),
                Entry::whiteout("d"),
                file("d/y", "1"),
            ],
            &["d d", "f d/y=1", "f f=new", all[4], all[5]],
        ),
        over(
            "an opaque mark after its contents",
            &[Entry::dir("d"), file("d/y", "1"), Entry::opaque("d")],
            &["d d", "f d/y=1", all[3], all[4], all[5]],
        ),
        over(
            "an opaque root",
            &[file("y", "1"), Entry::opaque("")],
            &["f y=1"],
        ),
        over(
            "a whiteout of what a link shows",
            &[Entry::whiteout("l/deep")],
            &all,
        ),
    ];
    let alone =
        |name: &str, entries: &[Entry], lines: &[&str]| Case::new(name, &[entries], tree(lines));
    cases.extend([
        alone(
            "a file twice",
            &[file("a", "1"), file("./a", "2")],
            &["f a=2"],
        ),
        alone(
            "directory, file, directory",
            &[
                Entry::dir("g"),
                file("g/x", ""),
                file("g", ""),
                Entry::dir("g"),
                file("g/y", ""),
            ],
            &["d g", "f g/y="],
        ),
        alone(
            "a directory over a link to one",
            &[
                Entry::dir("d"),
                Entry::symlink("l", "d"),
                file("l/through", "1"),
                Entry::dir("l").mode(0o700),
                file("l/x", "2"),
            ],
            &["d d", "f d/through=1", "d l 700", "f l/x=2"],
        ),
        alone(
            "a directory after its contents",
            &[file("a/b/c", ""), Entry::dir("a").mode(0o500).owner(7, 8)],
            &["d a 500 7:8", "d a/b", "f a/b/c="],
        ),
        alone(
            "records of aufs",
            &[
                file(".wh..wh.aufs", ""),
                Entry::dir(".wh..wh.plnk"),
                file("x", ""),
            ],
            &["f x="],
        ),
    ]);
    cases
}
