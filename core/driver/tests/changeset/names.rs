//! Names that must be refused, each by its own reason, and odd ones that must be read.

use strata_driver::changeset::CodecErrorKind::Refused;
use strata_driver::changeset::Rule::{
    EmptyName, EmptyTarget, EmptyWhiteout, LinkToRoot, LongComponent, NulByte, ParentComponent,
    RootType, WhiteoutName,
};
use strata_driver::changeset::{EntryKind, EntryPath, Item, SkipReason};

use crate::forge::{archive, file, flagged, header, one, with_body, with_pax};
use crate::watch::{Seen, decode, entries, items, path, refused};

#[test]
fn names_that_climb_or_say_nothing_are_refused() {
    refused(&[
        ("parent", one(b"../x"), Refused(ParentComponent)),
        ("climb", one(b"a/../../x"), Refused(ParentComponent)),
        ("inner parent", one(b"a/../b"), Refused(ParentComponent)),
        ("dots", one(b".."), Refused(ParentComponent)),
        ("absolute parent", one(b"/.."), Refused(ParentComponent)),
        ("empty", one(b""), Refused(EmptyName)),
        (
            "NUL in PAX path",
            with_pax(&[(b"path", b"a\0b")]),
            Refused(NulByte),
        ),
        (
            "NUL in PAX linkpath",
            with_pax(&[(b"linkpath", b"a\0b")]),
            Refused(NulByte),
        ),
        (
            "long component",
            with_pax(&[(b"path", &[b'n'; 256])]),
            Refused(LongComponent),
        ),
        (
            "GNU long component",
            archive(&[
                &with_body(b"././@LongLink", b'L', &[b'n'; 256]),
                &file(b"f"),
            ]),
            Refused(LongComponent),
        ),
    ]);
}

#[test]
fn odd_names_are_normalised() {
    for (raw, normal) in [
        (&b"/abs/x"[..], &b"abs/x"[..]),
        (b"///abs", b"abs"),
        (b"./x", b"x"),
        (b"a//b/./c", b"a/b/c"),
        (b"file/", b"file"),
        (b"...", b"..."),
        (b"..x/y..", b"..x/y.."),
        (b"\xff\xfe", b"\xff\xfe"),
        (b"new\nline \x1b[31m", b"new\nline \x1b[31m"),
    ] {
        let entries = entries(&one(raw));
        assert_eq!(entries[0].path.as_bytes(), normal, "{}", raw.escape_ascii());
        assert_eq!(
            entries[0].kind,
            EntryKind::File { size: 0 },
            "{}",
            raw.escape_ascii()
        );
    }
    let longest = [b'n'; 255];
    assert_eq!(
        entries(&with_pax(&[(b"path", &longest)]))[0]
            .path
            .as_bytes(),
        longest
    );
    for root in [&b"./"[..], b"/", b".", b"././/"] {
        assert!(entries(&flagged(header(root, b'5')))[0].path.is_root());
    }
}

#[test]
fn a_directory_sorts_right_before_its_contents() {
    let sorted = [
        &b"."[..],
        b"a",
        b"a/b",
        b"a/b/c",
        b"a/b-",
        b"a\x01",
        b"a-b",
        b"a.d/z",
        b"a0",
    ];
    let paths: Vec<EntryPath> = sorted.into_iter().map(path).collect();
    assert!(paths.is_sorted(), "{paths:?}");
    assert!(paths[3].starts_with(&paths[1]) && !paths[6].starts_with(&paths[1]));
}

#[test]
fn a_slash_makes_a_directory_before_posix_only() {
    assert_eq!(
        entries(&flagged(header(b"d/", 0)))[0].kind,
        EntryKind::Directory
    );
    assert_eq!(entries(&one(b"d/"))[0].kind, EntryKind::File { size: 0 });
    let contiguous = archive(&[&with_body(b"c", b'7', b"data")]);
    assert_eq!(entries(&contiguous)[0].kind, EntryKind::File { size: 4 });
}

#[test]
fn the_root_is_a_directory_or_refused() {
    for flag in *b"01236" {
        let root = header(b"./", flag).link(b"x").field(329, b"0000001\0");
        refused(&[("root", flagged(root), Refused(RootType))]);
    }
    let root = header(b"./", b'5')
        .field(100, b"0000000\0")
        .field(136, b"00000000777\0");
    let root = &entries(&flagged(root))[0];
    assert_eq!(
        (root.metadata.mode, root.metadata.mtime.seconds),
        (0, 0o777)
    );
}

#[test]
fn whiteouts_are_read_anywhere_and_of_any_type() {
    let whiteout = |directory: &[u8], name: &[u8]| Item::Whiteout {
        directory: if directory.is_empty() {
            EntryPath::root()
        } else {
            path(directory)
        },
        name: name.to_vec(),
    };
    for (raw, item) in [
        (&b".wh.x"[..], whiteout(b"", b"x")),
        (b"a/b/.wh.x", whiteout(b"a/b", b"x")),
        (b"./a/.wh....", whiteout(b"a", b"...")),
        (b"a/.wh.b.wh.c", whiteout(b"a", b"b.wh.c")),
        (
            b".wh..wh..opq",
            Item::Opaque {
                directory: EntryPath::root(),
            },
        ),
        (
            b"/a/.wh..wh..opq",
            Item::Opaque {
                directory: path(b"a"),
            },
        ),
    ] {
        assert_eq!(
            items(&one(raw)),
            std::slice::from_ref(&item),
            "{}",
            raw.escape_ascii()
        );
        for flag in *b"0125" {
            let odd = flagged(header(raw, flag).link(b"y"));
            assert_eq!(
                items(&odd),
                std::slice::from_ref(&item),
                "{}",
                raw.escape_ascii()
            );
        }
    }
    for flag in *b"125" {
        let sized = header(b".wh.x", flag).link(b"y").size(4096).done();
        assert_eq!(items(&archive(&[&sized, &file(b"after")])).len(), 2);
    }
    let with_content = archive(&[&with_body(b".wh.x", b'0', b"content"), &file(b"after")]);
    assert_eq!(items(&with_content).len(), 2);
    let longest = [&b".wh."[..], &[b'w'; 255]].concat();
    let longest = with_pax(&[(b"path", &longest)]);
    assert_eq!(items(&longest), [whiteout(b"", &[b'w'; 255])]);
}

#[test]
fn names_reserved_for_whiteouts_are_refused() {
    let link = |target: &[u8]| flagged(header(b"l", b'1').link(target));
    let too_long = [&b".wh."[..], &[b'w'; 256]].concat();
    refused(&[
        ("nothing", one(b"a/.wh."), Refused(EmptyWhiteout)),
        ("directory", one(b"a/.wh.."), Refused(EmptyWhiteout)),
        ("parent", one(b"a/.wh..."), Refused(EmptyWhiteout)),
        (
            "whiteout of a whiteout",
            one(b".wh..wh.x"),
            Refused(WhiteoutName),
        ),
        (
            "opaque with more",
            one(b".wh..wh..opqx"),
            Refused(WhiteoutName),
        ),
        ("below a whiteout", one(b".wh.x/y"), Refused(WhiteoutName)),
        (
            "below an opaque mark",
            one(b".wh..wh..opq/y"),
            Refused(WhiteoutName),
        ),
        (
            "too long",
            with_pax(&[(b"path", &too_long)]),
            Refused(LongComponent),
        ),
        (
            "link to a whiteout",
            link(b"a/.wh.x"),
            Refused(WhiteoutName),
        ),
        (
            "link to an opaque mark",
            link(b".wh..wh..opq"),
            Refused(WhiteoutName),
        ),
        (
            "link to aufs's records",
            link(b".wh..wh.plnk/1.2"),
            Refused(WhiteoutName),
        ),
    ]);
}

#[test]
fn records_of_aufs_are_skipped_with_their_content() {
    let archive = archive(&[
        &header(b".wh..wh.plnk/", b'5').done(),
        &with_body(b".wh..wh.plnk/12.34", b'0', &[1; 700]),
        &header(b".wh..wh.orph", b'5').done(),
        &with_body(b"./.wh..wh.aufs", b'0', b""),
        &file(b"after"),
    ]);
    let (seen, summary) = decode(&archive).unwrap();
    assert_eq!((summary.skipped, summary.entries), (4, 5));
    assert_eq!(seen[3], Seen::Skipped(SkipReason::AufsMetadata));
    assert_eq!(items(&archive).len(), 1);
}

#[test]
fn hard_links_out_of_the_layer_are_refused() {
    let link = |target: &[u8]| flagged(header(b"l", b'1').link(target));
    refused(&[
        ("outside", link(b"../etc/passwd"), Refused(ParentComponent)),
        ("no target", link(b""), Refused(EmptyTarget)),
        ("the root", link(b"/"), Refused(LinkToRoot)),
        (
            "symlink to nothing",
            flagged(header(b"l", b'2')),
            Refused(EmptyTarget),
        ),
    ]);
    let target = path(b"etc/passwd");
    assert_eq!(
        entries(&link(b"/etc/passwd"))[0].kind,
        EntryKind::HardLink { target }
    );
    let target = b"../../etc/passwd".to_vec();
    let symlink = flagged(header(b"l", b'2').link(&target));
    assert_eq!(entries(&symlink)[0].kind, EntryKind::Symlink { target });
}

#[test]
fn messages_are_one_line_with_name_place_and_reason() {
    let error = decode(&one(b"a/../\n\x1b[2J")).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#""a/../\n\x1b[2J": refused: the name has a `..` component (byte 0 of the archive)"#
    );
    let error = decode(&with_pax(&[(b"SCHILY.xattr.trusted.overlay.opaque", b"y")])).unwrap_err();
    assert!(
        error
            .subject
            .contains("SCHILY.xattr.trusted.overlay.opaque"),
        "{error}"
    );
}
