//! What a state offers to the next operation.

use super::generate::Flavour;
use super::values::{data, offset, value};
use crate::model::Model;
use crate::model::inode::Body;
use crate::model::operation::{
    Acl, AclKind, FileOperation as Op, HoldHow, LayerNumber, LayerOperation, Operation, RenameHow,
    Slot, Special,
};
use crate::seed::Generator;
use crate::tree::TreePath;

/// Names that meet: a tree of few names is changed at the same places again and again.
const NAMES: &[&[u8]] = &[b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"];
/// Names from the corners: what mount options escape, what is nearly a whiteout, other bytes.
const ODD_NAMES: &[&[u8]] = &[
    b"with space",
    b"a:b",
    b"c,d",
    b"e\\f",
    b"\xff\xfe",
    b".wh",
    b"..x",
    b"new\nline",
    b"=",
    b"#",
];
const XATTRS: &[&str] = &["user.a", "user.b", "trusted.t", "security.capability"];
const MODES: &[u32] = &[
    0o644, 0o600, 0o755, 0o444, 0o000, 0o4755, 0o2755, 0o6711, 0o2644, 0o1755, 0o777,
];
const OWNERS: &[u32] = &[0, 1, 1000, 65534, 100_000];
const SLOTS: Slot = 4;
/// More names than this, and the next operation makes none.
const MOST_NAMES: usize = 40;
const MOST_LAYERS: usize = 12;
const MANY_LAYERS: usize = 128;
/// Operations with their weight in thousandths, roughly.
const WEIGHTS: &[(Draw, u32)] = &[
    (Draw::Create, 40),
    (Draw::Read, 17),
    (Draw::Write, 40),
    (Draw::Append, 28),
    (Draw::Rewrite, 32),
    (Draw::Truncate, 25),
    (Draw::Allocate, 17),
    (Draw::Punch, 18),
    (Draw::MapWrite, 22),
    (Draw::Mkdir, 60),
    (Draw::Rmdir, 26),
    (Draw::Unlink, 36),
    (Draw::RemoveTree, 28),
    (Draw::Link, 26),
    (Draw::Symlink, 26),
    (Draw::Rename(RenameHow::Replace), 60),
    (Draw::Rename(RenameHow::NoReplace), 17),
    (Draw::Rename(RenameHow::Exchange), 26),
    (Draw::Character, 17),
    (Draw::Block, 17),
    (Draw::Fifo, 17),
    (Draw::Socket, 17),
    (Draw::Tmpfile, 20),
    (Draw::Chmod, 30),
    (Draw::Chown, 26),
    (Draw::Utimens, 20),
    (Draw::SetXattr, 36),
    (Draw::RemoveXattr, 20),
    (Draw::Acl, 26),
    (Draw::List, 17),
    (Draw::ReadLink, 17),
    (Draw::Hold, 26),
    (Draw::HeldRead, 18),
    (Draw::HeldWrite, 18),
    (Draw::HeldTruncate, 17),
    (Draw::Release, 17),
    (Draw::Commit, 34),
    (Draw::Remount, 17),
    (Draw::Reopen, 17),
    (Draw::View, 17),
    (Draw::Fork, 17),
    (Draw::Apply, 17),
    (Draw::Remove, 17),
    (Draw::Check, 22),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draw {
    Create,
    Read,
    Write,
    Append,
    Rewrite,
    Truncate,
    Allocate,
    Punch,
    MapWrite,
    Mkdir,
    Rmdir,
    Unlink,
    RemoveTree,
    Link,
    Symlink,
    Rename(RenameHow),
    Character,
    Block,
    Fifo,
    Socket,
    Tmpfile,
    Chmod,
    Chown,
    Utimens,
    SetXattr,
    RemoveXattr,
    Acl,
    List,
    ReadLink,
    Hold,
    HeldRead,
    HeldWrite,
    HeldTruncate,
    Release,
    Commit,
    Remount,
    Reopen,
    View,
    Fork,
    Apply,
    Remove,
    Check,
}

/// Paths and numbers to choose from.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    flavour: Flavour,
    directories: Vec<TreePath>,
    files: Vec<TreePath>,
    links: Vec<TreePath>,
    /// Everything but the root.
    all: Vec<TreePath>,
    /// Paths with extended attributes, with one of their keys.
    attributed: Vec<(TreePath, String)>,
    /// Paths that differ from the layer below, and not in kind or size, with their time there.
    dated: Vec<(TreePath, i64)>,
    slots: Vec<Slot>,
    layers: usize,
    live: Vec<LayerNumber>,
    depth: usize,
}

impl Offer {
    pub(super) fn of(model: &Model, flavour: Flavour) -> Self {
        let mut offer = Self {
            flavour,
            directories: Vec::new(),
            files: Vec::new(),
            links: Vec::new(),
            all: Vec::new(),
            attributed: Vec::new(),
            dated: Vec::new(),
            slots: model.slots().collect(),
            layers: model.layers().len(),
            live: Vec::new(),
            depth: model.stack().len(),
        };
        for (number, layer) in model.layers().iter().enumerate() {
            if !layer.is_removed {
                offer.live.push(number);
            }
        }
        let base = model.base().map(|base| &model.layers()[base].tree);
        for (path, id) in model.files().paths() {
            // Not root's: nothing in a changeset says it.
            let old = base.and_then(|base| base.get(path.clone()));
            if let (Some(old), false) = (old, path.is_root())
                && model.files().looks_like(id, old)
            {
                offer.dated.extend(
                    i64::try_from(old.mtime)
                        .ok()
                        .map(|time| (path.clone(), time)),
                );
            }
            let inode = model.files().inode(id);
            match inode.body {
                Body::Directory(_) => offer.directories.push(path.clone()),
                Body::File(_) => offer.files.push(path.clone()),
                Body::Symlink(_) => offer.links.push(path.clone()),
                Body::Special(_) => {}
            }
            if let Some(key) = inode.xattrs.keys().next() {
                let key = String::from_utf8_lossy(key).into_owned();
                offer.attributed.push((path.clone(), key));
            }
            if !path.is_root() {
                offer.all.push(path);
            }
        }
        offer
    }

    /// The next operation.
    pub(super) fn draw(&self, random: &mut Generator) -> Operation {
        if self.flavour == Flavour::ManyLayers && self.depth < MANY_LAYERS && random.below(3) > 0 {
            return Operation::Layer(LayerOperation::Commit);
        }
        let total: u32 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut left = random.below(total as usize) as u32;
        for (draw, weight) in WEIGHTS {
            if left < *weight {
                return self.operation(*draw, random);
            }
            left -= weight;
        }
        unreachable!("the weights add up")
    }

    fn operation(&self, draw: Draw, random: &mut Generator) -> Operation {
        if let Some(operation) = self.layer_operation(draw, random) {
            return Operation::Layer(operation);
        }
        let full = self.all.len() >= MOST_NAMES;
        let makes = matches!(
            draw,
            Draw::Create | Draw::Mkdir | Draw::Link | Draw::Symlink | Draw::Tmpfile
        );
        if full && makes && random.below(3) > 0 {
            return Operation::File(Op::RemoveTree {
                path: self.existing(random),
            });
        }
        Operation::File(self.file_operation(draw, random))
    }

    fn layer_operation(&self, draw: Draw, random: &mut Generator) -> Option<LayerOperation> {
        let operation = match draw {
            Draw::Commit if self.flavour == Flavour::ManyLayers => LayerOperation::Commit,
            Draw::Commit if self.depth >= MOST_LAYERS => {
                LayerOperation::Fork(self.live.first().copied())
            }
            Draw::Commit => LayerOperation::Commit,
            Draw::Remount => LayerOperation::Remount,
            Draw::Reopen => LayerOperation::Reopen,
            Draw::View => LayerOperation::View(self.layer(random)),
            Draw::Fork if random.below(8) == 0 => LayerOperation::Fork(None),
            Draw::Fork => LayerOperation::Fork(Some(self.layer(random))),
            Draw::Apply => LayerOperation::Apply(self.layer(random)),
            Draw::Remove => LayerOperation::Remove(self.layer(random)),
            Draw::Check => LayerOperation::Check,
            _ => return None,
        };
        Some(operation)
    }

    fn file_operation(&self, draw: Draw, random: &mut Generator) -> Op {
        match draw {
            Draw::Create => Op::Create {
                path: self.fresh(random),
                mode: *random.pick(MODES),
            },
            Draw::Read => Op::Read {
                path: self.file(random),
            },
            Draw::Write => Op::Write {
                path: self.file(random),
                at: offset(random),
                data: data(random),
            },
            Draw::Append => Op::Append {
                path: self.file(random),
                data: data(random),
            },
            Draw::Rewrite if random.below(4) == 0 => Op::Rewrite {
                path: self.fresh(random),
                data: data(random),
            },
            Draw::Rewrite => Op::Rewrite {
                path: self.file(random),
                data: data(random),
            },
            Draw::Truncate => Op::Truncate {
                path: self.file(random),
                size: offset(random),
            },
            Draw::Allocate => Op::Allocate {
                path: self.file(random),
                at: offset(random).min(100_000),
                length: 1 + random.below(20_000) as u64,
            },
            Draw::Punch => Op::Punch {
                path: self.file(random),
                at: offset(random).min(100_000),
                length: 1 + random.below(20_000) as u64,
            },
            Draw::MapWrite => Op::MapWrite {
                path: self.file(random),
                at: random.below(3000) as u64,
                data: data(random),
            },
            Draw::Mkdir => Op::Mkdir {
                path: self.fresh_directory(random),
                mode: *random.pick(&[0o755, 0o755, 0o700, 0o555, 0o777]),
            },
            Draw::Rmdir => Op::Rmdir {
                path: self.directory_or_odd(random),
            },
            Draw::Unlink => Op::Unlink {
                path: self.existing(random),
            },
            Draw::RemoveTree => Op::RemoveTree {
                path: if random.below(2) == 0 {
                    self.directory_or_odd(random)
                } else {
                    self.existing(random)
                },
            },
            Draw::Link => Op::Link {
                from: self.existing_file(random),
                to: self.fresh(random),
            },
            Draw::Symlink => Op::Symlink {
                target: self.target(random),
                path: self.fresh(random),
            },
            Draw::Rename(how) => self.rename(how, random),
            Draw::Character => Op::Mknod {
                path: self.fresh(random),
                special: match random.below(16) {
                    0 => Special::Character(0, 0),
                    1..=4 => Special::Character(255, 65_537),
                    _ => Special::Character(1, 3),
                },
                mode: *random.pick(MODES),
            },
            Draw::Block => self.node(Special::Block(7, random.below(3) as u32), random),
            Draw::Fifo => self.node(Special::Fifo, random),
            Draw::Socket => self.node(Special::Socket, random),
            Draw::Tmpfile => Op::Tmpfile {
                path: self.fresh(random),
                mode: *random.pick(MODES),
                data: data(random),
            },
            _ => self.other_operation(draw, random),
        }
    }

    fn other_operation(&self, draw: Draw, random: &mut Generator) -> Op {
        let slot = if self.slots.is_empty() || random.below(8) == 0 {
            random.below(usize::from(SLOTS)) as Slot
        } else {
            *random.pick(&self.slots)
        };
        match draw {
            Draw::Chmod => Op::Chmod {
                path: self.anything(random),
                mode: *random.pick(MODES),
            },
            Draw::Chown => Op::Chown {
                path: self.anything(random),
                uid: *random.pick(OWNERS),
                gid: *random.pick(OWNERS),
            },
            // What changed then looks in size and time as if it had not.
            Draw::Utimens if !self.dated.is_empty() && random.below(2) == 0 => {
                let (path, mtime) = random.pick(&self.dated).clone();
                Op::Utimens { path, mtime }
            }
            Draw::Utimens => Op::Utimens {
                path: self.anything(random),
                mtime: *random.pick(&[
                    0,
                    1,
                    999_999_999,
                    1_234_567_890_123_456_789,
                    -5_000_000_001,
                ]),
            },
            Draw::SetXattr => {
                let key = *random.pick(XATTRS);
                Op::SetXattr {
                    path: self.anything(random),
                    key: key.to_owned(),
                    value: value(key, random),
                }
            }
            Draw::RemoveXattr if !self.attributed.is_empty() && random.below(4) > 0 => {
                let (path, key) = random.pick(&self.attributed).clone();
                Op::RemoveXattr { path, key }
            }
            Draw::RemoveXattr => Op::RemoveXattr {
                path: self.anything(random),
                key: (*random.pick(XATTRS)).to_owned(),
            },
            Draw::Acl => self.acl(random),
            Draw::List => Op::List {
                path: self.directory_or_odd(random),
            },
            Draw::ReadLink if !self.links.is_empty() && random.below(4) > 0 => Op::ReadLink {
                path: random.pick(&self.links).clone(),
            },
            Draw::ReadLink => Op::ReadLink {
                path: self.existing(random),
            },
            Draw::Hold => Op::Hold {
                slot: random.below(usize::from(SLOTS)) as Slot,
                path: self.file(random),
                how: *random.pick(&[HoldHow::Read, HoldHow::Write, HoldHow::Map]),
            },
            Draw::HeldWrite => Op::HeldWrite {
                slot,
                at: offset(random),
                data: data(random),
            },
            Draw::HeldTruncate => Op::HeldTruncate {
                slot,
                size: offset(random),
            },
            Draw::Release => Op::Release { slot },
            _ => Op::HeldRead { slot },
        }
    }

    fn node(&self, special: Special, random: &mut Generator) -> Op {
        Op::Mknod {
            path: self.fresh(random),
            special,
            mode: *random.pick(MODES),
        }
    }

    fn rename(&self, how: RenameHow, random: &mut Generator) -> Op {
        let from = match random.below(4) {
            0 => self.directory_or_odd(random),
            _ => self.existing(random),
        };
        let to = match how {
            RenameHow::Exchange => random.below(8),
            _ => random.below(3),
        };
        let to = if to == 0 {
            self.fresh(random)
        } else {
            self.existing(random)
        };
        Op::Rename { from, to, how }
    }

    fn acl(&self, random: &mut Generator) -> Op {
        let mut bits = || random.below(8) as u8;
        let acl = Acl {
            owner: bits(),
            named: (1000, bits()),
            group: bits(),
            mask: bits(),
            other: bits(),
        };
        let default = random.below(3) == 0;
        Op::SetAcl {
            path: if default {
                self.directory_or_odd(random)
            } else {
                self.anything(random)
            },
            kind: if default {
                AclKind::Default
            } else {
                AclKind::Access
            },
            acl: (random.below(4) > 0).then_some(acl),
        }
    }

    fn layer(&self, random: &mut Generator) -> LayerNumber {
        if self.live.is_empty() || random.below(10) == 0 {
            random.below(self.layers + 1)
        } else {
            *random.pick(&self.live)
        }
    }

    /// A path that is most likely free, in a directory that is most likely there.
    fn fresh(&self, random: &mut Generator) -> TreePath {
        if random.below(30) == 0 {
            return self.existing(random).join(b"x");
        }
        random.pick(&self.directories).join(&self.name(random))
    }

    fn fresh_directory(&self, random: &mut Generator) -> TreePath {
        let goes_deep = self.flavour == Flavour::DeepTree || random.below(10) == 0;
        let deepest = self.directories.iter().max_by_key(|path| path.depth());
        match deepest {
            Some(deepest) if goes_deep && deepest.as_bytes().len() < 3000 => {
                deepest.join(&self.name(random))
            }
            _ => self.fresh(random),
        }
    }

    fn name(&self, random: &mut Generator) -> Vec<u8> {
        let long = if self.flavour == Flavour::DeepTree {
            4
        } else {
            120
        };
        if random.below(long) == 0 {
            let length = *random.pick(&[200, 242, 243, 251, 255, 256]);
            return vec![b'n'; length];
        }
        match random.below(250) {
            0 => b".wh.a".to_vec(),
            1..=12 => random.pick(ODD_NAMES).to_vec(),
            _ => random.pick(NAMES).to_vec(),
        }
    }

    fn existing(&self, random: &mut Generator) -> TreePath {
        if self.all.is_empty() || random.below(20) == 0 {
            return random.pick(&self.directories).join(&self.name(random));
        }
        random.pick(&self.all).clone()
    }

    fn anything(&self, random: &mut Generator) -> TreePath {
        match random.below(20) {
            0 => TreePath::root(),
            1..=4 => random.pick(&self.directories).clone(),
            _ => self.existing(random),
        }
    }

    fn directory_or_odd(&self, random: &mut Generator) -> TreePath {
        let inner = self.directories.len() - 1;
        if inner == 0 || random.below(10) == 0 {
            return self.existing(random);
        }
        self.directories[1 + random.below(inner)].clone()
    }

    fn existing_file(&self, random: &mut Generator) -> TreePath {
        if self.files.is_empty() || random.below(8) == 0 {
            return self.existing(random);
        }
        random.pick(&self.files).clone()
    }

    /// A file, now and then by way of a link or what is none.
    fn file(&self, random: &mut Generator) -> TreePath {
        if !self.links.is_empty() && random.below(8) == 0 {
            return random.pick(&self.links).clone();
        }
        if self.files.is_empty() || random.below(20) == 0 {
            return self.existing(random);
        }
        random.pick(&self.files).clone()
    }

    fn target(&self, random: &mut Generator) -> Vec<u8> {
        match random.below(8) {
            0 => b"/".to_vec(),
            1 => b"..".to_vec(),
            2 => b"nowhere".to_vec(),
            3 => [b"/", self.existing(random).as_bytes()].concat(),
            _ => random.pick(NAMES).to_vec(),
        }
    }
}
