//! Golden archives: what the reference program of `docs/formats.md` writes, byte for byte.
//!
//! The archives in `golden/` were made with `tests/reference/canonical_diff.py` from small trees: `kinds` (all
//! file types, long names and targets, owners and times beyond the header's fields, link groups),
//! `xattrs` (empty, binary and large values, every digit count of a record's length, a capability,
//! ACLs), `delta` (whiteouts of short and 255-byte names, a file that became a directory, a link
//! group that gained a name, order of `a`, `a-b` and `a.d/z`) and `empty` (no change).

use sha2::{Digest, Sha256};
use strata_driver::changeset::{Entry, EntryKind, EntryPath, Item, Metadata, Timestamp};

use crate::watch::{Seen, decode, decode_in_pieces, encode};
use strata_driver::changeset::Limits;

const GOLDEN: [(&str, &[u8], &str); 4] = [
    (
        "kinds",
        include_bytes!("golden/kinds.tar"),
        "58f59b1ba0aaef37cddfd569374befdc8de3bdeb8865a52d05c4844e84c8e80a",
    ),
    (
        "xattrs",
        include_bytes!("golden/xattrs.tar"),
        "0daf6256f59f0a95a66ba98c3fb43fbd1a5961aebe647157e1ba8c3e5fd76ed4",
    ),
    (
        "delta",
        include_bytes!("golden/delta.tar"),
        "8e7efbfed6cac564731eef745800267f7d8e99353c86353587147b8d75cfe28f",
    ),
    (
        "empty",
        include_bytes!("golden/empty.tar"),
        "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    ),
];

#[test]
fn golden_archives_are_read_and_written_again_byte_for_byte() {
    for (name, archive, digest) in GOLDEN {
        assert_eq!(
            hex::encode(Sha256::digest(archive)),
            digest,
            "{name}: the golden file changed"
        );
        let (seen, summary) = decode(archive).unwrap();
        assert!(summary.end_mark, "{name}");
        assert!(encode(&seen) == archive, "{name}: written differently");
    }
}

#[test]
fn golden_archives_read_the_same_in_pieces_of_any_size() {
    for (name, archive, _) in GOLDEN {
        let whole = decode(archive).unwrap();
        for size in [1, 7, 511, 512, 513, 4096] {
            let pieces = decode_in_pieces(archive, Limits::default(), || size).unwrap();
            assert_eq!(pieces, whole, "{name} in pieces of {size}");
        }
    }
}

#[test]
fn golden_entries_are_in_the_order_of_paths() {
    for (name, archive, _) in GOLDEN {
        let paths: Vec<EntryPath> = crate::watch::items(archive)
            .into_iter()
            .map(|item| match item {
                Item::Entry(entry) => entry.path,
                Item::Whiteout { directory, name } => {
                    EntryPath::parse(&[directory.as_bytes(), b"/.wh.", &name].concat()).unwrap()
                }
                Item::Opaque { .. } => panic!("{name}: an opaque mark"),
            })
            .collect();
        assert!(paths.is_sorted(), "{name}: {paths:?}");
    }
}

#[test]
fn golden_kinds_hold_what_their_tree_held() {
    let (seen, _) = decode(GOLDEN[0].1).unwrap();
    let entry = |path: &str| -> Entry {
        seen.iter()
            .find_map(|seen| match seen {
                Seen::Item(Item::Entry(entry)) if entry.path.as_bytes() == path.as_bytes() => {
                    Some(entry.clone())
                }
                _ => None,
            })
            .unwrap_or_else(|| panic!("no {path}"))
    };
    let root = entry("");
    let mtime = |seconds, nanoseconds| Timestamp {
        seconds,
        nanoseconds,
    };
    assert_eq!(root.kind, EntryKind::Directory);
    assert_eq!(
        root.metadata,
        Metadata {
            mode: 0o700,
            uid: 1,
            gid: 2,
            mtime: mtime(0, 0)
        }
    );
    assert_eq!(entry("before").metadata.mtime, mtime(-2, 500_000_000));
    assert_eq!(entry("late").metadata.mtime, mtime(9_000_000_000, 0));
    assert_eq!(
        entry("nano").metadata.mtime,
        mtime(1_600_000_000, 123_456_000)
    );
    let ids = entry("big-ids").metadata;
    assert_eq!((ids.uid, ids.gid), (3_000_000, 1 << 31));
    let ids = entry("max-field").metadata;
    assert_eq!((ids.uid, ids.gid), (2_097_151, 2_097_152));
    assert_eq!(entry("bin/su").metadata.mode, 0o4755);
    let target = EntryPath::parse(b"bin/su").unwrap();
    assert_eq!(entry("zz").kind, EntryKind::HardLink { target });
    assert_eq!(
        entry("longlink").kind,
        EntryKind::Symlink {
            target: vec![b't'; 150]
        }
    );
    assert_eq!(
        entry("char").kind,
        EntryKind::CharDevice { major: 1, minor: 3 }
    );
    assert_eq!(
        entry("blockdev").kind,
        EntryKind::BlockDevice {
            major: 259,
            minor: 1_048_575
        }
    );
    assert_eq!(entry("fifo").kind, EntryKind::Fifo);
    assert_eq!(entry("tmp").metadata.mode, 0o1777);
}

#[test]
fn the_time_of_the_root_is_never_written() {
    let (seen, _) = decode(GOLDEN[0].1).unwrap();
    let Seen::Item(Item::Entry(root)) = &seen[0] else {
        panic!("no root")
    };
    let mut touched = root.clone();
    touched.metadata.mtime = Timestamp {
        seconds: -5,
        nanoseconds: 1,
    };
    let touched = encode(&[Seen::Item(Item::Entry(touched))]);
    assert!(touched == encode(&seen[..1]));
}
