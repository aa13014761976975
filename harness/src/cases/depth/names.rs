//! Long and strange names, deep directories, long snapshot names.

use crate::cases::stack::build;
use crate::prelude::*;

/// As long as the driver takes them: 255 bytes, or 242, which is all that aufs's format holds; then
/// a longer one is refused in words.
pub(crate) const NAMES_OF_255_BYTES: Case = Case {
    name: "names_of_255_bytes",
    group: Group::Depth,
    needs: &[],
    run: |context| {
        let most = context.capabilities().limits.max_name.unwrap_or(255);
        if most >= 255 {
            return build(context, &[make_long::<255>, append_long::<255>]).map(drop);
        }
        ensure!(
            most >= 242,
            "a driver must carry names of 242 bytes, this one says {most}"
        );
        build(context, &[make_long::<242>, append_long::<242>])?;
        let key = context.active(None)?;
        let longer = archive(&[Entry::file("n".repeat(most as usize + 1), "1")]);
        let refused = context.apply(&key, &longer);
        expect_kind(refused, ErrorKind::InvalidInput, "a longer name").map(drop)
    },
};

fn make_long<const BYTES: usize>(dir: &Dir) -> Result<()> {
    let long = "n".repeat(BYTES);
    dir.file(&long, "1")?.dir("d".repeat(BYTES))?;
    dir.file(format!("{}/{long}", "d".repeat(BYTES)), "2")
        .map(drop)
}

fn append_long<const BYTES: usize>(dir: &Dir) -> Result<()> {
    dir.append("n".repeat(BYTES), "2").map(drop)
}

/// The longest name has no room for `.wh.` on disk, and its whiteout travels all the same.
pub(crate) const LONG_NAMES_ARE_DELETED: Case = Case {
    name: "long_names_are_deleted",
    group: Group::Depth,
    needs: &[],
    run: |context| {
        let most = context
            .capabilities()
            .limits
            .max_name
            .unwrap_or(255)
            .min(255);
        let long = "n".repeat(most as usize);
        let base = context.layer(None, |dir| dir.file(&long, "1")?.file("kept", "").map(drop))?;
        let top = context.layer(Some(&base), |dir| dir.unlink(&long).map(drop))?;
        let diff = context.checked_diff(Some(&base), &top)?;
        let copy = context.applied_layer(Some(&base), &diff)?;
        ensure!(
            context.tree(&copy)?.paths() == ["kept"],
            "the whiteout did not travel"
        );
        Ok(())
    },
};

pub(crate) const NAMES_OF_STRANGE_BYTES: Case = Case {
    name: "names_of_strange_bytes",
    group: Group::Depth,
    needs: &[],
    run: |context| {
        fn names() -> Vec<Vec<u8>> {
            let mut names: Vec<Vec<u8>> = (1..=255_u8)
                .filter(|byte| *byte != b'/')
                .map(|byte| vec![b'x', byte, b'y'])
                .collect();
            names.extend([
                b"a:b,c\\d".to_vec(),
                b"...".to_vec(),
                b" ".to_vec(),
                b"-rf".to_vec(),
            ]);
            names.extend([
                b".wh".to_vec(),
                b"wh.".to_vec(),
                vec![0xff, 0xfe],
                b"\\".to_vec(),
            ]);
            names
        }
        build(
            context,
            &[
                |dir| {
                    names()
                        .iter()
                        .try_for_each(|name| dir.file(name, name).map(drop))
                },
                |dir| {
                    for (number, name) in names().iter().enumerate() {
                        match number % 3 {
                            0 => dir.append(name, "more")?,
                            1 => dir.unlink(name)?,
                            _ => dir.symlink([name, &b"-link"[..]].concat(), name)?,
                        };
                    }
                    Ok(())
                },
            ],
        )
        .map(drop)
    },
};

/// As deep as an archive can say, and so deeper than a system call takes from outside.
pub(crate) const DEEP_DIRECTORIES: Case = Case {
    name: "deep_directories",
    group: Group::Depth,
    needs: &[],
    run: |context| {
        use rustix::fs::{Mode, OFlags};
        const DEPTH: usize = 33;
        let name = "d".repeat(120);
        let bottom = "b".repeat(100);
        let base = context.layer(None, |dir| {
            let mut handle = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty())?;
            for _ in 0..DEPTH {
                rustix::fs::mkdirat(&handle, &name, Mode::from_raw_mode(0o755))?;
                handle = rustix::fs::openat(&handle, &name, OFlags::PATH, Mode::empty())?;
            }
            let flags = OFlags::CREATE | OFlags::WRONLY;
            rustix::fs::openat(&handle, &bottom, flags, Mode::from_raw_mode(0o644))?;
            Ok(())
        })?;
        let tree = context.tree(&base)?;
        ensure!(
            tree.nodes().len() == DEPTH + 2,
            "{} nodes",
            tree.nodes().len()
        );
        let key = context.active(Some(&base))?;
        context.tree(&key)?.expect_equal(&tree, "a child")?;
        let diff = context.checked_diff(None, &base)?;
        let copy = context.applied_layer(None, &diff)?;
        context
            .tree(&copy)?
            .expect_equal(&tree, "the applied copy")?;
        context.edit(&key, |dir| dir.remove_tree(&name).map(drop))?;
        ensure!(
            context.changes(Some(&base), &key)?.len() == 1,
            "wrong changes"
        );
        context.remove(&key)?;
        context.remove(&copy)?;
        context.remove(&base)?;
        context.reclaim()?;
        Ok(())
    },
};

/// Any name that a caller may use, and none that it may not.
pub(crate) const SNAPSHOT_NAMES_OF_ALL_SORTS: Case = Case {
    name: "snapshot_names_of_all_sorts",
    group: Group::Depth,
    needs: &[],
    run: |context| {
        let names = [
            "x".repeat(255),
            "a:b".into(),
            "a,b".into(),
            "a\\b".into(),
            "a b".into(),
            "default/12/extract-1 sha256:ab".into(),
            "ä/\u{1F980}".into(),
            "%2e%2e".into(),
            "'; drop table snapshot; --".into(),
            "A".into(),
            "a".into(),
        ];
        for text in &names {
            let key = name(text);
            context
                .prepare(&key, None)
                .with_context(|| format!("prepare {text:?}"))?;
            context.edit(&key, |dir| dir.file("own", text).map(drop))?;
        }
        for text in &names {
            let tree = context.tree(&name(text))?;
            ensure!(
                tree.node("own")?.size == text.len() as u64,
                "{text:?} shows another's"
            );
        }
        ensure!(
            context.listed()?.len() == names.len(),
            "{:?}",
            context.listed()?
        );
        for text in [
            "",
            ".",
            "..",
            "a/..",
            "/a",
            "a//b",
            &"x".repeat(256),
            "a\0b",
        ] {
            let refused = SnapshotName::new(text);
            let error = expect_kind(refused, ErrorKind::InvalidInput, &format!("{text:?}"))?;
            ensure!(error.hint_text().is_some(), "{text:?}: no way out is told");
        }
        expect_kind(
            SnapshotName::from_bytes(b"\xff"),
            ErrorKind::InvalidInput,
            "not UTF-8",
        )
        .map(drop)
    },
};
