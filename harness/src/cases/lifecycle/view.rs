//! Read-only looks at committed snapshots.

use crate::cases::samples;
use crate::prelude::*;
use rustix::io::Errno;

/// Upstream: `ViewReadonly` of containerd. Law 15.
pub(crate) const VIEW_IS_READ_ONLY: Case = Case {
    name: "view_is_read_only",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let top = context.layer(Some(&base), |dir| dir.file("top", "1").map(drop))?;
        for parent in [None, Some(&base), Some(&top)] {
            let shown = match parent {
                Some(parent) => parent.clone(),
                None => context.active(None)?,
            };
            let expected = context.tree(&shown)?;
            let key = context.fresh_name("view");
            context.view(&key, parent)?;
            let live = context.mount(&key)?;
            let what = format!("a view of {parent:?}");
            live.tree()?.expect_equal(&expected, &what)?;
            expect_read_only(live.file("new", "x"), &format!("{what}: create"))?;
            expect_read_only(live.mode(".", 0o700), &format!("{what}: chmod"))?;
            if parent.is_some() {
                expect_read_only(live.file("etc/hosts", "x"), &format!("{what}: write"))?;
                expect_read_only(live.rename("etc", "moved"), &format!("{what}: rename"))?;
                expect_read_only(live.unlink("run.sh"), &format!("{what}: unlink"))?;
                expect_read_only(live.time("etc", 1, 0), &format!("{what}: set times"))?;
            }
            live.tree()?
                .expect_equal(&expected, &format!("{what} after refused writes"))?;
            live.unmount()?;
            context.remove(&key)?;
        }
        Ok(())
    },
};

fn expect_read_only(result: Result<&Dir>, what: &str) -> Result<()> {
    let Err(error) = result else {
        bail!("{what}: it was allowed");
    };
    let errno = error.chain().find_map(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.and_then(Errno::from_io_error)
            .or_else(|| cause.downcast_ref::<Errno>().copied())
    });
    ensure!(
        errno == Some(Errno::ROFS),
        "{what}: {errno:?} and not EROFS: {error:#}"
    );
    Ok(())
}

pub(crate) const VIEW_CANNOT_BE_COMMITTED: Case = Case {
    name: "view_cannot_be_committed",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let key = name("view");
        context.view(&key, Some(&base))?;
        let committed = context.commit(&key, &name("frozen"));
        expect_kind(committed, ErrorKind::InvalidState, "commit of a view")?;
        expect_kind(
            context.stat(&name("frozen")),
            ErrorKind::NotFound,
            "its name",
        )?;
        context.remove(&key)?;
        Ok(())
    },
};

/// A view shows what its parent shows, also to a diff.
pub(crate) const DIFF_OF_VIEW: Case = Case {
    name: "diff_of_view",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let top = context.layer(Some(&base), |dir| dir.file("top", "1").map(drop))?;
        let child = context.active(Some(&top))?;
        context.edit(&child, |dir| dir.file("child", "2").map(drop))?;
        let nothing = context.fresh_name("view");
        context.view(&nothing, None)?;
        ensure!(
            context.changes(None, &nothing)?.is_empty(),
            "a view of nothing differs from nothing"
        );
        for parent in [&base, &top] {
            let view = context.fresh_name("view");
            context.view(&view, Some(parent))?;
            for lower in [None, Some(&base)] {
                ensure!(
                    context.diff(lower, &view)? == context.diff(lower, parent)?,
                    "a view of {parent} differs from {lower:?} in another way than its parent"
                );
            }
            ensure!(
                context.changes(Some(parent), &view)?.is_empty(),
                "a view of {parent} differs from it"
            );
            ensure!(
                context.diff(Some(&view), &child)? == context.diff(Some(parent), &child)?,
                "a view of {parent} below is another tree than its parent"
            );
        }
        Ok(())
    },
};
