//! What is refused: one clear error, and a snapshot that is good for removal only.

use crate::cases::lifecycle::prepare::{difference, paths_below_root};
use crate::prelude::*;
use crate::tar::{BLOCK, record, set_checksum};

/// Demands that `bytes` are refused, and that nothing of the snapshot can be used afterwards.
fn expect_refused(context: &mut Context, what: &str, bytes: &[u8]) -> Result<()> {
    let key = context.active(None)?;
    let outcome = context.apply(&key, bytes);
    let error = expect_kind(outcome, ErrorKind::InvalidInput, what)?;
    ensure!(
        !error.to_string().is_empty(),
        "{what}: the error says nothing"
    );
    let frozen = name("refused");
    let committed = context.commit(&key, &frozen);
    expect_kind(
        committed,
        ErrorKind::InvalidState,
        &format!("{what}: commit afterwards"),
    )?;
    expect_kind(
        context.stat(&frozen),
        ErrorKind::NotFound,
        &format!("{what}: its name"),
    )?;
    context
        .remove(&key)
        .with_context(|| format!("{what}: remove afterwards"))?;
    Ok(())
}

fn expect_all_refused(context: &mut Context, attempts: Vec<(&str, Vec<u8>)>) -> Result<()> {
    // The first life makes whatever the driver makes once.
    let first = context.active(None)?;
    context.remove(&first)?;
    context.reclaim()?;
    let before = paths_below_root(context)?;
    for (what, bytes) in attempts {
        expect_refused(context, what, &bytes)?;
    }
    context.reclaim()?;
    let after = paths_below_root(context)?;
    ensure!(
        after == before,
        "files stay: {:?}",
        difference(&after, &before)
    );
    Ok(())
}

/// Everything that `docs/formats.md` says is refused, whoever else accepts it.
pub(crate) const APPLY_REFUSALS: Case = Case {
    name: "apply_refusals",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let one = |entry: Entry| archive(&[Entry::file("before", "1"), entry]);
        let attempts = vec![
            ("a name with ..", one(Entry::file("../x", "1"))),
            ("a name with .. inside", one(Entry::file("a/../../x", "1"))),
            (
                "a name with .. that stays inside",
                one(Entry::file("a/../x", "1")),
            ),
            ("a name that is ..", one(Entry::dir(".."))),
            ("a whiteout with ..", one(Entry::file("../.wh.x", ""))),
            (
                "a hard link to nothing",
                one(Entry::hard_link("h", "nowhere")),
            ),
            (
                "a hard link to a later entry",
                archive(&[Entry::hard_link("h", "f"), Entry::file("f", "1")]),
            ),
            (
                "a hard link with ..",
                one(Entry::hard_link("h", "../before")),
            ),
            (
                "a hard link to a directory",
                archive(&[Entry::dir("d"), Entry::hard_link("h", "d")]),
            ),
            (
                "a character device 0:0",
                one(Entry::new("c", b'3').device(0, 0)),
            ),
            ("the name .wh.", one(Entry::file(".wh.", ""))),
            ("the name .wh..", one(Entry::file(".wh..", ""))),
            ("the name .wh...", one(Entry::file(".wh...", ""))),
            (
                "the name .wh. in a directory",
                one(Entry::file("d/.wh.", "")),
            ),
            ("a root that is a file", one(Entry::file("./", "1"))),
            ("a root that is a link", one(Entry::symlink("./", "/etc"))),
            (
                "a root that is a hard link",
                one(Entry::hard_link("./", "before")),
            ),
            (
                "a root that is a device",
                one(Entry::new("/", b'3').device(1, 3)),
            ),
            (
                "an attribute of overlay",
                one(Entry::file("f", "1").xattr("trusted.overlay.opaque", "y")),
            ),
            (
                "an attribute of overlay's users",
                one(Entry::dir("d").xattr("user.overlay.opaque", "y")),
            ),
            (
                "a directory called like a whiteout",
                one(Entry::dir("d/.wh.x/y")),
            ),
        ];
        expect_all_refused(context, attempts)
    },
};

/// A link into a lower layer would mean something else on another parent.
pub(crate) const HARD_LINK_BELOW_IS_REFUSED: Case = Case {
    name: "hard_link_below_is_refused",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| dir.file("below", "1").map(drop))?;
        let key = context.active(Some(&base))?;
        let outcome = context.apply(&key, &archive(&[Entry::hard_link("h", "below")]));
        expect_kind(
            outcome,
            ErrorKind::InvalidInput,
            "a link to a lower layer's file",
        )?;
        let committed = context.commit(&key, &name("refused"));
        expect_kind(committed, ErrorKind::InvalidState, "commit afterwards")?;
        context.remove(&key)?;
        let tree = context.tree(&base)?;
        ensure!(
            tree.node("below")?.link_count == 1,
            "a link into the lower layer was made"
        );
        Ok(())
    },
};

/// A wrong file, given by mistake, is refused before anything is touched.
pub(crate) const NO_ARCHIVE_SPOILS_NOTHING: Case = Case {
    name: "no_archive_spoils_nothing",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let good = archive(&[Entry::file("f", "1")]);
        let begun = |magic: &[u8]| {
            let mut bytes = magic.to_vec();
            bytes.resize(4096, b'j');
            bytes
        };
        let mut changed = good.clone();
        changed[0] = b'z';
        let attempts = [
            ("text", b"no archive\n".to_vec()),
            ("junk", vec![b'j'; 4096]),
            ("gzip", begun(&[0x1f, 0x8b, 8])),
            ("zstd", begun(&[0x28, 0xb5, 0x2f, 0xfd])),
            ("a program", begun(b"\x7fELF")),
            ("a header cut short", good[..300].to_vec()),
            ("a changed first header", changed),
        ];
        let key = context.active(None)?;
        for (what, bytes) in attempts {
            let error = expect_kind(context.apply(&key, &bytes), ErrorKind::InvalidInput, what)?;
            ensure!(
                error.to_string().contains("no tar archive"),
                "{what}: the error does not say so: {}",
                error.chain()
            );
        }
        let source = strata_driver::ChangesetSource::from_read(FailingRead);
        let options = strata_driver::ApplyOptions::default();
        let outcome = context.wait(context.driver().apply(&key, source, &options));
        ensure!(outcome.is_err(), "a stream that fails at once was applied");
        context.apply(&key, &good).context("apply afterwards")?;
        let layer = context.commit_fresh(&key)?;
        let tree = context.tree(&layer)?;
        ensure!(tree.node("f")?.size == 1, "the layer is not the archive's");
        Ok(())
    },
};

/// A stream that cannot be read.
struct FailingRead;

impl std::io::Read for FailingRead {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the download broke off"))
    }
}

/// Archives that end early or lie about themselves, after an entry that is right.
pub(crate) const BROKEN_ARCHIVES_ARE_REFUSED: Case = Case {
    name: "broken_archives_are_refused",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let good = archive(&[Entry::file("a", vec![b'a'; 700]), Entry::file("b", "b")]);
        let patched = |offset: usize, bytes: &[u8]| {
            let mut broken = good.clone();
            broken[offset..offset + bytes.len()].copy_from_slice(bytes);
            broken
        };
        let resealed = |offset: usize, bytes: &[u8]| {
            let mut broken = patched(offset, bytes);
            let header: &mut [u8; BLOCK] = (&mut broken[..BLOCK])
                .try_into()
                .expect("an archive has a first block");
            set_checksum(header);
            broken
        };
        let pax = |body: &[u8]| {
            let mut bytes = crate::tar::Header {
                name: b"././@PaxHeader",
                mode: 0,
                uid: 0,
                gid: 0,
                size: body.len() as u64,
                seconds: 0,
                flag: b'x',
                link: b"",
                device: (0, 0),
            }
            .block()
            .to_vec();
            bytes.extend_from_slice(body);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            bytes.extend_from_slice(&good);
            bytes
        };
        let attempts = vec![
            ("junk", vec![b'j'; 4096]),
            ("a wrong checksum", patched(148, b"000000\0 ")),
            ("a changed byte of a name", patched(0, b"z")),
            ("cut within a header", good[..300].to_vec()),
            ("cut within content", good[..BLOCK + 100].to_vec()),
            ("cut within padding", good[..BLOCK + 800].to_vec()),
            ("a size that is no number", resealed(124, b"zzzzzzzzzzz\0")),
            ("a size beyond the archive", resealed(124, b"77777777777\0")),
            (
                "a size of 2^63",
                resealed(124, &[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            ),
            ("a negative size", resealed(124, &[0xff; 12])),
            ("a mode that is no number", resealed(100, b"rwxr-x\0\0")),
            ("an empty name", resealed(0, &[0; 100])),
            ("a PAX length that is no number", pax(b"xx path=a\n")),
            ("a PAX length beyond its header", pax(b"99 path=a\n")),
            ("a PAX record without its end", pax(b"9 path=ab")),
            ("a PAX record without a value", pax(b"8 pathh\n")),
            ("a NUL in a PAX path", pax(&record(b"path", b"a\0b"))),
            (
                "a PAX size that is no number",
                pax(&record(b"size", b"many")),
            ),
            (
                "a PAX owner beyond 32 bits",
                pax(&record(b"uid", b"4294967296")),
            ),
        ];
        let mut before = Vec::new();
        Entry::file("before", "1").write(&mut before);
        let after = |(what, bytes)| (what, [before.clone(), bytes].concat());
        expect_all_refused(context, attempts.into_iter().map(after).collect())
    },
};

/// Cut at every block, an archive is refused or was whole.
pub(crate) const CUT_ARCHIVES_ARE_REFUSED: Case = Case {
    name: "cut_archives_are_refused",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let content = context.generator("cut").bytes(1800);
        let whole = archive(&[
            Entry::dir("d"),
            Entry::file("d/f", &content).xattr("user.x", "1"),
            Entry::file("n".repeat(150), &content),
        ]);
        let data = whole.len() - 2 * BLOCK;
        for length in (BLOCK..whole.len()).step_by(BLOCK) {
            let key = context.active(None)?;
            let outcome = context.apply(&key, &whole[..length]);
            match outcome {
                // Cut between entries it is an archive whose end mark is missing.
                Ok(applied) => ensure!(
                    applied.size.0 == length as u64 && ends_an_entry(&whole, length),
                    "cut at {length} of {data} it was accepted"
                ),
                Err(error) => ensure!(
                    error.kind() == ErrorKind::InvalidInput && !ends_an_entry(&whole, length),
                    "cut at {length}: {}",
                    error.chain()
                ),
            }
            context.remove(&key)?;
        }
        Ok(())
    },
};

/// Whether the first `length` bytes hold whole entries only.
fn ends_an_entry(archive: &[u8], length: usize) -> bool {
    let mut offset = 0;
    let mut extended = false;
    while offset < length
        && archive[offset..offset + BLOCK]
            .iter()
            .any(|byte| *byte != 0)
    {
        let field = std::str::from_utf8(&archive[offset + 124..offset + 135]).unwrap_or("0");
        let size = usize::from_str_radix(field, 8).unwrap_or(0);
        extended = archive[offset + 156] == b'x';
        offset += BLOCK + size.next_multiple_of(BLOCK);
    }
    !extended && offset <= length
}
