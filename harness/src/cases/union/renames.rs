//! Names that move between layers.

use crate::cases::samples;
use crate::cases::stack::build;
use crate::prelude::*;

/// Upstream: `MoveFileFromLowerLayer` of containerd.
pub(crate) const MOVE_FILE_FROM_LOWER_LAYER: Case = Case {
    name: "move_file_from_lower_layer",
    group: Group::Union,
    needs: &[],
    run: |context| {
        build(
            context,
            &[
                |dir| {
                    dir.dir("dir1")?
                        .dir("dir2")?
                        .file("dir1/f1", "A")?
                        .file("dir2/f2", "B")
                        .map(drop)
                },
                |dir| {
                    dir.hard_link("dir1/f1", "dir2/f1")?.remove_tree("dir1")?;
                    dir.hard_link("dir2/f1", "moved").map(drop)
                },
            ],
        )
        .map(drop)
    },
};

/// Upstream: `Rename` of containerd, its file part.
pub(crate) const RENAME_OVER_FILES: Case = Case {
    name: "rename_over_files",
    group: Group::Union,
    needs: &[],
    run: |context| {
        build(
            context,
            &[
                samples::plain,
                |dir| {
                    dir.rename("etc/hosts", "etc/passwd")?
                        .rename("run.sh", "etc/run.sh")?;
                    dir.rename("lib", "library").map(drop)
                },
                |dir| {
                    dir.rename("etc/passwd", "etc/hosts")?
                        .file("new", "")?
                        .rename("new", "etc/run.sh")
                        .map(drop)
                },
                |dir| dir.exchange("etc/hosts", "etc/run.sh").map(drop),
            ],
        )
        .map(drop)
    },
};

/// Directories born in this layer move on every driver.
pub(crate) const RENAME_OF_NEW_DIRECTORY: Case = Case {
    name: "rename_of_new_directory",
    group: Group::Union,
    needs: &[],
    run: |context| {
        build(
            context,
            &[
                |dir| dir.dir("a")?.file("a/old", "1")?.dir("empty").map(drop),
                |dir| {
                    dir.dirs("new/sub")?
                        .file("new/sub/f", "2")?
                        .rename("new", "moved")?;
                    dir.dir("b")?.rename("b", "a/b")?.remove_tree("empty")?;
                    dir.dir("c")?
                        .file("c/f", "3")?
                        .rename("c", "empty")
                        .map(drop)
                },
                |dir| dir.file("moved/sub/f", "4").map(drop),
            ],
        )
        .map(drop)
    },
};

/// A directory of a lower layer that is moved as mv(1) does where rename is refused.
pub(crate) const MOVE_OF_LOWER_DIRECTORY: Case = Case {
    name: "move_of_lower_directory",
    group: Group::Union,
    needs: &[],
    run: |context| {
        let stack = build(
            context,
            &[
                |dir| {
                    dir.dirs("old/sub")?
                        .file("old/f", "1")?
                        .file("old/sub/g", "2")
                        .map(drop)
                },
                |dir| {
                    dir.dirs("moved/sub")?.rename("old/f", "moved/f")?;
                    dir.rename("old/sub/g", "moved/sub/g")?
                        .remove_tree("old")
                        .map(drop)
                },
                |dir| dir.dir("old").map(drop),
            ],
        )?;
        let paths = stack.top_tree().paths();
        ensure!(
            paths == ["moved", "moved/f", "moved/sub", "moved/sub/g", "old"],
            "{paths:?}"
        );
        Ok(())
    },
};
