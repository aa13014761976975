//! Hard links in layers and their diffs. Law 13.

use crate::prelude::*;

/// Groups made within one layer go through its diff whole.
pub(crate) const LINK_GROUPS_ARE_KEPT: Case = Case {
    name: "link_groups_are_kept",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let stack = crate::cases::stack::build(
            context,
            &[
                |dir| {
                    dir.dirs("d/e")?
                        .file("d/a", "1")?
                        .hard_link("d/a", "d/e/b")?;
                    dir.hard_link("d/a", "0")?.file("alone", "2")?;
                    dir.symlink("s", "t")?
                        .hard_link("s", "s2")?
                        .fifo("p")?
                        .hard_link("p", "p2")
                        .map(drop)
                },
                |dir| dir.unlink("0").map(drop),
                |dir| dir.file("x", "3")?.hard_link("x", "d/x").map(drop),
            ],
        )?;
        let tree = stack.top_tree();
        ensure!(
            tree.node("d/e/b")?.link_leader == tree.node("d/a")?.link_leader,
            "parted"
        );
        ensure!(
            tree.node("x")?.link_leader == tree.node("d/x")?.link_leader,
            "parted"
        );
        Ok(())
    },
};

/// A name added to a lower group, a group written to, a group that falls apart.
pub(crate) const LINK_GROUPS_CHANGE: Case = Case {
    name: "link_groups_change",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            for group in ["grown", "written", "parted", "shrunk"] {
                dir.file(format!("{group}-1"), group)?;
                for number in 2..5 {
                    dir.hard_link(format!("{group}-1"), format!("{group}-{number}"))?;
                }
            }
            Ok(())
        })?;
        let key = context.active(Some(&base))?;
        context.edit(&key, |dir| {
            dir.hard_link("grown-2", "grown-0")?
                .append("written-3", "!")?;
            dir.unlink("parted-2")?
                .unlink("parted-4")?
                .file("parted-2", "parted")?;
            dir.hard_link("parted-2", "parted-4")?
                .unlink("shrunk-1")
                .map(drop)
        })?;
        // Whatever a driver's quirks made of it, the diff is that of what it shows.
        let diff = context.checked_diff(Some(&base), &key)?;
        let copy = context.applied_layer(Some(&base), &diff)?;
        let expected = context.tree(&key)?;
        context
            .tree(&copy)?
            .expect_equal(&expected, "the applied copy")
    },
};

/// A layer never links to a file of another layer, so it means the same whatever lies below.
pub(crate) const GROUP_IS_WRITTEN_WHOLE: Case = Case {
    name: "group_is_written_whole",
    group: Group::Diff,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            dir.file("a", "content")?.file("c", "x").map(drop)
        })?;
        let top = context.layer(Some(&base), |dir| dir.hard_link("a", "b").map(drop))?;
        let diff = context.checked_diff(Some(&base), &top)?;
        let alone = context.applied_layer(None, &diff)?;
        let tree = context.tree(&alone)?;
        ensure!(tree.paths() == ["a", "b"], "{:?}", tree.paths());
        ensure!(
            tree.node("b")?.link_leader == tree.node("a")?.link_leader,
            "parted"
        );
        ensure!(tree.node("a")?.size == 7, "the content is missing");
        Ok(())
    },
};
