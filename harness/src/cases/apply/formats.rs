//! Archives as others write them.

use crate::prelude::*;
use crate::tar::{self, BLOCK, Header, record, set_checksum, write_pax};

fn header(name: &[u8], flag: u8, size: u64) -> Header<'_> {
    Header {
        name,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size,
        seconds: 0,
        flag,
        link: b"",
        device: (0, 0),
    }
}

fn push(bytes: &mut Vec<u8>, header: &[u8; BLOCK], content: &[u8]) {
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
}

fn expect_files(context: &mut Context, bytes: &[u8], expected: &[(&str, &[u8])]) -> Result<()> {
    let layer = context.applied_layer(None, bytes)?;
    context.look(&layer, |root| {
        let paths = Tree::read(root)?.paths();
        let names: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
        ensure!(paths == names, "{paths:?} and not {names:?}");
        for (name, content) in expected {
            let found = fs_err::read(root.join(name))?;
            ensure!(
                found == *content,
                "`{name}` reads {:?}",
                found.escape_ascii().to_string()
            );
        }
        Ok(())
    })
}

pub(crate) const GNU_LONG_NAMES_ARE_READ: Case = Case {
    name: "gnu_long_names_are_read",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let name = "n".repeat(180);
        let mut bytes = Vec::new();
        let with_end = [name.as_bytes(), b"\0"].concat();
        push(
            &mut bytes,
            &header(b"././@LongLink", b'L', with_end.len() as u64).block(),
            &with_end,
        );
        push(
            &mut bytes,
            &header(&name.as_bytes()[..100], b'0', 3).block(),
            b"abc",
        );
        let mut link = header(b"link", b'2', 0);
        link.link = &name.as_bytes()[..100];
        push(
            &mut bytes,
            &header(b"././@LongLink", b'K', with_end.len() as u64).block(),
            &with_end,
        );
        push(&mut bytes, &link.block(), b"");
        tar::end(&mut bytes);
        let layer = context.applied_layer(None, &bytes)?;
        let tree = context.tree(&layer)?;
        ensure!(tree.node(name.as_str())?.size == 3, "wrong content");
        ensure!(tree.node("link")?.target == name.as_bytes(), "wrong target");
        Ok(())
    },
};

/// Old GNU sparse (`S`) and PAX sparse 0.0, 0.1 and 1.0 expand to what they stand for.
pub(crate) const SPARSE_FORMATS_ARE_READ: Case = Case {
    name: "sparse_formats_are_read",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        const SIZE: usize = 100_000;
        let mut expected = vec![0; SIZE];
        expected[1024..1536].fill(b'a');
        expected[90_000..90_100].fill(b'b');
        let data = [vec![b'a'; 512], vec![b'b'; 100]].concat();

        let mut old = header(b"old", b'S', data.len() as u64).block();
        old[257..265].copy_from_slice(b"ustar  \0");
        let number = |value: usize| format!("{value:011o}\0").into_bytes();
        for (offset, value) in [
            (386, 1024),
            (398, 512),
            (410, 90_000),
            (422, 100),
            (483, SIZE),
        ] {
            old[offset..offset + 12].copy_from_slice(&number(value));
        }
        set_checksum(&mut old);
        let mut bytes = Vec::new();
        push(&mut bytes, &old, &data);
        tar::end(&mut bytes);
        expect_files(context, &bytes, &[("old", &expected)]).context("old GNU")?;

        let key = |text: &str| text.as_bytes().to_vec();
        let mut bytes = Vec::new();
        let records = [
            (key("GNU.sparse.size"), key("100000")),
            (key("GNU.sparse.numblocks"), key("2")),
            (key("GNU.sparse.name"), key("pax01")),
            (key("GNU.sparse.map"), key("1024,512,90000,100")),
        ];
        write_pax(&mut bytes, b'x', &records);
        push(
            &mut bytes,
            &header(b"GNUSparseFile.1/pax01", b'0', data.len() as u64).block(),
            &data,
        );
        tar::end(&mut bytes);
        expect_files(context, &bytes, &[("pax01", &expected)]).context("PAX 0.1")?;

        let mut map = b"2\n1024\n512\n90000\n100\n".to_vec();
        map.resize(BLOCK, 0);
        let with_map = [map, data].concat();
        let records = [
            (key("GNU.sparse.major"), key("1")),
            (key("GNU.sparse.minor"), key("0")),
            (key("GNU.sparse.name"), key("pax10")),
            (key("GNU.sparse.realsize"), key("100000")),
        ];
        let mut bytes = Vec::new();
        write_pax(&mut bytes, b'x', &records);
        let size = with_map.len() as u64;
        push(
            &mut bytes,
            &header(b"GNUSparseFile.1/pax10", b'0', size).block(),
            &with_map,
        );
        tar::end(&mut bytes);
        expect_files(context, &bytes, &[("pax10", &expected)]).context("PAX 1.0")
    },
};

/// A PAX size counts, whatever the header says (CVE-2025-62518).
pub(crate) const PAX_SIZE_DECIDES: Case = Case {
    name: "pax_size_decides",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        for claimed in [0, 5] {
            let inner = archive(&[Entry::file("smuggled", "x")]);
            let outer = Entry::file("outer", &inner)
                .pax("size", inner.len().to_string())
                .claiming(claimed);
            let bytes = archive(&[outer, Entry::file("after", "y")]);
            expect_files(context, &bytes, &[("after", b"y"), ("outer", &inner)])?;
        }
        Ok(())
    },
};

/// Attribute values may hold anything, newlines and `=` too; global headers stay in force.
pub(crate) const PAX_RECORDS_ARE_BINARY: Case = Case {
    name: "pax_records_are_binary",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let value = b"a\nb=c\n\0\xff";
        let mut bytes = Vec::new();
        write_pax(
            &mut bytes,
            b'g',
            &[(b"comment".to_vec(), b"everywhere".to_vec())],
        );
        Entry::file("f", "1")
            .xattr("user.x", value)
            .pax("unknown.key", "ignored")
            .write(&mut bytes);
        Entry::file("g", "2")
            .pax("mtime", "1.000000001")
            .pax("uname", "nobody")
            .write(&mut bytes);
        tar::end(&mut bytes);
        let layer = context.applied_layer(None, &bytes)?;
        let tree = context.tree(&layer)?;
        let kept = &tree.node("f")?.xattrs;
        ensure!(
            kept.get(&b"user.x"[..]).map(Vec::as_slice) == Some(value),
            "{kept:?}"
        );
        ensure!(
            tree.node("g")?.mtime == 1_000_000_001,
            "{}",
            tree.node("g")?.mtime
        );
        ensure!(
            record(b"a", b"b").len() == 6,
            "the harness counts records wrongly"
        );
        Ok(())
    },
};

pub(crate) const MISSING_END_IS_ACCEPTED: Case = Case {
    name: "missing_end_is_accepted",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let whole = archive(&[Entry::file("f", "1")]);
        for length in [whole.len(), whole.len() - BLOCK, whole.len() - 2 * BLOCK] {
            expect_files(context, &whole[..length], &[("f", b"1")])
                .with_context(|| format!("{length} bytes"))?;
        }
        for empty in [&[][..], &[0; 512], &[0; 1024], &[0; 10_240]] {
            expect_files(context, empty, &[]).with_context(|| format!("{} zeros", empty.len()))?;
        }
        Ok(())
    },
};

/// Version 7, base-256 numbers, old flags, fields without an end.
pub(crate) const OLD_HEADERS_ARE_READ: Case = Case {
    name: "old_headers_are_read",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let mut bytes = Vec::new();
        let mut v7 = header(b"v7", 0, 2).block();
        v7[257..].fill(0);
        set_checksum(&mut v7);
        push(&mut bytes, &v7, b"v7");
        // A directory by its slash, as version 7 has it.
        let mut directory = header(b"dir/", 0, 0).block();
        directory[257..].fill(0);
        directory[100..108].copy_from_slice(b"   755 \0");
        set_checksum(&mut directory);
        push(&mut bytes, &directory, b"");
        let mut binary = header(b"dir/binary", b'0', 0).block();
        binary[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
        binary[136..148].copy_from_slice(&[
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
        ]);
        set_checksum(&mut binary);
        push(&mut bytes, &binary, b"abc");
        let mut prefixed = header(b"prefixed", b'7', 1).block();
        prefixed[345..348].copy_from_slice(b"dir");
        set_checksum(&mut prefixed);
        push(&mut bytes, &prefixed, b"p");
        tar::end(&mut bytes);
        let layer = context.applied_layer(None, &bytes)?;
        let tree = context.tree(&layer)?;
        ensure!(
            tree.paths() == ["dir", "dir/binary", "dir/prefixed", "v7"],
            "{:?}",
            tree.paths()
        );
        ensure!(
            tree.node("dir")?.mode == 0o755,
            "mode {:04o}",
            tree.node("dir")?.mode
        );
        let binary = tree.node("dir/binary")?;
        ensure!(
            binary.size == 3 && binary.mtime == -2_000_000_000,
            "{binary:?}"
        );
        Ok(())
    },
};

/// What the file system cannot keep fails as such and not as a quietly poorer file.
pub(crate) const LARGE_XATTR_IS_KEPT_OR_REFUSED: Case = Case {
    name: "large_xattr_is_kept_or_refused",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let value = vec![b'v'; 60_000];
        let key = context.active(None)?;
        let outcome = context.apply(
            &key,
            &archive(&[Entry::file("f", "1").xattr("user.big", &value)]),
        );
        match outcome {
            Ok(_) => {
                let tree = context.tree(&key)?;
                let kept = tree.node("f")?.xattrs.get(&b"user.big"[..]).cloned();
                ensure!(
                    kept.as_deref() == Some(&value[..]),
                    "the attribute was lost in silence"
                );
            }
            Err(error) => {
                let fits = context.capabilities().limits.max_xattrs;
                ensure!(
                    fits.is_none_or(|most| most.0 < 64 * 1024),
                    "refused within the declared limit: {}",
                    error.chain()
                );
                ensure!(
                    error.context("entry").is_some(),
                    "no entry is named: {}",
                    error.chain()
                );
            }
        }
        context.remove(&key)?;
        Ok(())
    },
};
