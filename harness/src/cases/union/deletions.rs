//! Names that are gone, and names that come back.

use crate::cases::samples;
use crate::cases::stack::build;
use crate::prelude::*;

/// Upstream: `DeletedFilesInChildSnapshot` of containerd.
pub(crate) const DELETED_FILES_STAY_DELETED: Case = Case {
    name: "deleted_files_stay_deleted",
    group: Group::Union,
    needs: &[],
    run: |context| {
        let stack = build(
            context,
            &[
                samples::plain,
                |dir| {
                    dir.unlink("etc/hosts")?
                        .unlink("lib")?
                        .remove_tree("usr/share")
                        .map(drop)
                },
                |dir| dir.file("other", "1").map(drop),
                |dir| dir.file("other", "2").map(drop),
            ],
        )?;
        for gone in ["etc/hosts", "lib", "usr/share", "usr/share/doc/a"] {
            ensure!(stack.top_tree().get(gone).is_none(), "`{gone}` came back");
        }
        Ok(())
    },
};

/// Upstream: `RemoveDirectoryInLowerLayer` of containerd (docker#25244). Law 4, one layer.
pub(crate) const DIRECTORY_MADE_AGAIN_IS_EMPTY: Case = Case {
    name: "directory_made_again_is_empty",
    group: Group::Union,
    needs: &[],
    run: |context| {
        let stack = build(
            context,
            &[
                |dir| {
                    dir.dirs("a/deep/er")?
                        .file("a/f", "1")?
                        .file("a/deep/g", "2")?;
                    dir.file("a/deep/er/h", "3").map(drop)
                },
                |dir| dir.remove_tree("a")?.dir("a").map(drop),
                |dir| dir.file("a/new", "4").map(drop),
                |dir| dir.dir("a/deep").map(drop),
            ],
        )?;
        let paths = stack.top_tree().paths();
        ensure!(paths == ["a", "a/deep", "a/new"], "{paths:?}");
        Ok(())
    },
};

/// Law 4 over two layers (buildkit#2614): gone in one, made again in the next.
pub(crate) const DIRECTORY_MADE_AGAIN_LATER_IS_EMPTY: Case = Case {
    name: "directory_made_again_later_is_empty",
    group: Group::Union,
    needs: &[],
    run: |context| {
        let stack = build(
            context,
            &[
                |dir| {
                    dir.dirs("a/b")?
                        .file("a/b/c", "1")?
                        .file("a/d", "2")
                        .map(drop)
                },
                |dir| dir.remove_tree("a").map(drop),
                |dir| dir.dir("a")?.file("a/e", "3").map(drop),
                |dir| dir.dir("a/b").map(drop),
            ],
        )?;
        let paths = stack.top_tree().paths();
        ensure!(paths == ["a", "a/b", "a/e"], "{paths:?}");
        Ok(())
    },
};

/// Law 6: marks below marks, and again above them.
pub(crate) const MARKS_NEST: Case = Case {
    name: "marks_nest",
    group: Group::Union,
    needs: &[],
    run: |context| {
        build(
            context,
            &[
                |dir| {
                    dir.dirs("a/b/c")?
                        .file("a/b/c/d", "1")?
                        .file("a/b/x", "1")?;
                    dir.file("a/y", "1").map(drop)
                },
                |dir| {
                    dir.remove_tree("a/b")?
                        .dir("a/b")?
                        .file("a/b/x", "2")
                        .map(drop)
                },
                |dir| {
                    dir.unlink("a/b/x")?
                        .dir("a/b/c")?
                        .file("a/b/c/e", "3")
                        .map(drop)
                },
                |dir| dir.remove_tree("a")?.dir("a")?.file("a/y", "4").map(drop),
                |dir| dir.unlink("a/y")?.dirs("a/b/c").map(drop),
            ],
        )
        .map(drop)
    },
};

pub(crate) const FILE_COMES_AND_GOES: Case = Case {
    name: "file_comes_and_goes",
    group: Group::Union,
    needs: &[],
    run: |context| {
        build(
            context,
            &[
                |dir| dir.file("f", "1").map(drop),
                |dir| dir.unlink("f").map(drop),
                |dir| dir.file("f", "2")?.mode("f", 0o755).map(drop),
                |dir| dir.unlink("f")?.file("f", "3").map(drop),
                // Made and removed in one layer: nothing.
                |dir| dir.file("g", "1")?.unlink("g").map(drop),
                |dir| dir.unlink("f").map(drop),
            ],
        )
        .map(drop)
    },
};

/// Upstream: `Echo` of graphtest: nested directories, deleted at a depth and made again.
pub(crate) const ECHO_OF_NESTED_CHANGES: Case = Case {
    name: "echo_of_nested_changes",
    group: Group::Union,
    needs: &[],
    run: |context| {
        const DEPTH: usize = 10;
        let path = |depth: usize| -> String {
            (0..=depth)
                .map(|level| format!("d{level}"))
                .collect::<Vec<_>>()
                .join("/")
        };
        let base = context.layer(None, |dir| {
            dir.dirs(path(DEPTH - 1))?;
            for depth in 0..DEPTH {
                dir.file(format!("{}/f", path(depth)), format!("{depth}"))?;
            }
            Ok(())
        })?;
        for depth in 0..DEPTH {
            let gone = context.layer(Some(&base), |dir| dir.remove_tree(path(depth)).map(drop))?;
            let again = context.layer(Some(&gone), |dir| {
                dir.dir(path(depth))?
                    .file(format!("{}/f", path(depth)), "echo")
                    .map(drop)
            })?;
            let tree = context.tree(&again)?;
            let below = tree.get(path(depth + 1).as_str());
            ensure!(
                below.is_none(),
                "depth {depth}: what was deleted shows again"
            );
            let changes = context.changes(Some(&gone), &again)?;
            let added = changes
                .iter()
                .filter(|change| change.kind == ChangeKind::Added)
                .count();
            ensure!(
                added == 2 && changes.len() == 2 + depth,
                "depth {depth}: {changes:?}"
            );
            let changes = context.changes(Some(&base), &gone)?;
            let last = changes.last().context("no changes")?;
            ensure!(
                last.kind == ChangeKind::Deleted && changes.len() == 1 + depth,
                "depth {depth}: {changes:?}"
            );
            context.checked_diff(Some(&base), &again)?;
        }
        Ok(())
    },
};
