//! Archives that GNU tar 1.34 wrote, in all its formats.
//!
//! Those in `gnu/` come from two small trees: `full` (a set-id file with a capability and an xattr
//! with newline and NUL, its hard link, symlinks, a fifo, a device, a directory with ACLs, names and
//! targets beyond 100 bytes, a file with six data segments 64 KiB apart, one that is all hole), and
//! `plain`, without what the old formats cannot hold. All were made with
//! `tar --sort=name --numeric-owner -b1 --format=F`, `full` with `-S` and, in the POSIX format, with
//! `--xattrs --acls --sparse-version=V`; for version 0.1 `--xattrs-exclude='system.*'` leaves the
//! ACLs in their text form only.

use strata_driver::changeset::{Entry, EntryKind, Item, Limits, Timestamp};

use crate::watch::{Seen, decode, decode_in_pieces, entries, path};

const GNU: &[u8] = include_bytes!("gnu/gnu.tar");
const USTAR: &[u8] = include_bytes!("gnu/ustar.tar");
const V7: &[u8] = include_bytes!("gnu/v7.tar");
const POSIX: [(&str, &[u8]); 3] = [
    ("0.0", include_bytes!("gnu/posix-sparse-0.0.tar")),
    ("0.1", include_bytes!("gnu/posix-sparse-0.1.tar")),
    ("1.0", include_bytes!("gnu/posix-sparse-1.0.tar")),
];

fn find<'a>(entries: &'a [Entry], path: &str) -> &'a Entry {
    let found = entries
        .iter()
        .find(|entry| entry.path.as_bytes() == path.as_bytes());
    found.unwrap_or_else(|| panic!("no {path}"))
}

fn all() -> Vec<(&'static str, &'static [u8])> {
    let mut all = vec![("gnu", GNU), ("ustar", USTAR), ("v7", V7)];
    all.extend(POSIX);
    all
}

#[test]
fn every_format_tells_the_same_tree() {
    for (format, archive) in all() {
        let entries = entries(archive);
        let file = find(&entries, "file");
        assert_eq!(file.kind, EntryKind::File { size: 6 }, "{format}");
        assert_eq!(
            (file.metadata.mode, file.metadata.uid, file.metadata.gid),
            (0o4755, 12, 34)
        );
        assert_eq!(file.metadata.mtime.seconds, 1_600_000_000, "{format}");
        let target = path(b"file");
        assert_eq!(
            find(&entries, "hard").kind,
            EntryKind::HardLink { target },
            "{format}"
        );
        let target = b"file".to_vec();
        assert_eq!(
            find(&entries, "soft").kind,
            EntryKind::Symlink { target },
            "{format}"
        );
        assert_eq!(find(&entries, "dir").kind, EntryKind::Directory, "{format}");
        assert_eq!(find(&entries, "").kind, EntryKind::Directory, "{format}");
        if format != "v7" {
            assert_eq!(find(&entries, "fifo").kind, EntryKind::Fifo, "{format}");
        }
    }
}

#[test]
fn long_names_and_sparse_files_read_the_same_in_every_format() {
    let long = format!("{}/{}", "long".repeat(20), "name".repeat(20));
    for (format, archive) in all()
        .into_iter()
        .filter(|(format, _)| !matches!(*format, "ustar" | "v7"))
    {
        let entries = entries(archive);
        assert_eq!(
            find(&entries, &format!("{long}/leaf")).kind,
            EntryKind::File { size: 4 }
        );
        let target = path(format!("{long}/leaf").as_bytes());
        let twin = find(&entries, &format!("{long}/twin"));
        assert_eq!(twin.kind, EntryKind::HardLink { target }, "{format}");
        let target = vec![b'x'; 200];
        assert_eq!(
            find(&entries, "longsoft").kind,
            EntryKind::Symlink { target },
            "{format}"
        );
        let null = EntryKind::CharDevice { major: 1, minor: 3 };
        assert_eq!(find(&entries, "null").kind, null, "{format}");

        assert_eq!(content(archive, "hole"), (1 << 20, vec![]), "{format}");
        let segment = |index: u8| (65536 * u64::from(index), vec![b'A' + index; 4096]);
        let expected: Vec<_> = (0..6).map(segment).collect();
        assert_eq!(
            content(archive, "sparse"),
            (6 * 65536 + 100, expected),
            "{format}"
        );
    }
}

/// Size and stored stretches of one file.
fn content(archive: &[u8], path: &str) -> (u64, Vec<(u64, Vec<u8>)>) {
    let (seen, _) = decode(archive).expect("the archive is sound");
    let found = seen.windows(2).find_map(|pair| match pair {
        [Seen::Item(Item::Entry(entry)), Seen::Content(content)]
            if entry.path.as_bytes() == path.as_bytes() =>
        {
            let EntryKind::File { size } = entry.kind else {
                unreachable!()
            };
            Some((size, content.clone()))
        }
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no {path}"))
}

#[test]
fn posix_archives_carry_times_xattrs_and_acls() {
    let acl = hex::decode(
        "0200000001000700ffffffff02000500f401000004000500ffffffff10000500ffffffff20000000ffffffff",
    )
    .unwrap();
    for (version, archive) in POSIX {
        let entries = entries(archive);
        let file = find(&entries, "file");
        let quarter = Timestamp {
            seconds: 1_600_000_000,
            nanoseconds: 250_000_000,
        };
        assert_eq!(file.metadata.mtime, quarter, "{version}");
        let capability = hex::decode("010000020a000000000000000000000000000000").unwrap();
        let expected = vec![
            (b"security.capability".to_vec(), capability),
            (b"user.newline".to_vec(), b"a\nb=\0c".to_vec()),
        ];
        assert_eq!(file.xattrs, expected, "{version}");
        let expected = vec![
            (b"system.posix_acl_access".to_vec(), acl.clone()),
            (b"system.posix_acl_default".to_vec(), acl.clone()),
        ];
        assert_eq!(find(&entries, "dir").xattrs, expected, "{version}");
    }
}

#[test]
fn foreign_archives_read_the_same_in_pieces() {
    for (format, archive) in all() {
        let whole = decode(archive).unwrap();
        for size in [1, 511, 512, 1000] {
            let pieces = decode_in_pieces(archive, Limits::default(), || size).unwrap();
            assert_eq!(pieces, whole, "{format} in pieces of {size}");
        }
    }
}

#[test]
fn foreign_archives_cut_anywhere_inside_an_entry_are_truncated() {
    for (format, archive) in all() {
        let (seen, _) = decode(archive).unwrap();
        let end = archive.len() - 1024;
        for cut in (0..end).step_by(512).chain([1, 100, end - 1]) {
            match decode(&archive[..cut]) {
                // Between two entries a missing end mark is all that lacks.
                Ok((part, summary)) => {
                    assert!(!summary.end_mark && cut % 512 == 0, "{format} cut at {cut}");
                    assert_eq!(part, seen[..part.len()], "{format} cut at {cut}");
                }
                Err(error) => {
                    use strata_driver::changeset::CodecErrorKind::Truncated;
                    assert_eq!(
                        (error.kind, error.offset),
                        (Truncated, cut as u64),
                        "{format}"
                    );
                }
            }
        }
    }
}
