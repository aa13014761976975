//! Nothing in a stream can name a path outside.

use crate::prelude::*;

/// Files outside of every snapshot that hostile archives aim at, by several ways.
struct Canary {
    dir: Dir,
    before: Tree,
}

impl Canary {
    fn new(context: &mut Context) -> Result<Self> {
        let dir = context.plain_dir()?;
        dir.file("passwd", "canary")?
            .dir("d")?
            .file("d/f", "canary")?;
        let before = Tree::read(dir.path())?;
        Ok(Self { dir, before })
    }

    /// Its path as an archive writes it.
    fn target(&self) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt as _;
        self.dir.path().as_os_str().as_bytes().to_vec()
    }

    fn expect_alive(&self, what: &str) -> Result<()> {
        let facets = [
            Facet::ModificationTime,
            Facet::RootModificationTime,
            Facet::LinkCount,
            Facet::Owner,
        ];
        let now = Tree::read(self.dir.path())?;
        now.expect_equal_by(&self.before, &facets, &format!("{what}: outside"))
    }
}

/// Applies entries that may be refused or confined, as long as nothing outside is touched.
fn attack(context: &mut Context, canary: &Canary, what: &str, entries: &[Entry]) -> Result<()> {
    let key = context.active(None)?;
    let outcome = context.apply(&key, &archive(entries));
    canary.expect_alive(what)?;
    if let Err(error) = outcome {
        // What the rules refuse, or the kernel for want of privilege.
        let kinds = [ErrorKind::InvalidInput, ErrorKind::PermissionDenied];
        ensure!(kinds.contains(&error.kind()), "{what}: {}", error.chain());
    }
    context.remove(&key)?;
    canary.expect_alive(&format!("{what}, removed"))
}

pub(crate) const APPLY_IS_CONFINED: Case = Case {
    name: "apply_is_confined",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let canary = Canary::new(context)?;
        // Somebody else, where there is somebody else.
        let id = u64::from(context.has(Capability::Ownership));
        let outside = canary.target();
        let up = [b"../".repeat(24), outside[1..].to_vec()].concat();
        let below = |directory: &[u8], name: &str| [directory, b"/", name.as_bytes()].concat();
        for (how, target) in [("absolute", outside.clone()), ("relative", up.clone())] {
            let attacks: Vec<(&str, Vec<Entry>)> = vec![
                ("a name", vec![Entry::file(below(&target, "passwd"), "x")]),
                ("a directory", vec![Entry::dir(target.clone()).mode(0o777)]),
                (
                    "a whiteout",
                    vec![Entry::file(below(&target, ".wh.passwd"), "")],
                ),
                (
                    "an opaque mark",
                    vec![Entry::file(below(&target, ".wh..wh..opq"), "")],
                ),
                (
                    "a hard link",
                    vec![
                        Entry::hard_link("h", below(&target, "passwd")),
                        Entry::file("h", "x"),
                    ],
                ),
                (
                    "a file through a link",
                    vec![Entry::symlink("a", &target), Entry::file("a/passwd", "x")],
                ),
                (
                    "a directory over a link",
                    vec![Entry::symlink("a", &target), Entry::dir("a").mode(0o700)],
                ),
                (
                    "the directory of a link",
                    vec![Entry::symlink("a", &target), Entry::dir("a/.").mode(0o700)],
                ),
                (
                    "a hard link through a link",
                    vec![
                        Entry::symlink("a", &target),
                        Entry::hard_link("h", "a/passwd"),
                        Entry::file("h", "x"),
                    ],
                ),
                (
                    "a hard link to a link",
                    vec![
                        Entry::symlink("a", below(&target, "passwd")),
                        Entry::hard_link("h", "a"),
                        Entry::new("h", b'0').mode(0o777),
                    ],
                ),
                (
                    "a whiteout through a link",
                    vec![Entry::symlink("a", &target), Entry::whiteout("a/passwd")],
                ),
                (
                    "an opaque mark through a link",
                    vec![Entry::symlink("a", &target), Entry::opaque("a")],
                ),
                (
                    "a file over a link",
                    vec![
                        Entry::symlink("a", below(&target, "passwd")),
                        Entry::file("a", "x").mode(0o777),
                    ],
                ),
                (
                    "attributes of a link",
                    vec![
                        Entry::symlink("a", below(&target, "passwd"))
                            .mode(0o777)
                            .owner(id, id)
                            .mtime(1, 0),
                        Entry::symlink("b", &target)
                            .owner(id, id)
                            .xattr("user.x", "1"),
                    ],
                ),
                (
                    "links in a chain",
                    vec![
                        Entry::symlink("a", "b"),
                        Entry::symlink("b", &target),
                        Entry::file("a/d/f", "x"),
                        Entry::file("b/d/f", "x"),
                    ],
                ),
                (
                    "a device through a link",
                    vec![
                        Entry::symlink("a", &target),
                        Entry::new("a/null", b'3').device(1, 3),
                    ],
                ),
            ];
            for (what, entries) in attacks {
                attack(context, &canary, &format!("{how}: {what}"), &entries)?;
            }
        }
        Ok(())
    },
};

/// A link in one layer, a write through it in the next, on every driver.
pub(crate) const APPLY_IS_CONFINED_OVER_LAYERS: Case = Case {
    name: "apply_is_confined_over_layers",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let canary = Canary::new(context)?;
        let links = archive(&[
            Entry::symlink("a", canary.target()),
            Entry::symlink("b", ".."),
            Entry::symlink("c", "/"),
        ]);
        let base = context.applied_layer(None, &links)?;
        let second = [
            vec![
                Entry::file("a/passwd", "x"),
                Entry::file("b/x", "x"),
                Entry::file("c/y", "x"),
            ],
            vec![Entry::whiteout("a/passwd"), Entry::opaque("a")],
            vec![Entry::dir("a").mode(0o700), Entry::file("a/passwd", "x")],
            vec![Entry::hard_link("h", "a/passwd")],
        ];
        for (number, entries) in second.iter().enumerate() {
            let key = context.active(Some(&base))?;
            let outcome = context.apply(&key, &archive(entries));
            canary.expect_alive(&format!("attack {number}"))?;
            if outcome.is_ok() {
                let tree = context.tree(&key)?;
                let top = tree.node("a")?.kind;
                ensure!(
                    matches!(top, Kind::Directory | Kind::Symlink),
                    "`a` is {top:?}"
                );
            }
            context.remove(&key)?;
            canary.expect_alive(&format!("attack {number}, removed"))?;
        }
        Ok(())
    },
};

/// Docker's meaning of a linked parent: followed, inside the root.
pub(crate) const LINKED_PARENT_RESOLVES_INSIDE: Case = Case {
    name: "linked_parent_resolves_inside",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let layer = context.applied_layer(
            None,
            &archive(&[
                Entry::dir("usr"),
                Entry::dir("usr/lib"),
                Entry::symlink("lib", "usr/lib"),
                Entry::symlink("abs", "/usr/lib"),
                Entry::symlink("up", "../../usr/lib"),
                Entry::file("lib/one", "1"),
                Entry::file("abs/two", "2"),
                Entry::file("up/three", "3"),
            ]),
        )?;
        let tree = context.tree(&layer)?;
        let paths = tree.paths();
        ensure!(
            paths
                == [
                    "abs",
                    "lib",
                    "up",
                    "usr",
                    "usr/lib",
                    "usr/lib/one",
                    "usr/lib/three",
                    "usr/lib/two"
                ],
            "{paths:?}"
        );
        ensure!(
            tree.node("lib")?.kind == Kind::Symlink,
            "the link was replaced"
        );
        Ok(())
    },
};

/// What a layer means does not depend on what lies below.
pub(crate) const LINKED_PARENT_BELOW_IS_REPLACED: Case = Case {
    name: "linked_parent_below_is_replaced",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            dir.dirs("usr/lib")?
                .file("usr/lib/old", "1")?
                .symlink("lib", "usr/lib")
                .map(drop)
        })?;
        let top = context.applied_layer(Some(&base), &archive(&[Entry::file("lib/new", "2")]))?;
        let tree = context.tree(&top)?;
        let paths = tree.paths();
        ensure!(
            paths == ["lib", "lib/new", "usr", "usr/lib", "usr/lib/old"],
            "{paths:?}"
        );
        let lib = tree.node("lib")?;
        ensure!(
            lib.kind == Kind::Directory && lib.mode == 0o755,
            "`lib` is {lib:?}"
        );
        Ok(())
    },
};

/// Loops and chains end in an error or inside, never outside and never for ever.
pub(crate) const LINK_LOOPS_END: Case = Case {
    name: "link_loops_end",
    group: Group::Apply,
    needs: &[],
    run: |context| {
        let canary = Canary::new(context)?;
        let chain = |length: usize| -> Vec<Entry> {
            let mut entries: Vec<_> = (0..length)
                .map(|n| Entry::symlink(format!("l{n}"), format!("l{}", n + 1)))
                .collect();
            entries.push(Entry::dir(format!("l{length}")));
            entries.push(Entry::file("l0/f", "1"));
            entries
        };
        attack(
            context,
            &canary,
            "a link to itself",
            &[Entry::symlink("a", "a"), Entry::file("a/f", "1")],
        )?;
        let two = [
            Entry::symlink("a", "b"),
            Entry::symlink("b", "a"),
            Entry::file("a/f", "1"),
        ];
        attack(context, &canary, "a loop of two", &two)?;
        attack(context, &canary, "a chain of 41", &chain(41))?;
        attack(context, &canary, "a chain of 200", &chain(200))?;
        let dangling = [Entry::symlink("a", "nowhere"), Entry::file("a/f", "1")];
        attack(context, &canary, "a parent that leads nowhere", &dangling)
    },
};
