//! What an accepted changeset means.

use crate::cases::samples;
use crate::prelude::*;

/// Whiteouts and opaque marks, before or after what they stand with.
pub(crate) const APPLY_HIDES_LOWER: Case = Case {
    name: "apply_hides_lower",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            dir.dirs("a/b")?
                .file("a/b/c", "1")?
                .file("a/x", "1")?
                .file("f", "1")?
                .dir("empty")?;
            dir.dirs("z/deep")?.file("z/deep/g", "1").map(drop)
        })?;
        let whiteouts = [
            Entry::whiteout("f"),
            Entry::whiteout("a/x"),
            Entry::opaque("z"),
        ];
        let additions = [
            Entry::dir("z"),
            Entry::file("z/new", "2"),
            Entry::file("a/b/d", "2"),
        ];
        let orders = [
            [&whiteouts[..], &additions[..]].concat(),
            [&additions[..], &whiteouts[..]].concat(),
        ];
        for entries in orders {
            let top = context.applied_layer(Some(&base), &archive(&entries))?;
            let paths = context.tree(&top)?.paths();
            ensure!(
                paths == ["a", "a/b", "a/b/c", "a/b/d", "empty", "z", "z/new"],
                "{paths:?}"
            );
        }
        let cleared = archive(&[Entry::opaque(""), Entry::file("only", "1")]);
        let top = context.applied_layer(Some(&base), &cleared)?;
        let paths = context.tree(&top)?.paths();
        ensure!(
            paths == ["only"],
            "an opaque mark at the root leaves {paths:?}"
        );
        // Marks for what is not there are no error: layers are built on other parents, too.
        let idle = archive(&[
            Entry::whiteout("nowhere"),
            Entry::whiteout("no/where"),
            Entry::opaque("none"),
        ]);
        let top = context.applied_layer(Some(&base), &idle)?;
        ensure!(
            context.tree(&top)?.get("a/b/c").is_some(),
            "an idle mark hid something"
        );
        Ok(())
    },
};

/// Law 6, as archives write it.
pub(crate) const APPLY_MIXES_MARKS: Case = Case {
    name: "apply_mixes_marks",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            dir.dirs("a/b")?
                .file("a/b/c", "1")?
                .file("a/x", "1")?
                .file("x", "1")
                .map(drop)
        })?;
        let entries = [
            Entry::dir("a"),
            Entry::opaque("a"),
            Entry::whiteout("a/x"),
            Entry::dir("a/b"),
            Entry::whiteout("a/b/c"),
            Entry::opaque("a/b"),
            Entry::file("a/b/d", "2"),
            // A name that is whited out and has contents: law 5.
            Entry::whiteout("x"),
            Entry::dir("x"),
            Entry::whiteout("x/y"),
            Entry::file("x/z", "3"),
        ];
        let top = context.applied_layer(Some(&base), &archive(&entries))?;
        let paths = context.tree(&top)?.paths();
        ensure!(paths == ["a", "a/b", "a/b/d", "x", "x/z"], "{paths:?}");
        context.checked_diff(Some(&base), &top).map(drop)
    },
};

pub(crate) const FILE_WINS_OVER_ITS_WHITEOUT: Case = Case {
    name: "file_wins_over_its_whiteout",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| dir.file("f", "old").map(drop))?;
        let orders = [
            [Entry::whiteout("f"), Entry::file("f", "newer")],
            [Entry::file("f", "newer"), Entry::whiteout("f")],
        ];
        for entries in orders {
            let top = context.applied_layer(Some(&base), &archive(&entries))?;
            ensure!(
                context.tree(&top)?.node("f")?.size == 5,
                "the file is not the new one"
            );
        }
        Ok(())
    },
};

pub(crate) const LAST_OF_DUPLICATES_WINS: Case = Case {
    name: "last_of_duplicates_wins",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let layer = context.applied_layer(
            None,
            &archive(&[
                Entry::file("f", "first").mode(0o600).xattr("user.x", "1"),
                Entry::file("f", "second one"),
                Entry::dir("d").mode(0o700),
                Entry::file("d/kept", "1"),
                Entry::dir("d").mode(0o711),
                Entry::symlink("l", "one"),
                Entry::file("l", "a file"),
                Entry::file("g", "1"),
                Entry::dir("g"),
                Entry::file("g/h", "1"),
                Entry::dir("gone"),
                Entry::file("gone/x", "1"),
                Entry::file("gone", "a file"),
            ]),
        )?;
        let tree = context.tree(&layer)?;
        ensure!(
            tree.node("f")?.size == 10 && tree.node("f")?.xattrs.is_empty(),
            "{:?}",
            tree.get("f")
        );
        ensure!(
            tree.node("d")?.mode == 0o711 && tree.get("d/kept").is_some(),
            "{:?}",
            tree.get("d")
        );
        ensure!(tree.node("l")?.kind == Kind::File, "{:?}", tree.get("l"));
        ensure!(
            tree.get("g/h").is_some() && tree.node("gone")?.kind == Kind::File,
            "{:?}",
            tree.paths()
        );
        Ok(())
    },
};

pub(crate) const LEADING_SLASHES_AND_DOTS: Case = Case {
    name: "leading_slashes_and_dots",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let layer = context.applied_layer(
            None,
            &archive(&[
                Entry::dir("/etc"),
                Entry::file("/etc/a", "1"),
                Entry::file("//etc//b", "1"),
                Entry::file("./etc/./c", "1"),
                Entry::whiteout("/etc/nothing"),
                Entry::hard_link("/etc/d", "/etc/a"),
            ]),
        )?;
        let tree = context.tree(&layer)?;
        ensure!(
            tree.paths() == ["etc", "etc/a", "etc/b", "etc/c", "etc/d"],
            "{:?}",
            tree.paths()
        );
        ensure!(
            tree.node("etc/d")?.link_leader == tree.node("etc/a")?.link_leader,
            "no link"
        );
        Ok(())
    },
};

pub(crate) const MISSING_PARENTS_ARE_MADE: Case = Case {
    name: "missing_parents_are_made",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let layer =
            context.applied_layer(None, &archive(&[Entry::file("a/b/c", "1").mtime(9, 0)]))?;
        let tree = context.tree(&layer)?;
        for path in ["a", "a/b"] {
            let node = tree.node(path)?;
            ensure!(
                node.mode == 0o755 && (node.uid, node.gid) == (0, 0) && node.mtime == 0,
                "`{path}` is {node:?}"
            );
        }
        Ok(())
    },
};

/// Directories that are touched and have no entry look as they did.
pub(crate) const TOUCHED_DIRECTORIES_KEEP_TIMES: Case = Case {
    name: "touched_directories_keep_times",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            dir.dirs("a/b")?
                .file("a/b/old", "1")?
                .mode("a/b", 0o2750)?
                .xattr("a/b", "user.x", "1")?;
            dir.time("a/b", 1000, 5)?
                .time("a", 2000, 6)?
                .time(".", 3000, 7)
                .map(drop)
        })?;
        let before = context.tree(&base)?;
        let changeset = archive(&[
            Entry::file("a/b/new", "1"),
            Entry::whiteout("a/b/old"),
            Entry::file("top", "1"),
        ]);
        let top = context.applied_layer(Some(&base), &changeset)?;
        let after = context.tree(&top)?;
        for path in ["a", "a/b"] {
            let (old, new) = (before.node(path)?, after.node(path)?);
            ensure!(
                old.mtime == new.mtime && old.mode == new.mode && old.xattrs == new.xattrs,
                "`{path}` was {old:?} and is {new:?}"
            );
        }
        Ok(())
    },
};

pub(crate) const ROOT_ENTRY_SETS_ATTRIBUTES: Case = Case {
    name: "root_entry_sets_attributes",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        for root in ["./", "/", "."] {
            let mut entry = Entry::new(root, b'5')
                .mode(0o1711)
                .mtime(5, 0)
                .xattr("user.r", "1");
            if context.has(Capability::Ownership) {
                entry = entry.owner(3, 4);
            }
            let layer =
                context.applied_layer(None, &archive(&[entry.clone(), Entry::file("f", "1")]))?;
            let tree = context.tree(&layer)?;
            let node = tree.node("")?;
            ensure!(
                node.mode == 0o1711
                    && u64::from(node.uid) == entry.uid
                    && node.xattrs.contains_key(&b"user.r"[..]),
                "`{root}`: {node:?}"
            );
            context.checked_diff(None, &layer)?;
        }
        Ok(())
    },
};

pub(crate) const APPLY_KEEPS_HOLES: Case = Case {
    name: "apply_keeps_holes",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let mut content = vec![0; 8 << 20];
        content[..5].copy_from_slice(b"start");
        let end = content.len() - 3;
        content[end..].copy_from_slice(b"end");
        let layer = context.applied_layer(None, &archive(&[Entry::file("sparse", &content)]))?;
        let blocks = context.look(&layer, |root| {
            use std::os::unix::fs::MetadataExt as _;
            ensure!(
                fs_err::read(root.join("sparse"))? == content,
                "the content changed"
            );
            Ok(fs_err::metadata(root.join("sparse"))?.blocks())
        })?;
        ensure!(
            blocks * 512 < 1 << 20,
            "8 MiB of zeros take {} bytes",
            blocks * 512
        );
        Ok(())
    },
};

/// Digest and size are those of every byte, also of what means nothing.
pub(crate) const APPLY_REPORTS_DIGEST_AND_SIZE: Case = Case {
    name: "apply_reports_digest_and_size",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let entries = [
            Entry::dir("d"),
            Entry::file("d/f", vec![b'x'; 100_000]),
            Entry::whiteout("gone"),
            Entry::hard_link("d/g", "d/f"),
            Entry::file("n".repeat(200), "long"),
        ];
        let mut padded = archive(&entries);
        padded.resize(padded.len().next_multiple_of(10_240), 0);
        for bytes in [archive(&entries), padded, archive(&[])] {
            let key = context.active(None)?;
            let applied = context.apply(&key, &bytes)?;
            ensure!(
                applied.size.0 == bytes.len() as u64,
                "size {}, not {}",
                applied.size.0,
                bytes.len()
            );
            let expected = crate::oracle::diff_id(&bytes);
            ensure!(
                applied.diff_id == expected,
                "digest {}, not {expected}",
                applied.diff_id
            );
            let entries = if bytes.len() > 1024 { 5 } else { 0 };
            ensure!(
                applied.entries == entries,
                "{} entries, not {entries}",
                applied.entries
            );
        }
        Ok(())
    },
};

/// An observer can put the very stream together again.
pub(crate) const OBSERVER_SEES_EVERY_BYTE: Case = Case {
    name: "observer_sees_every_byte",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        use std::sync::{Arc, Mutex};
        #[derive(Default)]
        struct Seen {
            bytes: Vec<u8>,
            data: usize,
            items: usize,
        }
        impl strata_driver::ApplyObserver for Seen {
            fn raw(&mut self, bytes: &[u8]) {
                self.bytes.extend_from_slice(bytes);
            }
            fn item(&mut self, _: &strata_driver::changeset::Item) {
                self.items += 1;
            }
            fn data(&mut self, bytes: &[u8]) {
                self.bytes.extend_from_slice(bytes);
                self.data += bytes.len();
            }
        }
        let mut bytes = archive(&[
            Entry::dir("d"),
            Entry::file("d/f", vec![b'x'; 300_001]),
            Entry::whiteout("gone"),
            Entry::file("n".repeat(200), "long"),
        ]);
        bytes.resize(bytes.len() + 4096, 0);
        let key = context.active(None)?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let options = strata_driver::ApplyOptions::default().with_observer(seen.clone());
        context.apply_with(&key, &bytes, &options)?;
        let seen = seen
            .lock()
            .map_err(|_| anyhow::anyhow!("the observer panicked"))?;
        ensure!(
            seen.bytes == bytes,
            "{} of {} bytes, or in another order",
            seen.bytes.len(),
            bytes.len()
        );
        ensure!(
            seen.data == 300_005 && seen.items == 4,
            "{} of data, {} items",
            seen.data,
            seen.items
        );
        Ok(())
    },
};

pub(crate) const APPLY_NEEDS_AN_UNMOUNTED_ACTIVE: Case = Case {
    name: "apply_needs_an_unmounted_active",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let view = name("view");
        context.view(&view, Some(&base))?;
        let key = context.active(Some(&base))?;
        let changeset = archive(&[Entry::file("applied", "1")]);
        expect_kind(
            context.apply(&base, &changeset),
            ErrorKind::InvalidState,
            "on committed",
        )?;
        expect_kind(
            context.apply(&view, &changeset),
            ErrorKind::InvalidState,
            "on a view",
        )?;
        expect_kind(
            context.apply(&name("nobody"), &changeset),
            ErrorKind::NotFound,
            "on nobody",
        )?;
        let live = context.mount(&key)?;
        expect_kind(
            context.apply(&key, &changeset),
            ErrorKind::InUse,
            "while mounted",
        )?;
        live.unmount()?;
        context.apply(&key, &changeset)?;
        context.apply(
            &key,
            &archive(&[Entry::whiteout("applied"), Entry::file("twice", "1")]),
        )?;
        let tree = context.tree(&key)?;
        ensure!(
            tree.get("applied").is_none() && tree.get("twice").is_some(),
            "{:?}",
            tree.paths()
        );
        Ok(())
    },
};
