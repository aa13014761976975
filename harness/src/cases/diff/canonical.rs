//! The canonical form: the same edits give the same bytes.

use crate::cases::samples;
use crate::cases::stack::build;
use crate::oracle;
use crate::prelude::*;

/// Edits that set every time, so that "now" is nowhere.
fn first(dir: &Dir) -> Result<()> {
    dir.dirs("a/b")?
        .file("a/b/f", "content")?
        .file("a/g", vec![7; 2000])?
        .symlink("a/l", "b/f")?;
    dir.hard_link("a/g", "a/h")?
        .xattr("a/b", "user.x", "1")?
        .file("z", "")?
        .mode("z", 0o600)?;
    for (number, path) in ["a/b/f", "a/g", "a/l", "z", "a/b", "a"].iter().enumerate() {
        dir.time(path, 1_500_000_000 + number as i64, number as u32 * 1000)?;
    }
    Ok(())
}

fn second(dir: &Dir) -> Result<()> {
    dir.remove_tree("a/b")?
        .dir("a/b")?
        .file("a/b/new", "n")?
        .unlink("z")?
        .symlink("z", "a")?;
    dir.append("a/g", "!")?;
    if !dir.has("a/h") {
        bail!("the link is gone");
    }
    // A driver that splits links on the first write shows two files; this makes them one again.
    dir.unlink("a/h")?.hard_link("a/g", "a/h")?;
    for path in ["a/b/new", "a/g", "z", "a/b", "a"] {
        dir.time(path, 1_600_000_000, 5)?;
    }
    Ok(())
}

/// The bytes are those of the rules, and the same from another root and another order.
pub(crate) const DIFF_IS_CANONICAL: Case = Case {
    name: "diff_is_canonical",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let mut elsewhere = context.elsewhere()?;
        let mut diffs = Vec::new();
        for context in [&mut *context, &mut elsewhere] {
            let base = context.layer(None, first)?;
            let top = context.layer(Some(&base), second)?;
            diffs.push((context.diff(None, &base)?, context.diff(Some(&base), &top)?));
            let (base_diff, top_diff) = &diffs[diffs.len() - 1];
            oracle::expect_same_archive(base_diff, &context.expected_diff(None, &base)?)?;
            oracle::expect_same_archive(top_diff, &context.expected_diff(Some(&base), &top)?)?;
        }
        ensure!(
            diffs[0] == diffs[1],
            "the same edits gave other bytes in another root"
        );
        // Golden: made once by an independent program from the same edits on a plain directory.
        let given = [&diffs[0].0, &diffs[0].1].map(|diff| oracle::diff_id(diff).to_string());
        ensure!(given == GOLDEN, "DiffIds are {given:?} and not {GOLDEN:?}");
        elsewhere.shut()
    },
};

const GOLDEN: [&str; 2] = [
    "sha256:16b8b0ed5ba3b59374811dfbf73903507a16c527c6beaf5d42b813ada26e70fc",
    "sha256:6518265873a0314a2dfd94c94e74564ab59403f389d7c2e941c6cc747b25f1d5",
];

/// The edits of the golden digests, for the test that makes the trees again.
#[cfg(test)]
pub(crate) fn golden_edits() -> [(crate::cases::stack::Edit, &'static str); 2] {
    [(first, GOLDEN[0]), (second, GOLDEN[1])]
}

/// Law 3, on a tree that holds everything.
pub(crate) const APPLY_OF_DIFF_IS_IDENTITY: Case = Case {
    name: "apply_of_diff_is_identity",
    group: Group::Diff,
    needs: &[
        Capability::Ownership,
        Capability::Devices,
        Capability::TrustedXattrs,
    ],
    run: |context| {
        let base = context.layer(None, samples::rich)?;
        let top = context.layer(Some(&base), |dir| {
            dir.remove_tree("usr")?
                .dir("usr")?
                .file("usr/f", "1")?
                .unlink("null")?;
            dir.mode("suid", 0o4711)?
                .owner("link", Owner { uid: 0, gid: 0 })?;
            dir.xattr("capable", "user.more", "1")?
                .unlink("etc/three")?;
            dir.rename("fifo", "tmp/fifo")?
                .file("late", "written")
                .map(drop)
        })?;
        let full = context.checked_diff(None, &top)?;
        let step = context.checked_diff(Some(&base), &top)?;
        let expected = context.tree(&top)?;
        let from_nothing = context.applied_layer(None, &full)?;
        context
            .tree(&from_nothing)?
            .expect_equal(&expected, "the whole diff on nothing")?;
        let on_base = context.applied_layer(Some(&base), &step)?;
        context
            .tree(&on_base)?
            .expect_equal(&expected, "the step on the base")?;
        ensure!(
            context.diff(Some(&base), &on_base)? == step,
            "the diff of the copy differs"
        );
        ensure!(
            context.diff(Some(&top), &on_base)?.len() == 1024,
            "equal trees have a diff"
        );
        Ok(())
    },
};

/// Upstream: `DiffApply` of graphtest.
pub(crate) const DIFF_OF_MANY_FILES_APPLIES: Case = Case {
    name: "diff_of_many_files_applies",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let write = |dir: &Dir, seed: &str| -> Result<()> {
            for number in 0..100 {
                dir.file(
                    format!("file-{number}"),
                    format!("{seed} {number}").repeat(50),
                )?;
            }
            Ok(())
        };
        let base = context.layer(None, |dir| {
            write(dir, "lower")?;
            dir.file("gone", "1")?
                .dir("gone-dir")?
                .file("gone-dir/f", "1")
                .map(drop)
        })?;
        let top = context.layer(Some(&base), |dir| {
            write(dir, "upper")?;
            dir.unlink("gone")?.remove_tree("gone-dir").map(drop)
        })?;
        let diff = context.checked_diff(Some(&base), &top)?;
        let key = context.active(Some(&base))?;
        let applied = context.apply(&key, &diff)?;
        ensure!(
            applied.size.0 == diff.len() as u64,
            "size {} and not {}",
            applied.size.0,
            diff.len()
        );
        let expected = context.tree(&top)?;
        context
            .tree(&key)?
            .expect_equal(&expected, "the applied copy")
    },
};

pub(crate) const DIFF_OF_UNRELATED_SNAPSHOTS: Case = Case {
    name: "diff_of_unrelated_snapshots",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let left = context.layer(Some(&base), |dir| {
            dir.file("l", "1")?.unlink("lib").map(drop)
        })?;
        let right = context.layer(Some(&base), |dir| {
            dir.file("r", "1")?.file("etc/hosts", "").map(drop)
        })?;
        let alone = context.layer(None, |dir| dir.dir("etc")?.file("etc/hosts", "x").map(drop))?;
        for (lower, upper) in [
            (&left, &right),
            (&right, &base),
            (&base, &alone),
            (&alone, &left),
        ] {
            let diff = context.checked_diff(Some(lower), upper)?;
            let copy = context.applied_layer(Some(lower), &diff)?;
            let expected = context.tree(upper)?;
            context
                .tree(&copy)?
                .expect_equal(&expected, &format!("{lower} to {upper}"))?;
        }
        let over_two = context.layer(Some(&right), |dir| dir.unlink("etc/hosts").map(drop))?;
        context.checked_diff(Some(&base), &over_two).map(drop)
    },
};

pub(crate) const DIFF_OF_ACTIVE_SNAPSHOT: Case = Case {
    name: "diff_of_active_snapshot",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let key = context.active(Some(&base))?;
        context.edit(&key, |dir| dir.file("new", "1")?.unlink("run.sh").map(drop))?;
        let before = context.checked_diff(Some(&base), &key)?;
        let layer = context.commit_fresh(&key)?;
        ensure!(
            context.diff(Some(&base), &layer)? == before,
            "commit changed the diff"
        );
        let nobody = name("nobody");
        let refused = context.wait(
            context
                .driver()
                .diff(None, &nobody, &DiffOptions::default()),
        );
        expect_kind(refused, ErrorKind::NotFound, "diff of nobody")?;
        let refused = context.wait(context.driver().diff(
            Some(&nobody),
            &base,
            &DiffOptions::default(),
        ));
        expect_kind(refused, ErrorKind::NotFound, "diff against nobody").map(drop)
    },
};

/// `SOURCE_DATE_EPOCH`: later times are lowered, others and everything else stay.
pub(crate) const DIFF_CLAMPS_TIMES: Case = Case {
    name: "diff_clamps_times",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            dir.dir("d")?
                .file("d/early", "1")?
                .time("d/early", 1000, 7)?;
            dir.file("d/late", "2")?
                .time("d/late", 2_000_000_000, 9)?
                .time("d", 2_000_000_000, 0)?;
            Ok(())
        })?;
        let clamped = context.diff_with(
            None,
            &base,
            &DiffOptions::default().with_clamp_mtime(1_000_000),
        )?;
        let copy = context.applied_layer(None, &clamped)?;
        let tree = context.tree(&copy)?;
        for (path, time) in [
            ("d/early", 1_000_000_000_007),
            ("d/late", 1_000_000_000_000_000),
            ("d", 1_000_000_000_000_000),
        ] {
            ensure!(
                tree.node(path)?.mtime == time,
                "`{path}`: {}",
                tree.node(path)?.mtime
            );
        }
        ensure!(
            context.diff(None, &copy)? == clamped,
            "a clamped diff is not canonical"
        );
        Ok(())
    },
};

/// A reader that goes away stops the producer and holds nothing.
pub(crate) const ABANDONED_DIFF_HOLDS_NOTHING: Case = Case {
    name: "abandoned_diff_holds_nothing",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let content = context.generator("abandoned").bytes(16 << 20);
        let base = context.layer(None, |dir| dir.file("big", &content).map(drop))?;
        let options = DiffOptions::default();
        let first = context.wait(async {
            use tokio::io::AsyncReadExt as _;
            let mut stream = context.driver().diff(None, &base, &options).await?;
            let mut start = [0; 512];
            stream.read_exact(&mut start).await?;
            anyhow::Ok(start)
        })?;
        ensure!(
            first.starts_with(b"big\0") || first.starts_with(b"./"),
            "{:?}",
            &first[..16]
        );
        let whole = context.diff(None, &base)?;
        ensure!(whole.len() > content.len(), "the next diff is short");
        context.remove(&base)?;
        Ok(())
    },
};

/// Names and link targets that need more than a header's field.
pub(crate) const LONG_NAMES_NEED_PAX: Case = Case {
    name: "long_names_need_pax",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let most = context.capabilities().limits.max_name.unwrap_or(255);
        if most >= 255 {
            build(context, &[make_long::<255>, remove_long::<255>]).map(drop)
        } else {
            build(context, &[make_long::<242>, remove_long::<242>]).map(drop)
        }
    },
};

fn make_long<const BYTES: usize>(dir: &Dir) -> Result<()> {
    for length in [99, 100, 101, BYTES] {
        dir.file("n".repeat(length), "1")?;
        dir.symlink(format!("link-{length}"), "t".repeat(length))?;
    }
    // The slash counts: 99 letters fit, 100 do not.
    dir.dir("d".repeat(99))?.dir("e".repeat(100))?;
    dir.symlink("far", "t/".repeat(500))?
        .file("e".repeat(100) + "/f", "1")?;
    dir.hard_link("n".repeat(BYTES), "a-link").map(drop)
}

fn remove_long<const BYTES: usize>(dir: &Dir) -> Result<()> {
    dir.unlink("n".repeat(BYTES))?
        .unlink("n".repeat(99))?
        .remove_tree("d".repeat(99))
        .map(drop)
}

/// Law 7: such a name cannot be carried, and the error says which.
pub(crate) const WHITEOUT_NAME_CANNOT_BE_CARRIED: Case = Case {
    name: "whiteout_name_cannot_be_carried",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let key = context.active(None)?;
        let live = context.mount(&key)?;
        live.dir("d")?;
        let made = live.file("d/.wh.name", "1").is_ok();
        live.unmount()?;
        if !made {
            // A union that keeps these names for itself never has one to carry.
            return context.checked_diff(None, &key).map(drop);
        }
        match context.diff(None, &key) {
            Ok(_) => bail!("`d/.wh.name` was written into a changeset"),
            Err(error) => {
                let text = format!("{error:#}");
                ensure!(
                    text.contains(".wh.name"),
                    "the error does not name it: {text}"
                );
                Ok(())
            }
        }
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracle_gives_the_golden_digests() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::new(place.path());
        dir.mode(".", 0o755).unwrap();
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let mut lower = None;
        for (edit, expected) in golden_edits() {
            edit(&dir).unwrap();
            let upper = Tree::read_with_contents(dir.path()).unwrap();
            let diff = oracle::canonical_diff(lower.as_ref(), &upper).unwrap();
            assert_eq!(oracle::diff_id(&diff).to_string(), expected);
            lower = Some(upper);
        }
    }
}
