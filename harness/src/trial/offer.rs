//! What a state offers to the next operation.

mod paths;

use super::generate::Flavour;
use super::values::{data, offset, value};
use crate::model::inode::Body;
use crate::model::operation::{
    Acl, AclKind, Data, FileOperation as Op, HoldHow, LayerNumber, LayerOperation, Operation,
    RenameHow, Slot, Special,
};
use crate::model::{Below, Model};
use crate::seed::Generator;
use crate::tree::TreePath;

const XATTRS: &[&str] = &["user.a", "user.b", "trusted.t", "security.capability"];
const MODES: &[u32] = &[
    0o644, 0o600, 0o755, 0o444, 0o000, 0o4755, 0o2755, 0o2775, 0o6711, 0o2644, 0o1755, 0o777,
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
    (Draw::Read, 20),
    (Draw::Write, 40),
    (Draw::Append, 28),
    (Draw::Rewrite, 32),
    (Draw::Truncate, 25),
    (Draw::Allocate, 20),
    (Draw::Punch, 18),
    (Draw::MapWrite, 22),
    (Draw::Mkdir, 60),
    (Draw::Rmdir, 26),
    (Draw::Unlink, 36),
    (Draw::RemoveTree, 28),
    (Draw::Link, 26),
    (Draw::Symlink, 26),
    (Draw::Rename(RenameHow::Replace), 60),
    (Draw::Rename(RenameHow::NoReplace), 20),
    (Draw::Rename(RenameHow::Exchange), 26),
    (Draw::Character, 20),
    (Draw::Block, 20),
    (Draw::Fifo, 20),
    (Draw::Socket, 20),
    (Draw::Tmpfile, 20),
    (Draw::Chmod, 30),
    (Draw::Chown, 26),
    (Draw::Utimens, 20),
    (Draw::SetXattr, 36),
    (Draw::RemoveXattr, 20),
    (Draw::Acl, 26),
    (Draw::List, 20),
    (Draw::ReadLink, 20),
    (Draw::Hold, 26),
    (Draw::HeldRead, 18),
    (Draw::HeldWrite, 18),
    (Draw::HeldTruncate, 20),
    (Draw::Release, 20),
    (Draw::Commit, 34),
    (Draw::Remount, 20),
    (Draw::Reopen, 20),
    (Draw::View, 20),
    (Draw::Sibling, 20),
    (Draw::Diff, 20),
    (Draw::Compare, 20),
    (Draw::Rebase, 20),
    (Draw::Relabel, 20),
    (Draw::Misuse, 20),
    (Draw::Fork, 20),
    (Draw::Apply, 20),
    (Draw::Remove, 20),
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
    Sibling,
    Diff,
    Compare,
    Rebase,
    Relabel,
    Misuse,
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
    below: Below,
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
            below: model.below(),
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
        for (path, id) in model.files().paths() {
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
        if random.below(10) == 0
            && let Some(operation) = self.corner(random)
        {
            return Operation::File(operation);
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

    /// What goes on from one step of a known failing of unions to the next: a directory of the layer
    /// below is removed, made again, and something is made in it; a file of it is changed, and then
    /// looks in size and time as if it had not been.
    fn corner(&self, random: &mut Generator) -> Option<Op> {
        let below = &self.below;
        match random.below(10) {
            0 if !below.directories.is_empty() => Some(Op::RemoveTree {
                path: random.pick(&below.directories).clone(),
            }),
            1 | 2 if !below.gone_directories.is_empty() => Some(Op::Mkdir {
                path: random.pick(&below.gone_directories).clone(),
                mode: 0o755,
            }),
            3 if !below.gone.is_empty() => Some(match random.below(3) {
                0 => Op::Mkdir {
                    path: random.pick(&below.gone).clone(),
                    mode: 0o700,
                },
                1 => Op::Symlink {
                    target: self.target(random),
                    path: random.pick(&below.gone).clone(),
                },
                _ => Op::Create {
                    path: random.pick(&below.gone).clone(),
                    mode: 0o600,
                },
            }),
            4 if !below.files.is_empty() => {
                let (path, size) = random.pick(&below.files).clone();
                Some(Op::Write {
                    path,
                    at: 0,
                    data: Data {
                        seed: 1 + random.below(1000) as u32,
                        length: size.min(20) as u32,
                    },
                })
            }
            5 if !below.links.is_empty() => Some(Op::Unlink {
                path: random.pick(&below.links).clone(),
            }),
            // What is made in a directory of a set group, or copied into it, may get that group.
            6 => {
                let path = random.pick(&self.directories).clone();
                Some(if random.below(2) == 0 {
                    Op::Chmod { path, mode: 0o2775 }
                } else {
                    Op::Chown {
                        path,
                        uid: 0,
                        gid: 1000,
                    }
                })
            }
            // Files that are equal in all and still two.
            7 if !self.files.is_empty() && random.below(2) == 0 => Some(Op::Utimens {
                path: random.pick(&self.files).clone(),
                mtime: 1_234_567_890_123_456_789,
            }),
            7 if !self.files.is_empty() => Some(Op::Chmod {
                path: random.pick(&self.files).clone(),
                mode: 0o644,
            }),
            _ if !below.alike.is_empty() => {
                let (path, mtime) = random.pick(&below.alike).clone();
                Some(Op::Utimens { path, mtime })
            }
            _ => None,
        }
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
        // What drops the stack keeps it from growing.
        let grows = self.flavour == Flavour::ManyLayers && self.depth < MANY_LAYERS - 20;
        let operation = match draw {
            Draw::Fork | Draw::Apply if grows => LayerOperation::View(self.layer(random)),
            Draw::Commit if self.flavour == Flavour::ManyLayers => LayerOperation::Commit,
            Draw::Commit if self.depth >= MOST_LAYERS => {
                LayerOperation::Fork(self.live.first().copied())
            }
            Draw::Commit => LayerOperation::Commit,
            Draw::Remount => LayerOperation::Remount,
            Draw::Reopen => LayerOperation::Reopen,
            Draw::View => LayerOperation::View(self.layer(random)),
            Draw::Sibling if random.below(8) == 0 => LayerOperation::Sibling(None),
            Draw::Sibling => LayerOperation::Sibling(Some(self.layer(random))),
            Draw::Diff => LayerOperation::Diff,
            Draw::Compare => {
                let lower = (random.below(3) > 0).then(|| self.layer(random));
                LayerOperation::Compare(lower, self.layer(random))
            }
            Draw::Rebase => LayerOperation::Rebase(self.layer(random)),
            Draw::Relabel => LayerOperation::Relabel(self.layer(random)),
            Draw::Misuse => LayerOperation::Misuse,
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
                mode: *random.pick(&[0o755, 0o755, 0o700, 0o555, 0o1777]),
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
}
