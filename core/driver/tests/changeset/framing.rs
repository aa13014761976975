//! Headers, numbers, extended headers and ends of archives: refused, or read as one thing only.

use strata_driver::changeset::CodecErrorKind::{Malformed, OverLimit, Refused, Truncated};
use strata_driver::changeset::Malformed::{
    Checksum, LoneZeroBlock, Number, PaxRecord, PaxValue, RepeatedExtension, StrayExtension,
    TwoNames,
};
use strata_driver::changeset::Rule::{DeviceNumber, EntryType, GlobalKey, NoOwner, WhiteoutDevice};
use strata_driver::changeset::{EntryKind, SkipReason, Timestamp};

use crate::forge::{archive, file, flagged, header, one, padded, pax, record, with_body, with_pax};
use crate::watch::{Seen, decode, entries, refused};

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
        b"6 abc\n",
        b"0 a=b\n",
        b"2 a=b\n",
        b" a=b\n",
        b"+6 a=b\n",
        b"-6 a=b\n",
        b"6a=b\n",
        b"99999999999999999999999 a=b\n",
        b"5 =b\n",
        b"8 a\0=bc\n",
    ]
    .into_iter()
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
    // mknod(2) takes twelve bits of a major and twenty of a minor number: these would be 0:0.
    let minor = flagged(header(b"c", b'4').field(337, b"4000000\0"));
    for device in [
        device(b"0010000\0"),
        minor,
        archive(&[
            &pax(&[(b"SCHILY.devmajor", b"4096")]),
            &header(b"c", b'3').done(),
        ]),
    ] {
        refused(&[("a device that Linux has not", device, Refused(DeviceNumber))]);
    }
    let kind = EntryKind::CharDevice { major: 1, minor: 0 };
    assert_eq!(entries(&device(b"0000001\0"))[0].kind, kind);
}

#[test]
fn archives_cut_in_content_or_padding_are_truncated() {
    let whole = with_body(b"f", b'0', b"content");
    for cut in [511, 512, 515, 519, 520, 1023] {
        let error = decode(&whole[..cut]).unwrap_err();
        assert_eq!((error.kind, error.offset), (Truncated, cut as u64));
    }
    assert!(decode(&whole).is_ok());
}
