//! Freezing snapshots.

use crate::cases::samples;
use crate::model::operation::{Acl, AclKind};
use crate::prelude::*;

/// Upstream: `Basic` of containerd: a life from nothing to a view, and back.
pub(crate) const BASIC_LIFE: Case = Case {
    name: "basic_life",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let (active, base) = (name("extract-1"), name("sha256:0001"));
        context.prepare(&active, None)?;
        context.edit(&active, samples::plain)?;
        context.commit(&active, &base)?;
        expect_kind(
            context.stat(&active),
            ErrorKind::NotFound,
            "the key after commit",
        )?;
        let (second, top) = (name("extract-2"), name("sha256:0002"));
        context.prepare(&second, Some(&base))?;
        context.edit(&second, |dir| {
            dir.file("etc/hosts", "new")?.unlink("run.sh").map(drop)
        })?;
        context.commit(&second, &top)?;
        let view = name("look");
        context.view(&view, Some(&top))?;
        let tree = context.tree(&view)?;
        ensure!(
            tree.get("run.sh").is_none() && tree.node("etc/hosts")?.size == 3,
            "wrong content"
        );
        ensure!(
            context.listed()? == ["look", "sha256:0001", "sha256:0002"],
            "{:?}",
            context.listed()?
        );
        expect_kind(
            context.remove(&base),
            ErrorKind::InUse,
            "remove of the base",
        )?;
        expect_kind(
            context.remove(&top),
            ErrorKind::InUse,
            "remove of what is viewed",
        )?;
        for gone in [&view, &top, &base] {
            context.remove(gone)?;
        }
        ensure!(context.list()?.is_empty(), "left: {:?}", context.listed()?);
        Ok(())
    },
};

/// Law 2: nothing done through a child changes another layer.
pub(crate) const PARENT_IS_IMMUTABLE: Case = Case {
    name: "parent_is_immutable",
    group: Group::Lifecycle,
    needs: &[
        Capability::Ownership,
        Capability::Devices,
        Capability::TrustedXattrs,
    ],
    run: |context| {
        let base = context.layer(None, samples::rich)?;
        let middle = context.layer(Some(&base), |dir| {
            dir.file("etc/hosts", "middle")?
                .unlink("owned")?
                .dir("dir")?
                .file("dir/f", "1")?;
            Ok(())
        })?;
        let trees = [context.tree(&base)?, context.tree(&middle)?];
        let key = context.active(Some(&middle))?;
        context.edit(&key, |dir| {
            dir.append("etc/hosts", "x")?
                .truncate("usr/share/doc/a", 3)?
                .mode("dir/f", 0o600)?;
            dir.overwrite("hole", 10, b"no hole")?.file("dir/g", "2")?;
            dir.owner("suid", Owner { uid: 9, gid: 9 })?
                .remove_xattr("tagged", "user.text")?;
            dir.xattr("listed", "user.more", "1")?.time("late", 1, 1)?;
            dir.hard_link("one", "four")?.append("one", "more")?;
            dir.remove_tree("usr")?
                .rename("run.sh", "moved")?
                .unlink("null")?;
            dir.file("through", "1")?.mode(".", 0o711)?;
            Ok(())
        })?;
        let check = |context: &mut Context, when: &str| -> Result<()> {
            for (layer, tree) in [&base, &middle].into_iter().zip(&trees) {
                context.tree(layer)?.expect_equal(tree, when)?;
            }
            Ok(())
        };
        check(context, "after writes to a child")?;
        let top = context.commit_fresh(&key)?;
        check(context, "after the child's commit")?;
        context.remove(&top)?;
        context.reclaim()?;
        check(context, "after the child's removal")?;
        context.reopen()?;
        check(context, "after opening again")
    },
};

pub(crate) const COMMIT_OF_MOUNTED_IS_IN_USE: Case = Case {
    name: "commit_of_mounted_is_in_use",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let key = context.active(None)?;
        let live = context.mount(&key)?;
        live.file("f", "1")?;
        let frozen = name("frozen");
        expect_kind(
            context.commit(&key, &frozen),
            ErrorKind::InUse,
            "commit while mounted",
        )?;
        live.file("g", "2")?;
        live.unmount()?;
        context.commit(&key, &frozen)?;
        let tree = context.tree(&frozen)?;
        ensure!(tree.paths() == ["f", "g"], "{:?}", tree.paths());
        Ok(())
    },
};

/// Upstream: what `CommitNotExist` of containerd's metadata suite means to check and does not.
pub(crate) const COMMIT_REFUSALS: Case = Case {
    name: "commit_refusals",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |_| Ok(()))?;
        let key = context.active(Some(&base))?;
        let other = context.active(Some(&base))?;
        let frozen = name("frozen");
        for taken in [&base, &other] {
            let what = format!("commit as `{taken}`");
            expect_kind(context.commit(&key, taken), ErrorKind::AlreadyExists, &what)?;
        }
        expect_kind(
            context.commit(&base, &frozen),
            ErrorKind::InvalidState,
            "commit of committed",
        )?;
        expect_kind(
            context.commit(&name("nobody"), &frozen),
            ErrorKind::NotFound,
            "of nobody",
        )?;
        expect_kind(context.stat(&frozen), ErrorKind::NotFound, "the name")?;
        ensure!(
            context.stat(&key)?.kind == SnapshotKind::Active,
            "the key is no longer active"
        );
        context.commit(&key, &frozen)?;
        Ok(())
    },
};

pub(crate) const COMMIT_REPLACES_LABELS: Case = Case {
    name: "commit_replaces_labels",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect()
        };
        let key = name("active");
        let first = labels(&[("a", "1"), ("both", "active")]);
        context.prepare_with(
            &key,
            None,
            &PrepareOptions::default().with_labels(first.clone()),
        )?;
        ensure!(
            context.stat(&key)?.labels == first,
            "labels of prepare are lost"
        );
        let second = labels(&[("b", "2"), ("both", "committed")]);
        let options = CommitOptions::default().with_labels(second.clone());
        context.commit_with(&key, &name("frozen"), &options)?;
        let kept = context.stat(&name("frozen"))?.labels;
        ensure!(kept == second, "labels after commit: {kept:?}");
        Ok(())
    },
};

/// Marks in any order, and directories without an entry, mean the same for a parent that comes
/// late: also over several applies to one snapshot.
pub(crate) const LATE_PARENT_ANSWERS_MARKS: Case = Case {
    name: "late_parent_answers_marks",
    group: Group::Lifecycle,
    needs: &[Capability::LateParent],
    run: |context| {
        let base = context.layer(None, |dir| {
            for directory in ["a", "b", "c", "d"] {
                dir.dir(directory)?.mode(directory, 0o750)?;
                dir.file(format!("{directory}/old"), "old")?;
            }
            Ok(())
        })?;
        let bare = || [Entry::dir("a"), Entry::file("a/new", "n")];
        let implied = || Entry::file("a/new", "n");
        let layers: &[&[&[Entry]]] = &[
            &[&[&[Entry::whiteout("a")][..], &bare()].concat()],
            &[&[&bare()[..], &[Entry::whiteout("a")]].concat()],
            &[&[Entry::whiteout("a"), implied()]],
            &[&[implied(), Entry::whiteout("a")]],
            &[&[Entry::opaque("a")]],
            &[&[Entry::opaque("a"), implied()]],
            &[&[implied(), Entry::opaque("a")]],
            &[&[Entry::opaque("a"), Entry::whiteout("a")]],
            &[&[implied(), Entry::dir("a")]],
            &[&[Entry::whiteout("a")], &bare()],
            &[&[implied()], &[Entry::dir("a")]],
            &[&[implied()], &[Entry::whiteout("a")], &[Entry::dir("a")]],
            &[
                &[Entry::whiteout("a/old"), Entry::whiteout("a")],
                &[implied()],
            ],
        ];
        for (number, changesets) in layers.iter().enumerate() {
            let (serial, late) = (context.active(Some(&base))?, context.active(None)?);
            for changeset in *changesets {
                let changeset = archive(changeset);
                context.apply(&serial, &changeset)?;
                context.apply(&late, &changeset)?;
            }
            let expected = context.tree(&serial)?;
            let name = context.fresh_name("late");
            let options = CommitOptions::default().with_late_parent(base.clone());
            context.commit_with(&late, &name, &options)?;
            context
                .tree(&name)?
                .expect_equal(&expected, &format!("layer {number} with a late parent"))?;
        }
        Ok(())
    },
};

/// What somebody does in a mount.
type Edit = fn(&Dir) -> Result<()>;

/// Directories that no entry describes are like the parent's, the root too, whatever was made in
/// them; those made for a mark alone get nothing from where they are made.
pub(crate) const LATE_PARENT_GIVES_ATTRIBUTES: Case = Case {
    name: "late_parent_gives_attributes",
    group: Group::Lifecycle,
    needs: &[Capability::LateParent],
    run: |context| {
        let inherited = Acl {
            owner: 7,
            named: (1000, 7),
            group: 5,
            mask: 7,
            other: 5,
        };
        let (key, list) = (AclKind::Default.attribute(), inherited.encode());
        let base = context.layer(None, |dir| {
            dir.mode(".", 0o700)?.xattr(".", "user.root", "1")?;
            dir.dirs("d/e")?.file("d/e/f", "1")?.mode("d/e", 0o711)?;
            dir.xattr("d", key, &list)?;
            dir.dir("secret")?
                .mode("secret", 0o700)?
                .file("secret/old", "1")?;
            Ok(())
        })?;
        let deep = archive(&[Entry::whiteout("d/e/f")]);
        let sealed = archive(&[Entry::opaque("d/e")]);
        let root = archive(&[Entry::dir(".").xattr(key, &list), Entry::whiteout("d/e/f")]);
        let implied = archive(&[Entry::file("secret/new", "n")]);
        let layers: &[(&[u8], Edit)] = &[
            (&deep, |_| Ok(())),
            (&sealed, |_| Ok(())),
            (&root, |_| Ok(())),
            (&implied, |_| Ok(())),
            (&implied, |dir| dir.file("secret/log", "l").map(drop)),
            (&implied, |dir| dir.xattr(".", "user.more", "2").map(drop)),
        ];
        for (number, (changeset, edit)) in layers.iter().enumerate() {
            let (serial, late) = (context.active(Some(&base))?, context.active(None)?);
            for key in [&serial, &late] {
                context.apply(key, changeset)?;
                context.edit(key, |dir| {
                    edit(dir)?;
                    if dir.has("secret/log") {
                        // Times of now differ.
                        dir.time("secret/log", 5, 5)?.time("secret", 5, 5)?;
                    }
                    Ok(())
                })?;
            }
            let expected = context.tree(&serial)?;
            let name = context.fresh_name("late");
            let options = CommitOptions::default().with_late_parent(base.clone());
            context.commit_with(&late, &name, &options)?;
            let text = format!("layer {number} with a late parent (found != expected)");
            context.tree(&name)?.expect_equal(&expected, &text)?;
        }
        Ok(())
    },
};

/// A plan asked for before the commit mounts nothing after it: the layer could be written to.
pub(crate) const PLAN_ENDS_WITH_ITS_KEY: Case = Case {
    name: "plan_ends_with_its_key",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        for parent in [None, Some(&base)] {
            let key = context.active(parent)?;
            let plan = context.wait(context.driver().mounts(&key))?;
            let frozen = context.commit_fresh(&key)?;
            let target = context.path("target");
            ensure!(
                crate::live::Live::new(&plan, target).is_err(),
                "the plan of a committed snapshot was mounted"
            );
            context.remove(&frozen)?;
        }
        Ok(())
    },
};

/// Layers unpacked without their parents mean what they mean in order.
pub(crate) const LATE_PARENT_EQUALS_SERIAL: Case = Case {
    name: "late_parent_equals_serial",
    group: Group::Lifecycle,
    needs: &[Capability::LateParent],
    run: |context| {
        let base = context.layer(None, |dir| {
            samples::plain(dir)?;
            dir.dirs("old/deep")?
                .file("old/deep/f", "1")?
                .file("old/g", "2")?;
            dir.dir("kept")?.file("kept/f", "1")?;
            Ok(())
        })?;
        let changeset = archive(&[
            Entry::dir("etc").mode(0o700),
            Entry::whiteout("etc/passwd"),
            Entry::file("etc/shadow", "s").mode(0o600),
            Entry::dir("old"),
            Entry::opaque("old"),
            Entry::file("old/new", "n"),
            Entry::whiteout("run.sh"),
            Entry::file("kept/added", "a"),
            Entry::file("usr", "a file now"),
        ]);
        let serial = context.applied_layer(Some(&base), &changeset)?;
        let key = context.active(None)?;
        context.apply(&key, &changeset)?;
        let late = name("late");
        let options = CommitOptions::default().with_late_parent(base.clone());
        context.commit_with(&key, &late, &options)?;
        ensure!(
            context.stat(&late)?.parent.as_ref() == Some(&base),
            "the parent is not recorded"
        );
        let expected = context.tree(&serial)?;
        context
            .tree(&late)?
            .expect_equal(&expected, "committed with a late parent")?;
        expect_kind(
            context.remove(&base),
            ErrorKind::InUse,
            "remove of the late parent",
        )?;
        let diff = context.checked_diff(Some(&base), &late)?;
        ensure!(
            diff == context.diff(Some(&base), &serial)?,
            "the diffs differ"
        );
        let (key, active) = (context.active(None)?, context.active(None)?);
        for (parent, kind) in [
            (name("nobody"), ErrorKind::NotFound),
            (active, ErrorKind::InvalidState),
        ] {
            let options = CommitOptions::default().with_late_parent(parent);
            let refused = context.commit_with(&key, &name("refused"), &options);
            expect_kind(refused, kind, "a late parent that is none")?;
        }
        Ok(())
    },
};
