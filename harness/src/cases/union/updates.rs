//! Files that change from layer to layer.

use crate::cases::samples;
use crate::cases::stack::{Edit, build};
use crate::prelude::*;

/// Upstream: `LayerFileupdate` of containerd (docker#21555): same size, within one second.
pub(crate) const FILE_UPDATES_ARE_SEEN: Case = Case {
    name: "file_updates_are_seen",
    group: Group::Union,
    needs: &[],
    run: |context| {
        const EDITS: &[Edit] = &[
            |dir| dir.file("f", "0")?.dir("d")?.file("d/f", "0").map(drop),
            |dir| dir.file("f", "1")?.file("d/f", "1").map(drop),
            |dir| dir.file("f", "2")?.append("d/f", "2").map(drop),
            |dir| dir.file("f", "3")?.overwrite("d/f", 0, b"3").map(drop),
            |dir| dir.file("f", "4")?.truncate("d/f", 1).map(drop),
        ];
        build(context, EDITS).map(drop)
    },
};

pub(crate) const WRITES_OF_EVERY_SORT: Case = Case {
    name: "writes_of_every_sort",
    group: Group::Union,
    needs: &[],
    run: |context| {
        build(
            context,
            &[
                |dir| {
                    for name in [
                        "append",
                        "overwrite",
                        "shrink",
                        "grow",
                        "empty",
                        "untouched",
                    ] {
                        dir.file(name, vec![b'x'; 10_000])?;
                    }
                    Ok(())
                },
                |dir| {
                    dir.append("append", "tail")?
                        .overwrite("overwrite", 5_000, b"middle")?;
                    dir.truncate("shrink", 17)?
                        .truncate("grow", 70_000)?
                        .truncate("empty", 0)?;
                    Ok(())
                },
                |dir| {
                    dir.append("shrink", "y")?
                        .overwrite("grow", 69_000, b"end")?
                        .append("empty", "z")
                        .map(drop)
                },
            ],
        )
        .map(drop)
    },
};

/// Upstream: `Chown` of containerd (docker#20240, #24913, #28391).
pub(crate) const CHOWN_IN_LAYERS: Case = Case {
    name: "chown_in_layers",
    group: Group::Union,
    needs: &[Capability::Ownership],
    run: |context| {
        build(
            context,
            &[
                |dir| {
                    dir.dirs("opt/a/b")?
                        .file("opt/a/b/f", "1")?
                        .symlink("opt/l", "a")?;
                    dir.owner("opt/a", Owner { uid: 1, gid: 1 }).map(drop)
                },
                |dir| {
                    for path in ["opt", "opt/a", "opt/a/b", "opt/a/b/f", "opt/l"] {
                        dir.owner(path, Owner { uid: 2, gid: 3 })?;
                    }
                    Ok(())
                },
                |dir| dir.owner("opt/a/b", Owner { uid: 0, gid: 0 }).map(drop),
                |dir| {
                    dir.file("opt/a/b/g", "2")?
                        .owner(".", Owner { uid: 4, gid: 5 })
                        .map(drop)
                },
            ],
        )
        .map(drop)
    },
};

/// Upstream: `Chmod`, unwritten in containerd.
pub(crate) const CHMOD_IN_LAYERS: Case = Case {
    name: "chmod_in_layers",
    group: Group::Union,
    needs: &[],
    run: |context| {
        build(
            context,
            &[
                samples::plain,
                |dir| {
                    dir.mode("run.sh", 0o4711)?
                        .mode("etc", 0o2750)?
                        .mode("etc/hosts", 0)?;
                    dir.mode("tmp", 0o777)?.mode(".", 0o700).map(drop)
                },
                |dir| {
                    dir.mode("etc/hosts", 0o400)?
                        .mode("usr/share/doc", 0o1755)
                        .map(drop)
                },
                |dir| {
                    dir.mode("etc/hosts", 0o644)?
                        .mode("usr/share/doc", 0o755)
                        .map(drop)
                },
            ],
        )
        .map(drop)
    },
};

/// Upstream: `CreateSnap` of graphtest: the root's mode goes on to the grandchild.
pub(crate) const ROOT_MODE_IS_INHERITED: Case = Case {
    name: "root_mode_is_inherited",
    group: Group::Union,
    needs: &[],
    run: |context| {
        let stack = build(
            context,
            &[
                |dir| dir.mode(".", 0o711)?.xattr(".", "user.root", "1").map(drop),
                |dir| dir.file("f", "1").map(drop),
                |dir| dir.unlink("f").map(drop),
            ],
        )?;
        let root = stack.top_tree().node("")?;
        ensure!(root.mode == 0o711, "mode {:04o}", root.mode);
        Ok(())
    },
};

/// Upstream: `DirectoryPermissionOnCommit` of containerd (docker#27298).
pub(crate) const DIRECTORY_PERMISSION_ON_COMMIT: Case = Case {
    name: "directory_permission_on_commit",
    group: Group::Union,
    needs: &[Capability::Ownership],
    run: |context| {
        const DIRS: [&str; 4] = ["dir1", "dir2", "dir3", "dir4"];
        build(
            context,
            &[
                |dir| {
                    DIRS.iter()
                        .try_for_each(|name| dir.dir(name)?.mode(name, 0o700).map(drop))
                },
                |dir| {
                    dir.owner("dir1", Owner { uid: 1, gid: 1 })?
                        .mode("dir2", 0o711)?;
                    dir.remove_tree("dir3")?
                        .dir("dir3")?
                        .owner("dir3", Owner { uid: 2, gid: 2 })
                        .map(drop)
                },
                |dir| {
                    dir.remove_tree("dir1")?.dir("dir1")?.mode("dir1", 0o750)?;
                    dir.owner("dir4", Owner { uid: 3, gid: 3 })?
                        .file("dir4/f", "1")
                        .map(drop)
                },
            ],
        )
        .map(drop)
    },
};
