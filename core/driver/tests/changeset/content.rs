//! Attributes, sparse maps and limits; and what the writer refuses.

use strata_driver::changeset::CodecErrorKind::{Malformed, OverLimit, Refused};
use strata_driver::changeset::Malformed::{Acl, SparseHeader, SparseMap};
use strata_driver::changeset::Rule::{AclName, OverlayXattr};
use strata_driver::changeset::{Entry, EntryKind, Item, Limits, Metadata, Timestamp, encode_item};

use crate::forge::{archive, file, flagged, header, padded, pax, with_body, with_pax};
use crate::watch::{Seen, decode, decode_in_pieces, entries, items, path, refused};

#[test]
fn xattrs_are_kept_dropped_or_refused_by_name() {
    let large = vec![b'\n'; 65536];
    let entry = &entries(&with_pax(&[
        (b"SCHILY.xattr.user.z", b"\0\n=\xff"),
        (b"SCHILY.xattr.user.large", &large),
        (b"SCHILY.xattr.user.a", b"first"),
        (b"SCHILY.xattr.user.a", b"last"),
        (b"LIBARCHIVE.xattr.user.a", b"bm90IHRoaXM"),
        (b"LIBARCHIVE.xattr.user.%3D%25", b"AP8K"),
        (b"SCHILY.xattr.trusted.md", b""),
        (b"SCHILY.xattr.security.selinux", b"label"),
        (b"SCHILY.xattr.security.ima", b"1"),
        (b"SCHILY.xattr.security.evm", b"1"),
        (b"SCHILY.xattr.btrfs.compression", b"zstd"),
        (b"RHT.security.selinux", b"label"),
        (b"LIBARCHIVE.xattr.com.apple.quarantine", b"AA"),
    ]))[0];
    let expected: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (b"trusted.md".to_vec(), b"".to_vec()),
        (b"user.=%".to_vec(), b"\0\xff\n".to_vec()),
        (b"user.a".to_vec(), b"last".to_vec()),
        (b"user.large".to_vec(), large),
        (b"user.z".to_vec(), b"\0\n=\xff".to_vec()),
    ];
    assert_eq!(entry.xattrs, expected);
    let (_, summary) = decode(&with_pax(&[(b"SCHILY.xattr.security.ima", b"1")])).unwrap();
    assert_eq!(summary.dropped_xattrs, 1);
    let over = OverLimit {
        what: "bytes of extended attributes",
        limit: 1 << 20,
    };
    let half = vec![0; 600_000];
    refused(&[
        (
            "opaque",
            with_pax(&[(b"SCHILY.xattr.trusted.overlay.opaque", b"y")]),
            Refused(OverlayXattr),
        ),
        (
            "user",
            with_pax(&[(b"SCHILY.xattr.user.overlay.metacopy", b"")]),
            Refused(OverlayXattr),
        ),
        (
            "coded",
            with_pax(&[(b"LIBARCHIVE.xattr.trusted%2eoverlay.x", b"")]),
            Refused(OverlayXattr),
        ),
        (
            "total",
            with_pax(&[
                (b"SCHILY.xattr.user.a", &half),
                (b"SCHILY.xattr.user.b", &half),
            ]),
            over,
        ),
        (
            "ACL name",
            with_pax(&[(b"SCHILY.acl.access", b"user:joe:rwx")]),
            Refused(AclName),
        ),
        (
            "ACL",
            with_pax(&[(b"SCHILY.acl.access", b"user::rwx")]),
            Malformed(Acl),
        ),
    ]);
    let minimal = with_pax(&[(b"SCHILY.acl.access", b"user::rw-,group::r--,other::r--")]);
    assert!(
        entries(&minimal)[0].xattrs.is_empty(),
        "says what the mode says"
    );
}

#[test]
fn sparse_maps_that_do_not_fit_are_malformed() {
    let listed = |map: &[u8], size: &[u8], data: &[u8]| {
        let records: &[(&[u8], &[u8])] = &[(b"GNU.sparse.size", size), (b"GNU.sparse.map", map)];
        archive(&[&pax(records), &with_body(b"s", b'0', data)])
    };
    let in_content = |data: &[u8]| {
        let records: &[(&[u8], &[u8])] = &[
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.realsize", b"10"),
        ];
        archive(&[&pax(records), &with_body(b"s", b'0', data)])
    };
    let bad = Malformed(SparseMap);
    refused(&[
        ("overlap", listed(b"0,2,1,2", b"10", b"abcd"), bad),
        ("backwards", listed(b"5,1,0,1", b"10", b"ab"), bad),
        ("beyond", listed(b"9,2", b"10", b"ab"), bad),
        (
            "overflow",
            listed(b"18446744073709551615,2", b"10", b"ab"),
            bad,
        ),
        ("more stored", listed(b"0,2", b"10", b"abc"), bad),
        ("less stored", listed(b"0,2", b"10", b"a"), bad),
        ("odd", listed(b"0,2,3", b"10", b"ab"), bad),
        ("text", listed(b"0,x", b"10", b"ab"), bad),
        ("no map block", in_content(b"1\n0\n5\nabcde"), bad),
        ("endless map", in_content(&[b'1'; 512]), bad),
        ("map of letters", in_content(&[b'a'; 1024]), bad),
        ("empty number", in_content(&padded(b"1\n\n5\n")), bad),
        ("map beyond its content", in_content(&[b'0'; 511]), bad),
        (
            "version",
            with_pax(&[(b"GNU.sparse.major", b"2"), (b"GNU.sparse.realsize", b"1")]),
            Malformed(SparseHeader),
        ),
        (
            "no size",
            with_pax(&[(b"GNU.sparse.major", b"1")]),
            Malformed(SparseHeader),
        ),
        (
            "star",
            with_pax(&[(b"SCHILY.realsize", b"1")]),
            Malformed(SparseHeader),
        ),
        (
            "directory",
            archive(&[
                &pax(&[(b"GNU.sparse.size", b"1")]),
                &header(b"d", b'5').done(),
            ]),
            Malformed(SparseHeader),
        ),
        (
            "not GNU",
            flagged(header(b"s", b'S')),
            Malformed(SparseHeader),
        ),
    ]);
    let fine = [padded(b"1\n4\n3\n"), b"abc".to_vec()].concat();
    let (seen, _) = decode(&in_content(&fine)).unwrap();
    assert_eq!(seen[1], Seen::Content(vec![(4, b"abc".to_vec())]));
}

#[test]
fn old_gnu_sparse_maps_go_on_for_several_blocks() {
    // 4 segments in the header, 21 in each continuation: one byte in every ten.
    let segment = |index: usize| format!("{:011o}\0{:011o}\0", index * 10, 1).into_bytes();
    let fields: Vec<u8> = (0..4).flat_map(segment).collect();
    let size = format!("{:011o}\0", 500);
    let head = header(b"s", b'S')
        .gnu()
        .size(50)
        .field(386, &fields)
        .field(482, b"\x01");
    let mut blocks = Vec::new();
    for (range, more) in [(4..25, 1), (25..46, 1), (46..50, 0)] {
        let mut block: Vec<u8> = range.flat_map(segment).collect();
        block.resize(512, 0);
        block[504] = more;
        blocks.extend(block);
    }
    let head = head.field(483, size.as_bytes()).done();
    let archive = archive(&[&head, &blocks, &padded(&[7; 50]), &file(b"after")]);
    let (seen, _) = decode(&archive).unwrap();
    let expected = (0..50).map(|index| (index * 10, vec![7])).collect();
    assert_eq!(seen[1], Seen::Content(expected));
    assert_eq!(items(&archive).len(), 2);
    assert_eq!(
        decode_in_pieces(&archive, Limits::default(), || 1)
            .unwrap()
            .0,
        seen
    );
}

#[test]
fn limits_hold_at_their_edge() {
    let deep =
        |length: usize| [&b"a/".repeat(length / 2)[..], &b"b".repeat(length % 2)[..]].concat();
    let limits = Limits {
        entries: 2,
        sparse_segments: 1,
        ..Limits::default()
    };
    let path_limit = OverLimit {
        what: "bytes of a path",
        limit: 4096,
    };
    assert_eq!(entries(&with_pax(&[(b"path", &deep(4095))])).len(), 1);
    refused(&[("path", with_pax(&[(b"path", &deep(4099))]), path_limit)]);
    let link = |length| {
        let target = vec![b'/'; length];
        archive(&[&pax(&[(b"linkpath", &target)]), &header(b"l", b'2').done()])
    };
    assert_eq!(entries(&link(4096)).len(), 1);
    let link_limit = OverLimit {
        what: "bytes of a link target",
        limit: 4096,
    };
    refused(&[("link", link(4097), link_limit)]);
    let header_limit = OverLimit {
        what: "bytes of an extended header",
        limit: 4 << 20,
    };
    refused(&[(
        "header",
        header(b"x", b'x').size((4 << 20) + 1).done(),
        header_limit,
    )]);
    let name_limit = OverLimit {
        what: "bytes of a GNU long name",
        limit: 1 << 20,
    };
    refused(&[(
        "name",
        header(b"L", b'L').size((1 << 20) + 1).done(),
        name_limit,
    )]);

    let three = archive(&[&file(b"a"), &file(b"b"), &file(b"c")]);
    let error = decode_in_pieces(&three, limits, || 1024).unwrap_err();
    assert_eq!(
        error.kind,
        OverLimit {
            what: "entries",
            limit: 2
        }
    );
    // Empty segments count too.
    for map in [&b"0,1,2,0"[..], b"5,0,6,0"] {
        let records: &[(&[u8], &[u8])] = &[(b"GNU.sparse.size", b"10"), (b"GNU.sparse.map", map)];
        let stored = usize::from(map[0] == b'0');
        let sparse = archive(&[&pax(records), &with_body(b"s", b'0', &b"a"[..stored])]);
        let error = decode_in_pieces(&sparse, limits, || 1024).unwrap_err();
        let what = "segments of a sparse file";
        assert_eq!(error.kind, OverLimit { what, limit: 1 });
    }
}

fn entry(at: &[u8], kind: EntryKind) -> Entry {
    let metadata = Metadata {
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
    };
    Entry {
        path: path(at),
        kind,
        metadata,
        xattrs: vec![],
    }
}

/// What is written is read again: the two have one limit.
#[test]
fn the_longest_path_is_carried() {
    let long = b"x/".repeat(2048)[..4095].to_vec();
    let mut carried = Vec::new();
    let item = Item::Entry(entry(&long, EntryKind::Directory));
    encode_item(&item, &mut carried).unwrap();
    assert_eq!(entries(&carried)[0].path.as_bytes(), long);
}

#[test]
fn entries_that_cannot_be_carried_are_not_written() {
    use strata_driver::changeset::Rule;
    let file = EntryKind::File { size: 0 };
    let attribute = |name: &[u8]| {
        let xattrs = vec![(name.to_vec(), Vec::new())];
        Item::Entry(Entry {
            xattrs,
            ..entry(b"x", EntryKind::Fifo)
        })
    };
    let gone = |name: &[u8]| Item::Whiteout {
        directory: path(b"d"),
        name: name.to_vec(),
    };
    let link = |target: &[u8]| {
        Item::Entry(entry(
            b"l",
            EntryKind::HardLink {
                target: path(target),
            },
        ))
    };
    let symlink = |target: &[u8]| {
        Item::Entry(entry(
            b"l",
            EntryKind::Symlink {
                target: target.to_vec(),
            },
        ))
    };
    let long = b"x/".repeat(2049)[..4097].to_vec();
    let device = |major| Item::Entry(entry(b"c", EntryKind::CharDevice { major, minor: 0 }));
    for (item, rule) in [
        (
            Item::Entry(entry(b"a/.wh.b/c", file.clone())),
            Rule::WhiteoutName,
        ),
        (
            Item::Entry(entry(b".wh.b", file.clone())),
            Rule::WhiteoutName,
        ),
        (Item::Entry(entry(b"/", file)), Rule::RootType),
        (link(b".wh.x"), Rule::WhiteoutName),
        (link(b"."), Rule::LinkToRoot),
        (symlink(b""), Rule::EmptyTarget),
        (symlink(b"a\0b"), Rule::NulByte),
        (link(&long), Rule::LongPath),
        (
            Item::Entry(entry(&long, EntryKind::Directory)),
            Rule::LongPath,
        ),
        (
            Item::Whiteout {
                directory: path(&long[2..]),
                name: b"x".to_vec(),
            },
            Rule::LongPath,
        ),
        (device(0), Rule::WhiteoutDevice),
        (device(1 << 12), Rule::DeviceNumber),
        (attribute(b"trusted.overlay.opaque"), Rule::OverlayXattr),
        (attribute(b"user.a=b"), Rule::XattrName),
        (gone(b".wh.x"), Rule::WhiteoutName),
        (gone(b""), Rule::EmptyName),
        (gone(b".."), Rule::ParentComponent),
    ] {
        let mut out = b"before".to_vec();
        let error = encode_item(&item, &mut out).unwrap_err();
        assert_eq!(error.rule, rule, "{item:?}");
        assert_eq!(out, b"before", "{item:?}: something was written");
    }
    let mut out = Vec::new();
    let error = encode_item(&gone(b".wh.x"), &mut out).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"d/.wh.x\": cannot be written to a layer: names that begin with `.wh.` are whiteouts and \
         cannot be carried by a layer"
    );
}
