//! What the walk keeps of each name that may be part of a changeset: compact, in two arenas.

use rustix::fs::{FileType, Stat};

/// No node, no folder, no link.
pub(super) const NONE: u32 = u32::MAX;

/// How a name of the upper tree stands to the lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing that counts differs.
    Same,
    Added,
    Modified,
    /// Only the lower tree has it. The node's name then begins with `.wh.`.
    Deleted,
}

/// A name in a worker's arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameRef {
    pub(super) offset: u32,
    pub(super) length: u16,
    pub(super) worker: u16,
}

/// One name, with what its header needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) name: NameRef,
    /// While walking: the folder of what is below, or none. Afterwards: the first node of its link
    /// group, or none.
    pub(super) below: u32,
    /// The node of the directory that holds it.
    pub(super) parent: u32,
    /// The worker's link row, or none.
    pub(super) link: u32,
    pub(super) state: State,
    /// Type and permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) device: (u32, u32),
    pub(super) size: u64,
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

impl Node {
    pub(super) fn new(name: NameRef, state: State, stat: &Stat) -> Self {
        let device = matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::CharacterDevice | FileType::BlockDevice
        );
        Self {
            name,
            below: NONE,
            parent: NONE,
            link: NONE,
            state,
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            device: if device {
                (
                    rustix::fs::major(stat.st_rdev),
                    rustix::fs::minor(stat.st_rdev),
                )
            } else {
                (0, 0)
            },
            size: stat.st_size.unsigned_abs(),
            seconds: stat.st_mtime,
            nanoseconds: stat.st_mtime_nsec as u32,
        }
    }

    pub(super) fn deleted(name: NameRef) -> Self {
        Self {
            name,
            below: NONE,
            parent: NONE,
            link: NONE,
            state: State::Deleted,
            mode: 0,
            uid: 0,
            gid: 0,
            device: (0, 0),
            size: 0,
            seconds: 0,
            nanoseconds: 0,
        }
    }

    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }
}

/// An inode of one tree.
pub(super) type Key = (u64, u64);

/// A name of the upper tree whose inode, there or below, may have other names.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkRow {
    /// Its node; known after the walk.
    pub(super) node: u32,
    pub(super) upper: Key,
    /// The inode that the lower tree has at its path, if that has one and it is no directory.
    pub(super) lower: Option<Key>,
}

/// One worker's share of a walk.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) arena: Vec<u8>,
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<LinkRow>,
    /// Folder, and where its nodes begin and end.
    pub(super) folders: Vec<(u32, u32, u32)>,
}
