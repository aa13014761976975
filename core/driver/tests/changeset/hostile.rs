//! Archives that must be refused, each by its own reason, and odd ones that must be read.

use strata_driver::changeset::CodecErrorKind::{self, Malformed, OverLimit, Refused, Truncated};
use strata_driver::changeset::Malformed::{
    Acl, Checksum, LoneZeroBlock, Number, PaxRecord, PaxValue, RepeatedExtension, SparseHeader,
    SparseMap, StrayExtension, TwoNames,
};
use strata_driver::changeset::Rule::{
    AclName, EmptyName, EmptyTarget, EmptyWhiteout, EntryType, GlobalKey, LinkToRoot,
    LongComponent, NoOwner, NulByte, OverlayXattr, ParentComponent, RootType, WhiteoutDevice,
    WhiteoutName,
};
use strata_driver::changeset::{
    Entry, EntryKind, EntryPath, Item, Limits, SkipReason, Timestamp, encode_item,
};

use crate::forge::{Forge, archive, file, header, padded, pax, record, with_body};
use crate::watch::{Seen, decode, decode_in_pieces, items};

/// Checks each archive against the reason it is refused for, and that pieces change nothing.
fn refused(table: &[(&str, Vec<u8>, CodecErrorKind)]) {
    for (what, archive, kind) in table {
        let error = decode(archive).expect_err(what);
        assert_eq!(error.kind, *kind, "{what}: {error}");
        assert!(
            !error.to_string().contains(['\n', '\0', '\u{1b}']),
            "{what}: {error}"
        );
        let again = decode_in_pieces(archive, Limits::default(), || 1).expect_err(what);
        assert_eq!(again, error, "{what} in pieces");
    }
}

fn path(text: &[u8]) -> EntryPath {
    EntryPath::parse(text).unwrap()
}

/// The entries of an archive, which holds nothing else.
fn entries(archive: &[u8]) -> Vec<Entry> {
    let entry = |item| match item {
        Item::Entry(entry) => entry,
        other => panic!("not an entry: {other:?}"),
    };
    items(archive).into_iter().map(entry).collect()
}

fn one(name: &[u8]) -> Vec<u8> {
    archive(&[&file(name)])
}

fn with_pax(records: &[(&[u8], &[u8])]) -> Vec<u8> {
    archive(&[&pax(records), &file(b"f")])
}

fn flagged(forge: Forge) -> Vec<u8> {
    archive(&[&forge.done()])
}

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
        assert_eq!(items(&one(raw)), [item.clone()], "{}", raw.escape_ascii());
        for flag in *b"0125" {
            let odd = flagged(header(raw, flag).link(b"y"));
            assert_eq!(items(&odd), [item.clone()], "{}", raw.escape_ascii());
        }
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
fn sizes_in_headers_without_content_mean_nothing() {
    for flag in *b"123456" {
        let odd = header(b"odd", flag)
            .link(b"f")
            .field(329, b"0000001\0")
            .size(4096)
            .done();
        let entries = entries(&archive(&[&odd, &file(b"after")]));
        assert_eq!(
            entries[1].path.as_bytes(),
            b"after",
            "type {}",
            char::from(flag)
        );
    }
}

#[test]
fn the_size_of_pax_decides_where_the_next_header_stands() {
    let inner = archive(&[&file(b"smuggled")]);
    for header_size in [0, 5, 4096] {
        let outer = header(b"outer", b'0').size(header_size).done();
        let size = inner.len().to_string();
        let records: &[(&[u8], &[u8])] = &[(b"size", size.as_bytes())];
        let archive = archive(&[&pax(records), &outer, &padded(&inner), &file(b"after")]);
        let entries = entries(&archive);
        assert_eq!(entries.len(), 2, "header size {header_size}");
        assert_eq!(
            entries[0].kind,
            EntryKind::File {
                size: inner.len() as u64
            }
        );
        assert_eq!(entries[1].path.as_bytes(), b"after");
    }
}

#[test]
fn numbers_out_of_range_are_malformed() {
    let size = |bytes: &[u8]| flagged(header(b"f", b'0').field(124, bytes));
    refused(&[
        ("minus one", size(&[0xff; 12]), Malformed(Number("size"))),
        (
            "2^63",
            size(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"),
            Malformed(Number("size")),
        ),
        (
            "2^63 - 1",
            size(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            Malformed(Number("size")),
        ),
        (
            "2^94",
            size(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            Malformed(Number("size")),
        ),
        (
            "not octal",
            size(b"0000000008\0\0"),
            Malformed(Number("size")),
        ),
        (
            "signed octal",
            size(b"-0000000001\0"),
            Malformed(Number("size")),
        ),
        (
            "negative owner",
            flagged(header(b"f", b'0').field(108, &[0xff; 8])),
            Malformed(Number("uid")),
        ),
        (
            "owner that is none",
            flagged(header(b"f", b'0').field(108, b"\x80\0\0\0\xff\xff\xff\xff")),
            Refused(NoOwner),
        ),
        (
            "PAX owner that is none",
            with_pax(&[(b"gid", b"4294967295")]),
            Refused(NoOwner),
        ),
        (
            "PAX size 2^63",
            with_pax(&[(b"size", b"9223372036854775808")]),
            Malformed(PaxValue("size")),
        ),
        (
            "PAX size negative",
            with_pax(&[(b"size", b"-1")]),
            Malformed(PaxValue("size")),
        ),
        (
            "PAX size text",
            with_pax(&[(b"size", b"1x")]),
            Malformed(PaxValue("size")),
        ),
        (
            "PAX owner 2^32",
            with_pax(&[(b"uid", b"4294967296")]),
            Malformed(PaxValue("uid")),
        ),
        (
            "PAX mtime",
            with_pax(&[(b"mtime", b"now")]),
            Malformed(PaxValue("mtime")),
        ),
    ]);
}

#[test]
fn unusual_numbers_are_read() {
    let file = header(b"f", b'0')
        .field(100, b"0104755\0")
        .field(108, b"\x80\0\0\0\x80\0\0\0")
        .field(116, b"  17 \0\0\0")
        .field(136, &[0xff; 12]);
    let metadata = entries(&flagged(file))[0].metadata;
    assert_eq!(
        (metadata.mode, metadata.uid, metadata.gid),
        (0o4755, 1 << 31, 0o17)
    );
    assert_eq!(
        metadata.mtime,
        Timestamp {
            seconds: -1,
            nanoseconds: 0
        }
    );
    let signed = archive(&[&header(b"\xff\xfe", b'0').done_signed()]);
    assert_eq!(entries(&signed)[0].path.as_bytes(), b"\xff\xfe");
    let star = header(b"name", b'0')
        .field(345, b"prefix")
        .field(476, b"00000000000 ");
    assert_eq!(
        entries(&flagged(star.field(508, b"tar\0")))[0]
            .path
            .as_bytes(),
        b"prefix/name"
    );
    let ustar = header(&[b'n'; 100], b'0').field(345, &[b'p'; 155]);
    assert_eq!(entries(&flagged(ustar))[0].path.as_bytes().len(), 256);
}

#[test]
fn extended_headers_out_of_place_are_malformed() {
    let long = with_body(b"././@LongLink", b'L', b"long\0");
    let empty = pax(&[]);
    refused(&[
        (
            "two x",
            archive(&[&empty, &empty, &file(b"f")]),
            Malformed(RepeatedExtension),
        ),
        (
            "two L",
            archive(&[&long, &long, &file(b"f")]),
            Malformed(RepeatedExtension),
        ),
        (
            "g between",
            archive(&[&empty, &with_body(b"g", b'g', b""), &file(b"f")]),
            Malformed(RepeatedExtension),
        ),
        ("x alone", archive(&[&empty]), Malformed(StrayExtension)),
        ("x at the end of the bytes", empty.clone(), Truncated),
        (
            "two names",
            archive(&[&long, &pax(&[(b"path", b"p")]), &file(b"f")]),
            Malformed(TwoNames),
        ),
    ]);
}

#[test]
fn pax_records_of_wrong_shape_are_malformed() {
    let body = |body: &[u8]| archive(&[&with_body(b"x", b'x', body), &file(b"f")]);
    let table: Vec<_> = [
        &b"8 a=bc\n"[..],
        b"6 a=bc\n",
        b"7 a=bcd",
        b"7 a=bc\nx",
        b"7  =bc\n".split_at(7).0,
        b"6 abc\n",
        b"0 a=b\n",
        b"2 a=b\n",
        b" a=b\n",
        b"+6 a=b\n",
        b"-6 a=b\n",
        b"6a=b\n",
        b"99999999999999999999999 a=b\n",
        b"18446744073709551615 a=b\n",
        b"5 =b\n",
        b"8 a\0=bc\n",
    ]
    .into_iter()
    .filter(|bytes| *bytes != b"7  =bc\n" && *bytes != b"18446744073709551615 a=b\n")
    .map(|bytes| ("record", body(bytes), Malformed(PaxRecord)))
    .collect();
    refused(&table);
    let over = OverLimit {
        what: "bytes of an extended header record",
        limit: 1 << 20,
    };
    refused(&[("huge record", body(b"18446744073709551615 a=b\n"), over)]);
}

#[test]
fn the_last_of_doubled_pax_keys_holds_and_an_empty_one_takes_back() {
    assert_eq!(
        entries(&with_pax(&[(b"path", b"a"), (b"path", b"b")]))[0]
            .path
            .as_bytes(),
        b"b"
    );
    assert_eq!(
        entries(&with_pax(&[(b"path", b"a"), (b"path", b"")]))[0]
            .path
            .as_bytes(),
        b"f"
    );
}

#[test]
fn global_headers_hold_until_taken_back() {
    let global = |key: &[u8], value: &[u8]| with_body(b"g", b'g', &record(key, value));
    let archive_of = archive(&[
        &global(b"uid", b"7"),
        &global(b"comment", b"a commit"),
        &file(b"a"),
        &pax(&[(b"uid", b"8")]),
        &file(b"b"),
        &pax(&[(b"uid", b"")]),
        &file(b"c"),
        &global(b"uid", b""),
        &file(b"d"),
    ]);
    let uids: Vec<u32> = entries(&archive_of)
        .iter()
        .map(|entry| entry.metadata.uid)
        .collect();
    assert_eq!(uids, [7, 8, 0, 0]);
    for key in [
        &b"path"[..],
        b"linkpath",
        b"size",
        b"GNU.sparse.size",
        b"SCHILY.xattr.user.x",
    ] {
        let archive = archive(&[&global(key, b"1"), &file(b"f")]);
        refused(&[("global", archive, Refused(GlobalKey))]);
    }
}

#[test]
fn what_is_no_header_is_malformed_with_its_place() {
    let mut wrong = file(b"f");
    wrong[0] = b'g';
    let mut no_sum = file(b"f");
    no_sum[148..156].copy_from_slice(b"xxxxxxxx");
    refused(&[
        ("wrong checksum", archive(&[&wrong]), Malformed(Checksum)),
        ("no checksum", archive(&[&no_sum]), Malformed(Checksum)),
        ("garbage", vec![0xa5; 512], Malformed(Checksum)),
        (
            "lone zero block",
            archive(&[&[0; 512], &file(b"f")]),
            Malformed(LoneZeroBlock),
        ),
    ]);
    let garbage = archive(&[&file(b"f"), &[0xa5; 512]]);
    assert_eq!(decode(&garbage).unwrap_err().offset, 512);
}

#[test]
fn ends_are_taken_as_the_peers_take_them() {
    let (seen, summary) = decode(b"").unwrap();
    assert!(seen.is_empty() && !summary.end_mark);
    let (seen, summary) = decode(&file(b"f")).unwrap();
    assert!(seen.len() == 2 && !summary.end_mark, "a missing end mark");
    let (_, summary) = decode(&[file(b"f"), vec![0; 512]].concat()).unwrap();
    assert!(!summary.end_mark, "half an end mark");
    let (_, summary) = decode(&[one(b"f"), vec![0; 10 * 1024]].concat()).unwrap();
    assert!(
        summary.end_mark && summary.trailing_data.is_none(),
        "blocking"
    );
    let twice = [one(b"f"), one(b"g")].concat();
    let (seen, summary) = decode(&twice).unwrap();
    assert_eq!(seen.len(), 3, "the second archive is no part of the first");
    assert_eq!(summary.trailing_data, Some(1536));
    assert_eq!(decode(&[0; 100]).unwrap_err().kind, Truncated);
}

#[test]
fn types_that_do_not_belong_are_refused() {
    for flag in *b"DMNXAs8\xff" {
        let archive = flagged(header(b"f", flag));
        refused(&[("type", archive, Refused(EntryType(flag)))]);
    }
    let label = flagged(header(b"label", b'V').gnu());
    assert_eq!(
        decode(&label).unwrap().0[0],
        Seen::Skipped(SkipReason::VolumeLabel)
    );
    let device = |major: &[u8]| flagged(header(b"c", b'3').field(329, major));
    refused(&[(
        "whiteout device",
        device(b"0000000\0"),
        Refused(WhiteoutDevice),
    )]);
    let kind = EntryKind::CharDevice { major: 1, minor: 0 };
    assert_eq!(entries(&device(b"0000001\0"))[0].kind, kind);
}

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
    let records: &[(&[u8], &[u8])] =
        &[(b"GNU.sparse.size", b"10"), (b"GNU.sparse.map", b"0,1,2,0")];
    let sparse = archive(&[&pax(records), &with_body(b"s", b'0', b"a")]);
    let error = decode_in_pieces(&sparse, limits, || 1024).unwrap_err();
    assert_eq!(
        error.kind,
        OverLimit {
            what: "segments of a sparse file",
            limit: 1
        }
    );
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

#[test]
fn entries_that_cannot_be_carried_are_not_written() {
    use strata_driver::changeset::{Metadata, Rule};
    let entry = |at: &[u8], kind: EntryKind| {
        let mtime = Timestamp {
            seconds: 0,
            nanoseconds: 0,
        };
        let metadata = Metadata {
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime,
        };
        Entry {
            path: path(at),
            kind,
            metadata,
            xattrs: Vec::new(),
        }
    };
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
        (device(0), Rule::WhiteoutDevice),
        (device(1 << 21), Rule::DeviceNumber),
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
