//! A seeded script of edits over several layers: the same on every driver, and legal on all.
//!
//! It is made against a small model of names and objects, so that each operation finds what it
//! needs. Operations that a [quirk](Quirk) may bend are left out and counted. Every operation
//! ends by setting the times of what it touched and of the directories above, since "now"
//! differs from run to run.

use crate::edit::{Dir, Owner};
use crate::seed::{Generator, Seed};
use crate::tree::TreePath;
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use strata_driver::Quirk;

/// Names of the kinds of operations.
pub const KINDS: [&str; 20] = [
    "create_file",
    "replace_content",
    "append",
    "overwrite",
    "truncate",
    "make_directory",
    "remove_file",
    "remove_tree",
    "make_directory_again",
    "rename_file",
    "rename_directory",
    "symbolic_link",
    "replace_kind",
    "hard_link",
    "change_mode",
    "change_owner",
    "set_attribute",
    "remove_attribute",
    "set_access_list",
    "special_file",
];

/// `DiffId`s of 5,000 operations over 8 layers of seed 1, made once by an independent program
/// from the same trees.
pub const GOLDEN: [&str; 8] = [
    "sha256:276037908568f46cfa9f820b593a2f2f1de8a8d6bda31b5de9252210674f6e97",
    "sha256:9c55c56da095a6cf4761f2e174a9e09e97fe9e25874af4fe53590817f93e82bd",
    "sha256:233e2e02c0c1a568925758a2b7e8ac13e791b42679cacc3a18e5ebc74bcc0c7b",
    "sha256:ddb6861964506bcf1d6465a3a87d069c85cd7d4a36cf0e2e51cdb301637933bd",
    "sha256:6027d2ae4a9009f129b19fa574051082d973c5cfa800ba082b9fab4c4fe49e33",
    "sha256:599a66f1413f8bb8cdb3d86f1cede4a061102cfdc1561522040b610787cd7fb0",
    "sha256:323b5f07fc75f9d368e0a70254a9b358bd2e1d71dd0046e130d87b88e23b4061",
    "sha256:90178b1aab0703487d99af1f359a842b710a920145237580850cf7185b4bcaab",
];

/// One system call's worth of editing.
#[derive(Clone, Debug)]
enum Step {
    File(Vec<u8>, u32),
    Append(Vec<u8>),
    Overwrite(u64, Vec<u8>),
    Truncate(u64),
    Directory(u32),
    Unlink,
    RemoveTree,
    RenameTo(TreePath),
    Symlink(String),
    LinkTo(TreePath),
    Mode(u32),
    Owner(Owner),
    Xattr(String, Vec<u8>),
    RemoveXattr(String),
    Fifo,
    Device(u32),
}

/// One operation: its kind, what it does to which path, and what gets a time afterwards.
#[derive(Clone, Debug)]
pub struct Operation {
    kind: usize,
    steps: Vec<(TreePath, Step)>,
    stamped: BTreeSet<TreePath>,
    number: usize,
}

/// Operations of each layer, and what was counted while they were made.
#[derive(Clone, Debug)]
pub struct Script {
    /// Operations by layer, base first.
    pub layers: Vec<Vec<Operation>>,
    /// Operations by kind.
    pub kinds: BTreeMap<&'static str, usize>,
    /// Operations that were drawn and left out, by the quirk that may bend them.
    pub left_out: BTreeMap<Quirk, usize>,
}

impl Script {
    /// The script of `seed`: `operations` in all, spread evenly over `layers`.
    pub fn new(seed: Seed, operations: usize, layers: usize) -> Self {
        let mut writer = Writer {
            random: seed.generator("script"),
            names: BTreeMap::from([(TreePath::root(), 0)]),
            objects: vec![Object::new(Sort::Directory, 0)],
            layer: 0,
            made: 0,
            left_out: BTreeMap::new(),
        };
        let mut script = Self {
            layers: Vec::new(),
            kinds: BTreeMap::new(),
            left_out: BTreeMap::new(),
        };
        for layer in 0..layers {
            writer.start_layer(layer);
            let share = operations * (layer + 1) / layers - operations * layer / layers;
            let mut written = Vec::with_capacity(share);
            while written.len() < share {
                let mut turn: Vec<usize> = (0..KINDS.len()).collect();
                writer.random.shuffle(&mut turn);
                for kind in turn.into_iter().take(share - written.len()) {
                    let operation = writer.operation(kind);
                    *script.kinds.entry(KINDS[operation.kind]).or_default() += 1;
                    written.push(operation);
                }
            }
            script.layers.push(written);
        }
        script.left_out = writer.left_out;
        script
    }

    /// All operations.
    pub fn operations(&self) -> usize {
        self.layers.iter().map(Vec::len).sum()
    }
}

impl Operation {
    /// Does it in `dir`.
    pub fn run(&self, dir: &Dir) -> Result<()> {
        let what = || format!("operation {} ({})", self.number, KINDS[self.kind]);
        for (path, step) in &self.steps {
            step.run(dir, path).with_context(what)?;
        }
        let seconds = 1_400_000_000 + self.number as i64;
        let nanoseconds = (self.number * 7919 % 1_000_000_000) as u32;
        // Deepest first: setting a time below would not change one above, but removal did.
        for path in self.stamped.iter().rev() {
            dir.time(path.as_bytes(), seconds, nanoseconds)
                .with_context(what)?;
        }
        Ok(())
    }
}

impl Step {
    fn run(&self, dir: &Dir, path: &TreePath) -> Result<()> {
        let path = path.as_bytes();
        match self {
            Self::File(content, mode) => dir.file(path, content)?.mode(path, *mode)?,
            Self::Append(content) => dir.append(path, content)?,
            Self::Overwrite(offset, content) => dir.overwrite(path, *offset, content)?,
            Self::Truncate(length) => dir.truncate(path, *length)?,
            Self::Directory(mode) => dir.dir(path)?.mode(path, *mode)?,
            Self::Unlink => dir.unlink(path)?,
            Self::RemoveTree => dir.remove_tree(path)?,
            Self::RenameTo(new) => dir.rename(path, new.as_bytes())?,
            Self::Symlink(target) => dir.symlink(path, target)?,
            Self::LinkTo(new) => dir.hard_link(path, new.as_bytes())?,
            Self::Mode(mode) => dir.mode(path, *mode)?,
            Self::Owner(owner) => dir.owner(path, *owner)?,
            Self::Xattr(key, value) => dir.xattr(path, key, value)?,
            Self::RemoveXattr(key) => dir.remove_xattr(path, key)?,
            Self::Fifo => dir.fifo(path)?.mode(path, 0o620)?,
            Self::Device(minor) if minor.is_multiple_of(2) => {
                dir.block_device(path, (7, *minor))?
            }
            Self::Device(minor) => dir.character_device(path, (1, *minor))?,
        };
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    File,
    Directory,
    Symlink,
    Special,
}

#[derive(Clone, Debug)]
struct Object {
    sort: Sort,
    born: usize,
    /// It has several names in the layers below: a first write may separate them.
    shared_below: bool,
    attributes: BTreeSet<usize>,
}

impl Object {
    fn new(sort: Sort, born: usize) -> Self {
        Self {
            sort,
            born,
            shared_below: false,
            attributes: BTreeSet::new(),
        }
    }
}

struct Writer {
    random: Generator,
    names: BTreeMap<TreePath, usize>,
    objects: Vec<Object>,
    layer: usize,
    made: usize,
    left_out: BTreeMap<Quirk, usize>,
}

/// Names that the tree is kept below, by removing instead of making.
const MANY_NAMES: usize = 900;

impl Writer {
    fn start_layer(&mut self, layer: usize) {
        self.layer = layer;
        let mut counts = vec![0_usize; self.objects.len()];
        for object in self.names.values() {
            counts[*object] += 1;
        }
        for (object, count) in self.objects.iter_mut().zip(counts) {
            object.shared_below = object.sort != Sort::Directory && count > 1;
        }
    }

    fn object(&self, path: &TreePath) -> &Object {
        &self.objects[self.names[path]]
    }

    /// A path below the root that `wanted` accepts.
    fn pick(&mut self, wanted: impl Fn(&Object) -> bool) -> Option<TreePath> {
        let found: Vec<_> = self
            .names
            .iter()
            .filter(|(path, object)| !path.is_root() && wanted(&self.objects[**object]))
            .map(|(path, _)| path.clone())
            .collect();
        (!found.is_empty()).then(|| self.random.pick(&found).clone())
    }

    /// A path whose object may be written: none that a first write would separate.
    ///
    /// Now and then one of those is drawn as well, and left out.
    fn pick_to_write(&mut self, wanted: impl Fn(&Object) -> bool) -> Option<TreePath> {
        if self.random.below(40) == 0
            && let Some(path) = self.pick(&wanted)
            && self.object(&path).shared_below
        {
            *self.left_out.entry(Quirk::HardLinkSplits).or_default() += 1;
        }
        self.pick(|object| wanted(object) && !object.shared_below)
    }

    fn pick_directory_to_rename(&mut self) -> Option<TreePath> {
        let layer = self.layer;
        let is_directory = |object: &Object| object.sort == Sort::Directory;
        if self.random.below(20) == 0
            && let Some(path) = self.pick(is_directory)
            && self.object(&path).born < layer
        {
            *self
                .left_out
                .entry(Quirk::DirectoryRenameExdev)
                .or_default() += 1;
        }
        self.pick(|object| is_directory(object) && object.born == layer)
    }

    /// A name that is not taken, in any directory that is not too deep.
    fn fresh(&mut self) -> TreePath {
        let directories: Vec<_> = self
            .names
            .iter()
            .filter(|(_, object)| self.objects[**object].sort == Sort::Directory)
            .map(|(path, _)| path)
            .filter(|path| path.depth() <= 5)
            .cloned()
            .collect();
        for tries in 0.. {
            let directory = self.random.pick(&directories).clone();
            // Few names, so that what was removed comes back; some of them long or strange; and
            // more of them where all of those are taken.
            let name = match self.random.below(12) {
                0 => format!("{}-{}", "long".repeat(30), self.random.below(40)),
                1 => format!("ä :,\\{}", self.random.below(40)),
                _ => format!("n{}", self.random.below(60 + tries)),
            };
            let path = directory.join(name.as_bytes());
            if !self.names.contains_key(&path) {
                return path;
            }
        }
        unreachable!("there are ever more names to try")
    }

    fn add(&mut self, path: &TreePath, sort: Sort) {
        self.objects.push(Object::new(sort, self.layer));
        self.names.insert(path.clone(), self.objects.len() - 1);
    }

    /// Names at and below `path`.
    fn below(&self, path: &TreePath) -> Vec<TreePath> {
        let inside = |name: &&TreePath| {
            let rest = name.as_bytes().strip_prefix(path.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        self.names.keys().filter(inside).cloned().collect()
    }

    fn remove(&mut self, path: &TreePath) -> Step {
        let step = match self.object(path).sort {
            Sort::Directory => Step::RemoveTree,
            _ => Step::Unlink,
        };
        for name in self.below(path) {
            self.names.remove(&name);
        }
        step
    }

    fn rename(&mut self, old: &TreePath, new: &TreePath) {
        for name in self.below(old) {
            let object = self.names.remove(&name).expect("it was just listed");
            let rest = &name.as_bytes()[old.as_bytes().len()..];
            self.names
                .insert(TreePath::new([new.as_bytes(), rest].concat()), object);
        }
    }

    fn content(&mut self) -> Vec<u8> {
        let length = match self.random.below(10) {
            0 => 0,
            1 => 4096,
            _ => self.random.below(2500),
        };
        self.random.bytes(length)
    }

    /// An operation of `kind`, or the creation of a file where the tree has nothing for it.
    fn operation(&mut self, kind: usize) -> Operation {
        let kind = match KINDS[kind] {
            "create_file" | "make_directory" if self.names.len() > MANY_NAMES => 7,
            _ => kind,
        };
        let (kind, steps) = match self.steps(KINDS[kind]) {
            Some(steps) => (kind, steps),
            None => (
                0,
                self.steps("create_file")
                    .expect("a file can always be made"),
            ),
        };
        let mut stamped = BTreeSet::new();
        for (path, step) in &steps {
            let other = match step {
                Step::RenameTo(new) | Step::LinkTo(new) => Some(new.clone()),
                _ => None,
            };
            for touched in [Some(path.clone()), other].into_iter().flatten() {
                let mut above = Some(touched);
                while let Some(path) = above.filter(|path| !path.is_root()) {
                    above = path.parent();
                    stamped.insert(path);
                }
            }
        }
        stamped.retain(|path| self.names.contains_key(path));
        self.made += 1;
        Operation {
            kind,
            steps,
            stamped,
            number: self.made,
        }
    }

    #[expect(clippy::too_many_lines, reason = "one short arm a kind")]
    fn steps(&mut self, kind: &str) -> Option<Vec<(TreePath, Step)>> {
        let is = |sort: Sort| move |object: &Object| object.sort == sort;
        let one = |path: TreePath, step: Step| Some(vec![(path, step)]);
        let modes = [0o644, 0o600, 0o755, 0o4755, 0o2711, 0o640, 0o777, 0o1700];
        match kind {
            "create_file" => {
                let path = self.fresh();
                self.add(&path, Sort::File);
                let step = Step::File(self.content(), *self.random.pick(&modes));
                one(path, step)
            }
            "replace_content" => {
                let path = self.pick_to_write(is(Sort::File))?;
                let step = Step::File(self.content(), *self.random.pick(&modes));
                one(path, step)
            }
            "append" => {
                let path = self.pick_to_write(is(Sort::File))?;
                let step = Step::Append(self.content());
                one(path, step)
            }
            "overwrite" => {
                let path = self.pick_to_write(is(Sort::File))?;
                let offset = self.random.below(6000) as u64;
                let step = Step::Overwrite(offset, self.content());
                one(path, step)
            }
            "truncate" => {
                let path = self.pick_to_write(is(Sort::File))?;
                let step = Step::Truncate(self.random.below(9000) as u64);
                one(path, step)
            }
            "make_directory" => {
                let path = self.fresh();
                self.add(&path, Sort::Directory);
                let mode = *self.random.pick(&[0o755, 0o700, 0o1777, 0o2755]);
                // Two at a time, since removals take what is below with them.
                let inner = path.join(b"inner");
                self.add(&inner, Sort::Directory);
                Some(vec![
                    (path, Step::Directory(mode)),
                    (inner, Step::Directory(0o755)),
                ])
            }
            "remove_file" => {
                let path = self.pick(|object| object.sort != Sort::Directory)?;
                let step = self.remove(&path);
                one(path, step)
            }
            "remove_tree" => {
                let path = self.small_directory()?;
                let step = self.remove(&path);
                one(path, step)
            }
            "make_directory_again" => {
                let path = self.small_directory()?;
                let gone = self.remove(&path);
                self.add(&path, Sort::Directory);
                let file = path.join(b"again");
                self.add(&file, Sort::File);
                let made = Step::File(self.content(), 0o644);
                Some(vec![
                    (path.clone(), gone),
                    (path, Step::Directory(0o755)),
                    (file, made),
                ])
            }
            "rename_file" => {
                let old = self.pick_to_write(|object| object.sort != Sort::Directory)?;
                let new = self.fresh();
                self.rename(&old, &new);
                one(old, Step::RenameTo(new))
            }
            "rename_directory" => {
                let mut steps = Vec::new();
                let old = if let Some(old) = self.pick_directory_to_rename() {
                    old
                } else {
                    let made = self.fresh();
                    self.add(&made, Sort::Directory);
                    steps.push((made.clone(), Step::Directory(0o755)));
                    made
                };
                let new = self.fresh();
                let inside = self
                    .below(&old)
                    .iter()
                    .any(|name| Some(name) == new.parent().as_ref());
                if inside && steps.is_empty() {
                    return None;
                }
                if !inside {
                    self.rename(&old, &new);
                    steps.push((old, Step::RenameTo(new)));
                }
                Some(steps)
            }
            "symbolic_link" => {
                let path = self.fresh();
                self.add(&path, Sort::Symlink);
                let length = *self.random.pick(&[1, 3, 40]);
                let target = format!("../{}/{}", "t".repeat(length), self.random.below(100));
                one(path, Step::Symlink(target))
            }
            "replace_kind" => self.replace_kind(),
            "hard_link" => {
                let path = self.pick_to_write(|object| object.sort != Sort::Directory)?;
                let new = self.fresh();
                self.names.insert(new.clone(), self.names[&path]);
                one(path, Step::LinkTo(new))
            }
            "change_mode" => {
                let path = self.pick_to_write(|object| object.sort != Sort::Symlink)?;
                let step = Step::Mode(*self.random.pick(&modes));
                one(path, step)
            }
            "change_owner" => {
                let path = self.pick_to_write(|_| true)?;
                let mut id = || *self.random.pick(&[0, 1, 1000, 65_534, 100_000, 3_000_000]);
                let owner = Owner {
                    uid: id(),
                    gid: id(),
                };
                one(path, Step::Owner(owner))
            }
            "set_attribute" => {
                let holds = |object: &Object| matches!(object.sort, Sort::File | Sort::Directory);
                let path = self.pick_to_write(holds)?;
                let number = self.random.below(4);
                let length = self.random.below(60);
                let step = Step::Xattr(attribute(number), self.random.bytes(length));
                let object = self.names[&path];
                self.objects[object].attributes.insert(number);
                one(path, step)
            }
            "remove_attribute" => {
                let path = self.pick_to_write(|object| !object.attributes.is_empty())?;
                let object = self.names[&path];
                let number = self.objects[object].attributes.pop_first()?;
                one(path, Step::RemoveXattr(attribute(number)))
            }
            "set_access_list" => {
                let holds = |object: &Object| matches!(object.sort, Sort::File | Sort::Directory);
                let path = self.pick_to_write(holds)?;
                let list = crate::cases::access_list();
                one(path, Step::Xattr("system.posix_acl_access".into(), list))
            }
            _ => {
                let path = self.fresh();
                self.add(&path, Sort::Special);
                let minor = self.random.below(200) as u32 + 1;
                one(
                    path,
                    if minor.is_multiple_of(3) {
                        Step::Fifo
                    } else {
                        Step::Device(minor)
                    },
                )
            }
        }
    }

    /// A directory with little below it, so that one removal does not end the game.
    fn small_directory(&mut self) -> Option<TreePath> {
        const FEW: usize = 25;
        for _ in 0..20 {
            let path = self.pick(|object| object.sort == Sort::Directory)?;
            if self.below(&path).len() <= FEW {
                return Some(path);
            }
        }
        None
    }

    fn replace_kind(&mut self) -> Option<Vec<(TreePath, Step)>> {
        let path = if self.random.below(3) == 0 {
            self.small_directory()?
        } else {
            self.pick(|object| object.sort != Sort::Directory)?
        };
        let was = self.object(&path).sort;
        let gone = self.remove(&path);
        let (sort, made) = match (was, self.random.below(2)) {
            (Sort::Directory, 0) | (Sort::Symlink | Sort::Special, 1) => {
                (Sort::File, Step::File(self.content(), 0o644))
            }
            (Sort::Directory | Sort::File, 1) => (Sort::Symlink, Step::Symlink("kind".into())),
            _ => (Sort::Directory, Step::Directory(0o755)),
        };
        self.add(&path, sort);
        Some(vec![(path.clone(), gone), (path, made)])
    }
}

fn attribute(number: usize) -> String {
    match number {
        0 => "trusted.strata".into(),
        number => format!("user.k{number}"),
    }
}

#[cfg(test)]
mod tests;
