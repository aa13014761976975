//! Deleting snapshots.

use crate::cases::samples;
use crate::prelude::*;

/// Upstream: `RemoveIntermediateSnapshot` of containerd. Law 9.
pub(crate) const REMOVE_OF_PARENT_IS_IN_USE: Case = Case {
    name: "remove_of_parent_is_in_use",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let middle = context.layer(Some(&base), |dir| dir.file("m", "").map(drop))?;
        let active = context.active(Some(&middle))?;
        let view = name("view");
        context.view(&view, Some(&base))?;
        let expected = context.tree(&active)?;
        expect_kind(
            context.remove(&base),
            ErrorKind::InUse,
            "remove of the base",
        )?;
        expect_kind(
            context.remove(&middle),
            ErrorKind::InUse,
            "remove of the middle",
        )?;
        context
            .tree(&active)?
            .expect_equal(&expected, "after refused removals")?;
        context.remove(&active)?;
        context.remove(&middle)?;
        expect_kind(
            context.remove(&base),
            ErrorKind::InUse,
            "remove of what is viewed",
        )?;
        context.remove(&view)?;
        context.remove(&base)?;
        ensure!(context.list()?.is_empty(), "left: {:?}", context.listed()?);
        Ok(())
    },
};

pub(crate) const REMOVE_OF_MOUNTED_IS_IN_USE: Case = Case {
    name: "remove_of_mounted_is_in_use",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let (active, view) = (name("active"), name("view"));
        context.prepare(&active, Some(&base))?;
        context.view(&view, Some(&base))?;
        for key in [&active, &view] {
            let live = context.mount(key)?;
            let what = format!("remove of `{key}` while mounted");
            expect_kind(context.remove(key), ErrorKind::InUse, &what)?;
            ensure!(live.has("etc/hosts"), "{what}: its content is gone");
            live.unmount()?;
            context.remove(key)?;
        }
        Ok(())
    },
};

pub(crate) const REMOVE_ABSENT: Case = Case {
    name: "remove_absent",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        expect_kind(
            context.remove(&name("nobody")),
            ErrorKind::NotFound,
            "remove of nobody",
        )?;
        let key = context.active(None)?;
        context.remove(&key)?;
        expect_kind(context.remove(&key), ErrorKind::NotFound, "remove twice").map(drop)
    },
};

/// Upstream: `Remove` of containerd: one name through all kinds.
pub(crate) const NAME_REUSE: Case = Case {
    name: "name_reuse",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let again = name("again");
        for _ in 0..2 {
            context.prepare(&again, Some(&base))?;
            context.edit(&again, |dir| dir.file("mark", "1").map(drop))?;
            context.remove(&again)?;
            context.view(&again, Some(&base))?;
            ensure!(
                context.tree(&again)?.get("mark").is_none(),
                "the removed snapshot shows"
            );
            context.remove(&again)?;
            let key = context.active(None)?;
            context.commit(&key, &again)?;
            ensure!(
                context.tree(&again)?.nodes().len() == 1,
                "the removed snapshot shows"
            );
            context.remove(&again)?;
        }
        // A key may come back as the name of its own commit.
        context.prepare(&again, None)?;
        context.commit(&again, &again)?;
        ensure!(
            context.stat(&again)?.kind == SnapshotKind::Committed,
            "not committed"
        );
        Ok(())
    },
};

/// Upstream: `RemoveAfterCommit`, unwritten in containerd: the key of a commit is nobody's.
pub(crate) const REMOVE_AFTER_COMMIT: Case = Case {
    name: "remove_after_commit",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let (key, frozen) = (name("key"), name("frozen"));
        context.prepare(&key, None)?;
        context.edit(&key, samples::plain)?;
        context.commit(&key, &frozen)?;
        let expected = context.tree(&frozen)?;
        expect_kind(
            context.remove(&key),
            ErrorKind::NotFound,
            "remove of the key",
        )?;
        context.prepare(&key, Some(&frozen))?;
        context.remove(&key)?;
        context.reclaim()?;
        context
            .tree(&frozen)?
            .expect_equal(&expected, "after the key was used again")?;
        context.remove(&frozen)?;
        expect_kind(
            context.stat(&frozen),
            ErrorKind::NotFound,
            "the committed one",
        )
        .map(drop)
    },
};

/// Upstream: `RemoveInWalk`, unwritten in containerd, where it deadlocks.
pub(crate) const REMOVE_WHILE_LISTING: Case = Case {
    name: "remove_while_listing",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        for _ in 0..5 {
            context.active(None)?;
        }
        for info in context.list()? {
            context.remove(&info.name)?;
        }
        ensure!(context.list()?.is_empty(), "left: {:?}", context.listed()?);
        Ok(())
    },
};

/// Upstream: `CloseTwice` of containerd.
pub(crate) const CLOSE_TWICE: Case = Case {
    name: "close_twice",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let driver = context.driver().clone();
        context.wait(driver.close())?;
        context.wait(driver.close())?;
        drop(driver);
        context.reopen()?;
        ensure!(
            context.stat(&base)?.kind == SnapshotKind::Committed,
            "the layer is gone"
        );
        Ok(())
    },
};
