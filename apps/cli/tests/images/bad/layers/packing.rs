//! How tars are packed, and how they are not.

use super::super::image::{Packed, gzip};
use super::Verdict::Refused;
use super::{Case, tree};
use strata_harness::tar::{self, Entry};

pub fn cases() -> Vec<Case> {
    let tar = tar::archive(&[Entry::file("f", "1"), Entry::file("noise", [7; 5000])]);
    let good = tree(&["f f=1", "f noise=5000 bytes"]);
    let taken = || tree(&["f f=1", "f noise=5000 bytes"]);
    // A layer that is there already is not unpacked again: each case stands on one of its own.
    let one = |name: &str, layer: Packed, verdict| {
        let own = Packed::gzip(&tar::archive(&[Entry::dir(".").pax("comment", name)]));
        Case::packed(name, vec![own, layer], verdict)
    };
    let as_gzip = |bytes: Vec<u8>| Packed::gzip(&tar).holding(bytes);
    let as_zstd = |bytes: Vec<u8>| Packed::zstd(&tar).holding(bytes);
    let packed = gzip(&tar);
    let frame = zstd::encode_all(&tar[..], 1).unwrap();
    let cut = |bytes: &[u8], less: usize| bytes[..bytes.len() - less].to_vec();
    let flipped = |from_end: usize| {
        let mut bytes = packed.clone();
        let at = bytes.len() - from_end;
        bytes[at] ^= 1;
        bytes
    };
    let (left, right) = tar.split_at(700);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
    let frames = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let skipped = [&skippable[..], &frames(left), &skippable, &frames(right)].concat();
    let zeros = tar::archive(&[Entry::file("zeros", vec![0; 16 << 20])]);
    let bomb = Packed::gzip(&zeros);
    assert!(bomb.bytes.len() * 100 < zeros.len());
    vec![
        one("gzip", Packed::gzip(&tar), good),
        one("zstd", Packed::zstd(&tar), taken()),
        one("not packed", Packed::plain(&tar), taken()),
        one(
            "gzip of two members",
            as_gzip([gzip(left), gzip(right)].concat()),
            taken(),
        ),
        one(
            "gzip and garbage",
            as_gzip([&packed[..], b"garbage"].concat()),
            Refused("gzip"),
        ),
        one(
            "gzip with a wrong CRC",
            as_gzip(flipped(6)),
            Refused("gzip"),
        ),
        one(
            "gzip with a wrong length",
            as_gzip(flipped(2)),
            Refused("gzip"),
        ),
        one(
            "gzip without its end",
            as_gzip(cut(&packed, 8)),
            Refused("gzip"),
        ),
        one(
            "gzip cut in the middle",
            as_gzip(cut(&packed, 60)),
            Refused("gzip"),
        ),
        one(
            "gzip of no bytes",
            as_gzip(Vec::new()),
            Refused("says gzip"),
        ),
        one(
            "gzip that is a tar",
            as_gzip(tar.clone()),
            Refused("says gzip"),
        ),
        one(
            "gzip that is zstd",
            as_gzip(frame.clone()),
            Refused("says gzip"),
        ),
        one("zstd with frames to skip", as_zstd(skipped), taken()),
        one(
            "zstd and garbage",
            as_zstd([&frame[..], b"garbage"].concat()),
            Refused("zstd"),
        ),
        one("zstd cut", as_zstd(cut(&frame, 3)), Refused("zstd")),
        one(
            "zstd of no bytes",
            as_zstd(Vec::new()),
            Refused("says zstd"),
        ),
        one(
            "zstd that is gzip",
            as_zstd(packed.clone()),
            Refused("says zstd"),
        ),
        // RFC 8878, 3.1.1.1: a descriptor without a content size, and a window of 2^31 bytes.
        one(
            "zstd with a window of 2 GiB",
            as_zstd(b"\x28\xb5\x2f\xfd\x00\xa8\x01\0\0".to_vec()),
            Refused("zstd"),
        ),
        // A frame that wants the dictionary 7; 3.1.1.1.3.
        one(
            "zstd with a dictionary",
            as_zstd(b"\x28\xb5\x2f\xfd\x01\x58\x07\x01\0\0".to_vec()),
            Refused("zstd"),
        ),
        one(
            "a tar that is gzip",
            Packed::plain(&packed),
            Refused("says that it is not compressed"),
        ),
        one(
            "a tar that is zstd",
            Packed::plain(&frame),
            Refused("says that it is not compressed"),
        ),
        one("no bytes at all", Packed::plain(b""), tree(&[])),
        one("many zeros", bomb, tree(&["f zeros=16777216 bytes"])),
        one(
            "gzip in gzip",
            Packed::gzip(&packed),
            Refused("it looks like gzip"),
        ),
    ]
}
