//! The list of what changed. Law 14.

use crate::cases::samples;
use crate::oracle;
use crate::prelude::*;

fn expect_exact(
    context: &mut Context,
    lower: Option<&SnapshotName>,
    upper: &SnapshotName,
) -> Result<usize> {
    let lower_tree = lower.map(|lower| context.tree(lower)).transpose()?;
    let upper_tree = context.tree(upper)?;
    let expected = oracle::changes(lower_tree.as_ref(), &upper_tree)?;
    let given = context.changes(lower, upper)?;
    ensure!(
        given == expected,
        "changes are {given:#?} and not {expected:#?}"
    );
    Ok(given.len())
}

pub(crate) const CHANGES_ARE_EXACT: Case = Case {
    name: "changes_are_exact",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            samples::plain(dir)?;
            dir.dirs("a/b/c")?
                .file("a/b/c/d", "1")?
                .dir("a-b")?
                .file("a-b/e", "1")?;
            dir.file("links", "1")?
                .hard_link("links", "a/links")
                .map(drop)
        })?;
        expect_exact(context, None, &base)?;
        let top = context.layer(Some(&base), |dir| {
            dir.append("a/b/c/d", "2")?
                .unlink("a-b/e")?
                .file("a.b", "new")?
                .mode("tmp", 0o700)?;
            dir.remove_tree("usr/share")?
                .unlink("lib")?
                .dir("lib")?
                .hard_link("links", "more")?;
            dir.xattr("run.sh", "user.x", "1").map(drop)
        })?;
        expect_exact(context, Some(&base), &top)?;
        expect_exact(context, Some(&top), &base)?;
        let same = context.layer(Some(&top), |_| Ok(()))?;
        let count = expect_exact(context, Some(&top), &same)?;
        ensure!(count == 0, "an empty layer has {count} changes");
        Ok(())
    },
};

/// Upstream: `Changes` of graphtest: a third modified, a third added, a third deleted.
pub(crate) const CHANGES_OF_THIRDS: Case = Case {
    name: "changes_of_thirds",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            dir.dir("d")?;
            (0..20).try_for_each(|n| dir.file(format!("d/{n}"), format!("{n}")).map(drop))
        })?;
        let top = context.layer(Some(&base), |dir| {
            for number in 0..20 {
                let path = format!("d/{number}");
                match number % 3 {
                    0 => dir.append(&path, "changed")?,
                    1 => dir.file(format!("d/added-{number}"), "1")?,
                    _ => dir.unlink(&path)?,
                };
            }
            Ok(())
        })?;
        let count = expect_exact(context, Some(&base), &top)?;
        ensure!(count == 1 + 7 + 7 + 6, "{count} changes");
        Ok(())
    },
};

/// A copy in the upper layer that equals what lies below is no change.
pub(crate) const UNDONE_EDITS_ARE_NO_CHANGES: Case = Case {
    name: "undone_edits_are_no_changes",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            dir.dir("d")?
                .file("d/f", "content")?
                .file("d/g", "1")?
                .time("d/f", 1000, 5)?;
            dir.time("d/g", 1000, 6)?.time("d", 2000, 7).map(drop)
        })?;
        let key = context.active(Some(&base))?;
        context.edit(&key, |dir| {
            dir.append("d/f", "x")?
                .truncate("d/f", 7)?
                .time("d/f", 1000, 5)?;
            dir.mode("d/g", 0o600)?
                .mode("d/g", 0o644)?
                .time("d/g", 1000, 6)?;
            dir.file("d/tmp", "")?
                .unlink("d/tmp")?
                .time("d", 2000, 7)
                .map(drop)
        })?;
        let count = expect_exact(context, Some(&base), &key)?;
        ensure!(count == 0, "{count} phantom changes");
        ensure!(
            context.checked_diff(Some(&base), &key)?.len() == 1024,
            "the diff is not empty"
        );
        Ok(())
    },
};

/// Size and times set back do not hide a change.
pub(crate) const HIDDEN_CHANGE_IS_FOUND: Case = Case {
    name: "hidden_change_is_found",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            for number in 0..20 {
                let name = format!("f{number}");
                dir.file(&name, "before")?.time(&name, 1000, 5)?;
            }
            dir.time(".", 1, 0).map(drop)
        })?;
        let key = context.active(Some(&base))?;
        context.edit(&key, |dir| {
            for number in 0..10 {
                let name = format!("f{number}");
                dir.overwrite(&name, 0, b"AFTER!")?.time(&name, 1000, 5)?;
            }
            Ok(())
        })?;
        let count = expect_exact(context, Some(&base), &key)?;
        ensure!(count == 10, "{count} changes");
        context.checked_diff(Some(&base), &key)?;
        let layer = context.commit_fresh(&key)?;
        context.checked_diff(Some(&base), &layer).map(drop)
    },
};

/// Changes that only one attribute shows.
pub(crate) const EVERY_ATTRIBUTE_IS_A_CHANGE: Case = Case {
    name: "every_attribute_is_a_change",
    group: Group::Diff,
    // The list names a user.
    needs: &[Capability::Ownership],
    run: |context| {
        let base = context.layer(None, |dir| {
            for name in ["mode", "time", "nanosecond", "xattr", "acl", "same"] {
                dir.file(name, "1")?.time(name, 1000, 5)?;
            }
            dir.dir("dir")?
                .time("dir", 1000, 5)?
                .symlink("link", "a")?
                .time("link", 1000, 5)
                .map(drop)
        })?;
        let key = context.active(Some(&base))?;
        context.edit(&key, |dir| {
            dir.mode("mode", 0o640)?
                .time("time", 1001, 5)?
                .time("nanosecond", 1000, 6)?;
            dir.xattr("xattr", "user.x", "")?.time("dir", 1000, 4)?;
            dir.xattr("acl", "system.posix_acl_access", samples::access_list())?;
            dir.unlink("link")?
                .symlink("link", "b")?
                .time("link", 1000, 5)
                .map(drop)
        })?;
        let count = expect_exact(context, Some(&base), &key)?;
        ensure!(count == 7, "{count} changes and not 7");
        context.checked_diff(Some(&base), &key).map(drop)
    },
};
