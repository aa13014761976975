//! The executable model: what a union file system and its layers mean, in memory.
//!
//! Pure: no system call, and nothing of the drivers' union or diff. See
//! `docs/adr/0009-the-model.md`.

pub mod content;
pub mod inode;
pub mod layer;
pub mod operation;
pub mod quirks;
pub mod text;

mod attributes;
mod below;
mod data;
mod files;
mod names;
mod show;
mod snapshots;

pub use below::Below;
pub use files::{Files, Outcome, ROOT};
pub use snapshots::Committed;

use data::Held;
use operation::{Answer, FileOperation, LayerNumber, Slot};
use quirks::Bent;
use rustix::io::Errno;
use std::collections::BTreeMap;
use strata_driver::Quirk;

/// What the model says of an operation on files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicted {
    /// What it answers.
    Outcome(Outcome),
    /// It is not to be done: a quirk that is avoided would bend it.
    LeftOut(Quirk),
}

/// The layers, and the active snapshot on top of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    layers: Vec<Committed>,
    base: Option<LayerNumber>,
    files: Files,
    held: BTreeMap<Slot, Held>,
    bent: Bent,
    settled: u32,
}

impl Model {
    /// Nothing but an empty active snapshot.
    pub fn new(bent: Bent) -> Self {
        Self {
            layers: Vec::new(),
            base: None,
            files: Files::empty_with(bent.names()),
            held: BTreeMap::new(),
            bent,
            settled: 0,
        }
    }

    /// The active snapshot.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The layer that the active snapshot stands on.
    pub fn base(&self) -> Option<LayerNumber> {
        self.base
    }

    /// All layers that were committed, the removed ones among them.
    pub fn layers(&self) -> &[Committed] {
        &self.layers
    }

    /// The slots that hold something.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.held.keys().copied()
    }

    /// Tells the time of an inode that an operation has set to now.
    pub fn learn(&mut self, id: inode::InodeId, mtime: i128) {
        self.files.learn(id, mtime);
    }

    /// Does an operation on the active snapshot, and says what it answers.
    pub fn perform(&mut self, operation: &FileOperation) -> Predicted {
        let before = (self.bent.avoids()).then(|| (self.files.clone(), self.held.clone()));
        let outcome = self.answer(operation);
        if outcome == Err(quirks::LEFT_OUT) {
            self.bent.meet(Quirk::ReservedNames);
        }
        match (self.bent.take_met(), before) {
            (Some(quirk), Some((files, held))) => {
                (self.files, self.held) = (files, held);
                Predicted::LeftOut(quirk)
            }
            _ => Predicted::Outcome(outcome),
        }
    }

    fn answer(&mut self, operation: &FileOperation) -> Outcome {
        use FileOperation as Op;
        let (files, bent) = (&mut self.files, &mut self.bent);
        match operation {
            Op::Create { path, mode } => files.create(path, *mode),
            Op::Read { path } => files.read(path),
            Op::Write { path, at, data } => files.write(path, (*at, *data), bent),
            Op::Append { path, data } => files.append(path, *data, bent),
            Op::Rewrite { path, data } => files.rewrite(path, *data, bent),
            Op::Truncate { path, size } => files.truncate(path, *size, bent),
            Op::Allocate { path, at, length } => files.allocate(path, (*at, *length), bent),
            Op::Punch { path, at, length } => files.punch(path, (*at, *length), bent),
            Op::MapWrite { path, at, data } => files.map_write(path, (*at, *data), bent),
            Op::Mkdir { path, mode } => files.mkdir(path, *mode),
            Op::Rmdir { path } => files.remove_directory(path),
            Op::Unlink { path } => files.remove_name(path),
            Op::RemoveTree { path } => files.remove_tree(path),
            Op::Link { from, to } => files.hard_link(from, to, bent),
            Op::Symlink { target, path } => files.symlink(target, path),
            Op::Rename { from, to, how } => files.rename((from, to), *how, bent),
            Op::Mknod {
                path,
                special,
                mode,
            } => files.mknod(path, (*special, *mode), bent),
            Op::Tmpfile { path, mode, data } => files.tmpfile(path, *mode, *data),
            Op::Chmod { path, mode } => files.chmod(path, *mode, bent),
            Op::Chown { path, uid, gid } => files.chown(path, (*uid, *gid), bent),
            Op::Utimens { path, mtime } => files.utimens(path, *mtime, bent),
            Op::SetXattr { path, key, value } => files.set_xattr(path, (key, value), bent),
            Op::RemoveXattr { path, key } => files.remove_xattr(path, key, bent),
            Op::SetAcl { path, kind, acl } => files.set_acl(path, (*kind, *acl), bent),
            Op::List { path } => files.list(path),
            Op::ReadLink { path } => files.read_link(path),
            Op::Hold { slot, path, how } => {
                self.held.remove(slot);
                let held = files.hold(path, *how, bent)?;
                self.held.insert(*slot, held);
                Ok(Answer::Done)
            }
            Op::HeldRead { slot } => match self.held.get(slot) {
                Some(held) => Ok(files.held_read(held, bent)),
                None => Err(Errno::BADF),
            },
            Op::HeldWrite { slot, at, data } => match self.held.get(slot) {
                Some(held) => files.held_write(held, *at, *data),
                None => Err(Errno::BADF),
            },
            Op::HeldTruncate { slot, size } => match self.held.get(slot) {
                Some(held) => files.held_truncate(held, *size),
                None => Err(Errno::BADF),
            },
            Op::Release { slot } => match self.held.remove(slot) {
                Some(_) => Ok(Answer::Done),
                None => Err(Errno::BADF),
            },
        }
    }
}
