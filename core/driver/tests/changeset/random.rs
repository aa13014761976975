//! Random entries written and read again, and random bytes that must do no harm.

use proptest::collection::vec;
use proptest::prelude::*;
use strata_driver::changeset::{
    Entry, EntryKind, EntryPath, Item, Limits, Metadata, Timestamp, Xattr,
};

use crate::watch::{Seen, decode, decode_in_pieces, encode};

const VALID: [&[u8]; 5] = [
    include_bytes!("golden/kinds.tar"),
    include_bytes!("golden/xattrs.tar"),
    include_bytes!("gnu/gnu.tar"),
    include_bytes!("gnu/posix-sparse-0.0.tar"),
    include_bytes!("gnu/posix-sparse-1.0.tar"),
];

/// Limits small enough to be met.
const TIGHT: Limits = Limits {
    pax_record: 400,
    pax_header: 600,
    path: 300,
    link: 200,
    xattrs: 300,
    sparse_segments: 5,
    entries: 40,
};

fn component() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(|byte| if matches!(byte, 0 | b'/') { b'-' } else { byte });
    vec(byte, 1..120).prop_map(|mut name| {
        if name.starts_with(b".") {
            name[0] = b'_';
        }
        name
    })
}

fn path() -> impl Strategy<Value = EntryPath> {
    vec(component(), 1..4).prop_map(|components| {
        let mut path = EntryPath::root();
        for component in components {
            path.push(&component).expect("the component is sound");
        }
        path
    })
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let owner = || prop_oneof![0..3000u32, (1 << 21) - 2..(1 << 21) + 2u32, 0..u32::MAX];
    let seconds = prop_oneof![0i64..1 << 34, -5i64..5, any::<i64>()];
    let nanoseconds = prop_oneof![
        Just(0),
        0..1_000_000_000u32,
        (0..10u32).prop_map(|n| n * 100_000_000)
    ];
    (0..0o10000u32, owner(), owner(), seconds, nanoseconds).prop_map(
        |(mode, uid, gid, seconds, nanoseconds)| Metadata {
            mode,
            uid,
            gid,
            mtime: Timestamp {
                seconds,
                nanoseconds,
            },
        },
    )
}

fn xattrs() -> impl Strategy<Value = Vec<Xattr>> {
    let pair = ("(user|trusted)\\.[a-z.]{1,20}", vec(any::<u8>(), 0..200));
    vec(pair, 0..4).prop_map(|pairs| {
        let sorted: std::collections::BTreeMap<_, _> = pairs.into_iter().collect();
        sorted
            .into_iter()
            .filter(|(name, _)| !name.contains(".overlay."))
            .map(|(name, value)| (name.into_bytes(), value))
            .collect()
    })
}

fn entry() -> impl Strategy<Value = Vec<Seen>> {
    let kind = prop_oneof![
        Just(EntryKind::Directory),
        Just(EntryKind::Fifo),
        path().prop_map(|target| EntryKind::HardLink { target }),
        vec(1..=255u8, 1..300).prop_map(|target| EntryKind::Symlink { target }),
        (1..1u32 << 12, 0..1u32 << 20)
            .prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
        (0..1u32 << 12, 0..1u32 << 20)
            .prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
        Just(EntryKind::File { size: 0 }),
    ];
    (
        path(),
        kind,
        metadata(),
        xattrs(),
        vec(any::<u8>(), 0..1500),
    )
        .prop_map(|(path, mut kind, mut metadata, mut xattrs, content)| {
            match &mut kind {
                EntryKind::File { size } => *size = content.len() as u64,
                EntryKind::HardLink { .. } => xattrs.clear(),
                EntryKind::Symlink { .. } => metadata.mode = 0o777,
                _ => {}
            }
            let file = matches!(kind, EntryKind::File { .. });
            let mut seen = vec![Seen::Item(Item::Entry(Entry {
                path,
                kind,
                metadata,
                xattrs,
            }))];
            if file && content.is_empty() {
                seen.push(Seen::Content(Vec::new()));
            } else if file {
                seen.push(Seen::Content(vec![(0, content)]));
            }
            seen
        })
}

fn seen() -> impl Strategy<Value = Vec<Seen>> {
    let whiteout = (path(), component())
        .prop_map(|(directory, name)| vec![Seen::Item(Item::Whiteout { directory, name })]);
    let opaque = path().prop_map(|directory| vec![Seen::Item(Item::Opaque { directory })]);
    let item = prop_oneof![8 => entry(), 1 => whiteout, 1 => opaque];
    vec(item, 0..8).prop_map(|items| items.concat())
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(seen in seen(), sizes in vec(1..2000usize, 1..20)) {
        let archive = encode(&seen);
        let mut expected = seen;
        expected.push(Seen::End);
        let whole = decode(&archive).unwrap();
        prop_assert_eq!(&whole.0, &expected);
        let mut sizes = sizes.into_iter().cycle();
        let pieces = decode_in_pieces(&archive, Limits::default(), || sizes.next().unwrap());
        prop_assert_eq!(pieces.unwrap(), whole);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..3000), size in 1..1000usize) {
        let whole = decode(&bytes);
        prop_assert_eq!(decode_in_pieces(&bytes, Limits::default(), || size), whole);
    }

    /// Bytes are changed anywhere, and the header they fall in gets a right checksum, so that the
    /// change reaches the fields.
    #[test]
    fn changed_archives_do_no_harm(
        which in 0..VALID.len(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        size in 1..1500usize,
    ) {
        let mut archive = VALID[which].to_vec();
        for (at, byte) in changes {
            let at = at.index(archive.len());
            archive[at] = byte;
            let block = &mut archive[at / 512 * 512..][..512];
            if block[257..262] == *b"ustar" {
                block[148..156].copy_from_slice(b"        ");
                let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        if size % 3 == 0 {
            archive.truncate(cut.index(archive.len()));
        }
        let whole = decode(&archive);
        prop_assert_eq!(decode_in_pieces(&archive, Limits::default(), || size), whole);
        // Tight limits may refuse, and must hold.
        drop(decode_in_pieces(&archive, TIGHT, || size));
    }

    #[test]
    fn paths_sort_as_their_components_do(left in path(), right in path()) {
        let components = |path: &EntryPath| -> Vec<Vec<u8>> {
            path.components().map(<[u8]>::to_vec).collect()
        };
        prop_assert_eq!(left.cmp(&right), components(&left).cmp(&components(&right)));
        let short = left.parent().unwrap();
        prop_assert!(short < left && left.starts_with(&short));
    }

    #[test]
    fn random_names_parse_to_what_parses_to_itself(raw in vec(prop_oneof![
        Just(b'/'), Just(b'.'), Just(b'w'), Just(b'h'), any::<u8>(),
    ], 0..40)) {
        if let Ok(path) = EntryPath::parse(&raw)
            && !path.is_root()
        {
            prop_assert_eq!(EntryPath::parse(path.as_bytes()).unwrap(), path);
        }
    }
}
