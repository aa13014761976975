//! A name that is one kind of thing below and another above. Law 5.

use crate::cases::stack::build;
use crate::prelude::*;

pub(crate) const FILE_BECOMES_DIRECTORY: Case = Case {
    name: "file_becomes_directory",
    group: Group::Union,
    needs: &[],
    run: |context| {
        build(
            context,
            &[
                |dir| dir.file("x", "1").map(drop),
                |dir| dir.unlink("x")?.dir("x")?.file("x/bar", "2").map(drop),
                |dir| dir.unlink("x/bar").map(drop),
                |dir| dir.remove_tree("x")?.file("x", "3").map(drop),
            ],
        )
        .map(drop)
    },
};

pub(crate) const DIRECTORY_BECOMES_FILE: Case = Case {
    name: "directory_becomes_file",
    group: Group::Union,
    needs: &[],
    run: |context| {
        let stack = build(
            context,
            &[
                |dir| {
                    dir.dirs("x/y")?
                        .file("x/y/z", "1")?
                        .file("x/a", "1")
                        .map(drop)
                },
                |dir| dir.remove_tree("x")?.file("x", "2").map(drop),
                |dir| dir.file("other", "").map(drop),
                |dir| dir.unlink("x")?.dir("x").map(drop),
            ],
        )?;
        ensure!(
            stack.top_tree().get("x/y").is_none(),
            "what a file hid shows again"
        );
        Ok(())
    },
};

pub(crate) const DIRECTORY_BECOMES_LINK: Case = Case {
    name: "directory_becomes_link",
    group: Group::Union,
    needs: &[],
    run: |context| {
        build(
            context,
            &[
                |dir| {
                    dir.dirs("lib")?
                        .file("lib/a", "1")?
                        .dirs("usr/lib")?
                        .file("usr/lib/b", "2")
                        .map(drop)
                },
                |dir| dir.remove_tree("lib")?.symlink("lib", "usr/lib").map(drop),
                |dir| dir.file("lib/c", "through the link").map(drop),
                |dir| dir.unlink("lib")?.dir("lib")?.file("lib/d", "3").map(drop),
            ],
        )
        .map(drop)
    },
};

pub(crate) const EVERY_KIND_REPLACES_EVERY_OTHER: Case = Case {
    name: "every_kind_replaces_every_other",
    group: Group::Union,
    needs: &[Capability::Devices],
    run: |context| {
        const KINDS: usize = 6;
        fn make(dir: &Dir, name: &str, kind: usize) -> Result<()> {
            match kind {
                0 => dir.file(name, "content")?,
                1 => dir.dir(name)?.file(format!("{name}/f"), "1")?,
                2 => dir.symlink(name, "target")?,
                3 => dir.fifo(name)?,
                4 => dir.character_device(name, (1, 7))?,
                _ => dir.block_device(name, (7, 99))?,
            };
            Ok(())
        }
        fn pairs() -> impl Iterator<Item = (usize, usize)> {
            (0..KINDS * KINDS).map(|pair| (pair / KINDS, pair % KINDS))
        }
        build(
            context,
            &[
                |dir| pairs().try_for_each(|(from, to)| make(dir, &format!("{from}{to}"), from)),
                |dir| {
                    pairs().try_for_each(|(from, to)| {
                        let name = format!("{from}{to}");
                        if from == 1 {
                            dir.remove_tree(&name)?
                        } else {
                            dir.unlink(&name)?
                        };
                        make(dir, &name, to)
                    })
                },
            ],
        )
        .map(drop)
    },
};
