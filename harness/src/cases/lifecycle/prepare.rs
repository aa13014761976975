//! Starting snapshots.

use crate::cases::samples;
use crate::prelude::*;

/// Upstream: `CreateEmpty` of graphtest, `RootPermission` of containerd.
pub(crate) const EMPTY_SNAPSHOT_IS_CANONICAL: Case = Case {
    name: "empty_snapshot_is_canonical",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let key = context.active(None)?;
        let tree = context.tree(&key)?;
        ensure!(
            tree.nodes().len() == 1,
            "it is not empty: {:?}",
            tree.paths()
        );
        let root = tree.node("")?;
        ensure!(
            root.kind == Kind::Directory && root.mode == 0o755,
            "mode {:04o}",
            root.mode
        );
        ensure!(
            (root.uid, root.gid) == (0, 0),
            "owner {}:{}",
            root.uid,
            root.gid
        );
        ensure!(root.mtime == 0, "mtime {}", root.mtime);
        ensure!(root.xattrs.is_empty(), "attributes {:?}", root.xattrs);
        let layer = context.commit_fresh(&key)?;
        context
            .tree(&layer)?
            .expect_equal_by(&tree, ALL_TIMES, "committed")
    },
};

const ALL_TIMES: &[Facet] = &[
    Facet::ModificationTime,
    Facet::RootModificationTime,
    Facet::Owner,
    Facet::LinkGroups,
];

/// Upstream: `CreateBase`, `CreateSnap` of graphtest. Law 1.
pub(crate) const CHILD_EQUALS_PARENT: Case = Case {
    name: "child_equals_parent",
    group: Group::Lifecycle,
    needs: &[
        Capability::Ownership,
        Capability::Devices,
        Capability::TrustedXattrs,
    ],
    run: |context| {
        let parent = context.layer(None, samples::rich)?;
        let expected = context.tree(&parent)?;
        let key = context.active(Some(&parent))?;
        context
            .tree(&key)?
            .expect_equal_by(&expected, ALL_TIMES, "an untouched child")?;
        let child = context.commit_fresh(&key)?;
        context
            .tree(&child)?
            .expect_equal_by(&expected, ALL_TIMES, "a committed child")
    },
};

/// Upstream: `CreateFromTemplate` of graphtest: two children of one parent are apart.
pub(crate) const SIBLINGS_ARE_INDEPENDENT: Case = Case {
    name: "siblings_are_independent",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let parent = context.layer(None, samples::plain)?;
        let expected = context.tree(&parent)?;
        let (left, right) = (
            context.active(Some(&parent))?,
            context.active(Some(&parent))?,
        );
        context.edit(&left, |dir| {
            dir.file("etc/hosts", "changed")?
                .unlink("run.sh")?
                .file("new", "")?;
            Ok(())
        })?;
        context
            .tree(&right)?
            .expect_equal(&expected, "the other child")?;
        ensure!(
            context.changes(Some(&parent), &right)?.is_empty(),
            "the other child has changes"
        );
        context.tree(&parent)?.expect_equal(&expected, "the parent")
    },
};

/// Upstream: `PreareViewFailingtest` of containerd.
pub(crate) const PREPARE_TWICE: Case = Case {
    name: "prepare_twice",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let (active, view) = (name("active"), name("view"));
        context.prepare(&active, Some(&base))?;
        context.view(&view, Some(&base))?;
        context.edit(&active, |dir| dir.file("mine", "1").map(drop))?;
        let before = context.list()?;
        for taken in [&active, &view, &base] {
            let what = format!("`{taken}` again");
            expect_kind(
                context.prepare(taken, Some(&base)),
                ErrorKind::AlreadyExists,
                &what,
            )?;
            expect_kind(
                context.prepare(taken, None),
                ErrorKind::AlreadyExists,
                &what,
            )?;
            expect_kind(
                context.view(taken, Some(&base)),
                ErrorKind::AlreadyExists,
                &what,
            )?;
        }
        ensure!(context.list()? == before, "the list changed");
        ensure!(
            context.tree(&active)?.get("mine").is_some(),
            "the first snapshot was changed"
        );
        Ok(())
    },
};

pub(crate) const PARENT_MUST_BE_COMMITTED: Case = Case {
    name: "parent_must_be_committed",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |_| Ok(()))?;
        let (active, view) = (name("active"), name("view"));
        context.prepare(&active, Some(&base))?;
        context.view(&view, Some(&base))?;
        for parent in [&active, &view] {
            let what = format!("on `{parent}`");
            let key = name("child");
            expect_kind(
                context.prepare(&key, Some(parent)),
                ErrorKind::InvalidState,
                &what,
            )?;
            expect_kind(
                context.view(&key, Some(parent)),
                ErrorKind::InvalidState,
                &what,
            )?;
        }
        let unknown = name("nobody");
        let key = name("child");
        expect_kind(
            context.prepare(&key, Some(&unknown)),
            ErrorKind::NotFound,
            "on nobody",
        )?;
        expect_kind(
            context.view(&key, Some(&unknown)),
            ErrorKind::NotFound,
            "a view of nobody",
        )?;
        expect_kind(
            context.stat(&key),
            ErrorKind::NotFound,
            "the child that was refused",
        )?;
        Ok(())
    },
};

pub(crate) const MOUNTS_IS_IDEMPOTENT: Case = Case {
    name: "mounts_is_idempotent",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let (active, view) = (name("active"), name("view"));
        context.prepare(&active, Some(&base))?;
        context.view(&view, Some(&base))?;
        for key in [&active, &view] {
            let first = context.wait(context.driver().mounts(key))?;
            let second = context.wait(context.driver().mounts(key))?;
            ensure!(first == second, "`{key}`: {first:?} and then {second:?}");
        }
        expect_kind(
            context.wait(context.driver().mounts(&name("nobody"))),
            ErrorKind::NotFound,
            "mounts of nobody",
        )?;
        // What was written in one mount is there in the next.
        context.edit(&active, |dir| dir.file("kept", "1").map(drop))?;
        ensure!(
            context.tree(&active)?.get("kept").is_some(),
            "a remount lost a file"
        );
        Ok(())
    },
};

pub(crate) const COMMITTED_HAS_NO_MOUNTS: Case = Case {
    name: "committed_has_no_mounts",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let mounts = context.wait(context.driver().mounts(&base));
        expect_kind(
            mounts,
            ErrorKind::InvalidState,
            "mounts of a committed snapshot",
        )
        .map(drop)
    },
};

/// Every refusal leaves the driver's root as it was.
pub(crate) const FAILED_OPERATIONS_LEAVE_NOTHING: Case = Case {
    name: "failed_operations_leave_nothing",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let key = context.active(Some(&base))?;
        let view = name("view");
        context.view(&view, Some(&base))?;
        let listed = context.list()?;
        let on_disk = paths_below_root(context)?;
        let free = name("free");
        let nobody = name("nobody");
        let refused = [
            context.prepare(&key, Some(&base)),
            context.prepare(&free, Some(&nobody)),
            context.prepare(&free, Some(&key)),
            context.view(&free, Some(&nobody)),
            context.view(&base, Some(&base)),
            context.commit(&nobody, &free),
            context.commit(&view, &free),
            context.commit(&key, &base),
            context.remove(&nobody),
            context.remove(&base),
            context.apply(&view, &archive(&[])).map(drop),
        ];
        for (number, result) in refused.into_iter().enumerate() {
            ensure!(result.is_err(), "refusal {number} was no refusal");
        }
        ensure!(context.list()? == listed, "the list changed");
        let now = paths_below_root(context)?;
        ensure!(
            now == on_disk,
            "files changed: {:?}",
            difference(&now, &on_disk)
        );
        let reclaimed = context.reclaim()?;
        ensure!(
            reclaimed.snapshots == 0,
            "{} half-made snapshots",
            reclaimed.snapshots
        );
        Ok(())
    },
};

/// Paths of everything that the driver keeps; names that carry this process's id, which an
/// opening makes anew, all count as one.
pub(crate) fn paths_below_root(context: &Context) -> Result<Vec<String>> {
    let own = format!("{}-", std::process::id());
    let mut paths = Vec::new();
    gather(context.root(), "", &mut paths)?;
    paths.sort();
    for path in &mut paths {
        let name = path.rfind('/').map_or(0, |slash| slash + 1);
        if path[name..].starts_with(&own) {
            path.replace_range(name.., "(this process)");
        }
    }
    paths.dedup();
    Ok(paths)
}

/// Names only: a driver may keep a whole file system in a file.
fn gather(directory: &std::path::Path, above: &str, paths: &mut Vec<String>) -> Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let path = format!("{above}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            gather(&entry.path(), &format!("{path}/"), paths)?;
        }
        paths.push(path);
    }
    Ok(())
}

/// What only one of two listings has.
pub(crate) fn difference<'a>(one: &'a [String], two: &'a [String]) -> Vec<&'a String> {
    let only =
        |of: &'a [String], not: &'a [String]| of.iter().filter(move |path| !not.contains(path));
    only(one, two).chain(only(two, one)).take(10).collect()
}
