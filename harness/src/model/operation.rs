//! What a script is made of: operations on the mounted file system, and on its layers.
//!
//! Every operation is valid in every state. What the kernel would refuse is refused with its errno
//! by the model and by the mount alike, so that any line can be taken out of a script.

use crate::tree::TreePath;
use std::fmt;

/// Bytes by description: the same on every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Data {
    /// Which bytes; never a block of zeros.
    pub seed: u32,
    /// How many.
    pub length: u32,
}

impl Data {
    /// The bytes.
    pub fn bytes(self) -> Vec<u8> {
        let mut state = u64::from(self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut bytes = Vec::with_capacity(self.length as usize + 8);
        while bytes.len() < self.length as usize {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(self.length as usize);
        bytes
    }
}

/// What happens to a name that a rename would replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RenameHow {
    /// It is replaced.
    Replace,
    /// It is an error: `RENAME_NOREPLACE`.
    NoReplace,
    /// Both change places: `RENAME_EXCHANGE`.
    Exchange,
}

/// What `mknod(2)` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    /// A character device, major and minor.
    Character(u32, u32),
    /// A block device, major and minor.
    Block(u32, u32),
    /// A fifo.
    Fifo,
    /// A socket.
    Socket,
}

/// Which of a node's two access control lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AclKind {
    /// `system.posix_acl_access`.
    Access,
    /// `system.posix_acl_default`, of directories.
    Default,
}

/// An access control list with one named user, the least that is more than a mode: three bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the entries of acl(5)")]
pub struct Acl {
    pub owner: u8,
    pub named: (u32, u8),
    pub group: u8,
    pub mask: u8,
    pub other: u8,
}

/// How a descriptor is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldHow {
    /// Open for reading.
    Read,
    /// Open for reading and writing.
    Write,
    /// A shared mapping for reading of the whole file, its descriptor closed.
    Map,
}

/// Number of a held descriptor or mapping.
pub type Slot = u8;

/// An operation on the mounted file system, as root with umask 022.
///
/// A path's components may be symbolic links, which are followed within the mount. The last one is
/// followed by `Read`, `Write`, `Append`, `Rewrite`, `Truncate`, `Allocate`, `Punch`, `MapWrite`,
/// `Chmod` and `Hold`, and by nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "arguments are those of the system call")]
pub enum FileOperation {
    /// `open(O_CREAT | O_EXCL | O_WRONLY)`.
    Create { path: TreePath, mode: u32 },
    /// `open(O_RDONLY)` and reads all of it.
    Read { path: TreePath },
    /// `open(O_WRONLY)` and `pwrite(2)`.
    Write { path: TreePath, at: u64, data: Data },
    /// `open(O_WRONLY | O_APPEND)` and `write(2)`.
    Append { path: TreePath, data: Data },
    /// `open(O_WRONLY | O_CREAT | O_TRUNC, 0644)` and `write(2)`.
    Rewrite { path: TreePath, data: Data },
    /// `truncate(2)`.
    Truncate { path: TreePath, size: u64 },
    /// `open(O_RDWR)` and `fallocate(2)` without flags.
    Allocate {
        path: TreePath,
        at: u64,
        length: u64,
    },
    /// `open(O_RDWR)` and `fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)`; then file
    /// capabilities are removed, which not every file system does where there is a hole already.
    Punch {
        path: TreePath,
        at: u64,
        length: u64,
    },
    /// Opens for reading and writing and writes through a shared mapping; what lies beyond the
    /// end of the file is not written, and where nothing is left nothing is mapped.
    MapWrite { path: TreePath, at: u64, data: Data },
    /// `mkdir(2)`.
    Mkdir { path: TreePath, mode: u32 },
    /// `rmdir(2)`.
    Rmdir { path: TreePath },
    /// `unlink(2)`.
    Unlink { path: TreePath },
    /// As `rm -r`: everything below, in order of names, then the name itself.
    RemoveTree { path: TreePath },
    /// `link(2)`.
    Link { from: TreePath, to: TreePath },
    /// `symlink(2)`.
    Symlink { target: Vec<u8>, path: TreePath },
    /// `renameat2(2)`.
    Rename {
        from: TreePath,
        to: TreePath,
        how: RenameHow,
    },
    /// `mknod(2)`.
    Mknod {
        path: TreePath,
        special: Special,
        mode: u32,
    },
    /// `open(O_TMPFILE | O_RDWR)` in the path's directory, `write(2)`, and `linkat(2)` to the path.
    Tmpfile {
        path: TreePath,
        mode: u32,
        data: Data,
    },
    /// `chmod(2)`.
    Chmod { path: TreePath, mode: u32 },
    /// `lchown(2)`.
    Chown { path: TreePath, uid: u32, gid: u32 },
    /// `utimensat(AT_SYMLINK_NOFOLLOW)`, both times, in nanoseconds since 1970.
    Utimens { path: TreePath, mtime: i64 },
    /// `lsetxattr(2)`.
    SetXattr {
        path: TreePath,
        key: String,
        value: Vec<u8>,
    },
    /// `lremovexattr(2)`.
    RemoveXattr { path: TreePath, key: String },
    /// Sets an access control list, or removes it; `lsetxattr(2)`, `lremovexattr(2)`.
    SetAcl {
        path: TreePath,
        kind: AclKind,
        acl: Option<Acl>,
    },
    /// Lists a directory.
    List { path: TreePath },
    /// `readlink(2)`.
    ReadLink { path: TreePath },
    /// Holds a file; what the slot held before is let go.
    Hold {
        slot: Slot,
        path: TreePath,
        how: HoldHow,
    },
    /// Reads all that a slot holds: by `pread(2)`, or the mapping.
    HeldRead { slot: Slot },
    /// `pwrite(2)` through a descriptor.
    HeldWrite { slot: Slot, at: u64, data: Data },
    /// `ftruncate(2)` through a descriptor.
    HeldTruncate { slot: Slot, size: u64 },
    /// Closes or unmaps.
    Release { slot: Slot },
}

/// Number of a committed layer, in the order of commits from 0.
pub type LayerNumber = usize;

/// An operation on the layers. Each that [unmounts](LayerOperation::unmounts) lets go of all that
/// is held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LayerOperation {
    /// Settles times, commits the active snapshot as the next layer, and goes on upon it.
    Commit,
    /// Unmounts and mounts again.
    Remount,
    /// Unmounts, closes the driver, opens it again and mounts.
    Reopen,
    /// Looks at a layer through a view, which refuses writes.
    View(LayerNumber),
    /// Prepares another snapshot on a layer or on nothing beside the active one, looks at it,
    /// writes into it and drops it.
    Sibling(Option<LayerNumber>),
    /// Takes the changeset of the active snapshot, mounted as it is.
    Diff,
    /// Drops the active snapshot and goes on from a layer, or from nothing.
    Fork(Option<LayerNumber>),
    /// Drops the active snapshot, applies a layer's changeset on that layer's parent, and goes on
    /// in what that gives.
    Apply(LayerNumber),
    /// Removes a layer; one with children is in use.
    Remove(LayerNumber),
    /// Holds everything against the model.
    Check,
}

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// On the mounted file system.
    File(FileOperation),
    /// On the layers.
    Layer(LayerOperation),
}

/// What an operation that succeeded tells.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// That it is done.
    Done,
    /// A file's content.
    Content(Vec<u8>),
    /// The names in a directory, sorted, without `.` and `..`.
    Names(Vec<Vec<u8>>),
    /// Where a symbolic link points.
    Target(Vec<u8>),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |bytes: &[u8]| bytes.escape_ascii().to_string();
        match self {
            Self::Done => f.write_str("done"),
            Self::Content(content) => {
                let start = &content[..content.len().min(16)];
                write!(f, "{} bytes, {}", content.len(), hex::encode(start))
            }
            Self::Names(names) => {
                let names: Vec<_> = names.iter().map(|name| escaped(name)).collect();
                write!(f, "names {}", names.join(" "))
            }
            Self::Target(target) => write!(f, "target {}", escaped(target)),
        }
    }
}

/// All kinds of operation, as they are counted.
pub const KINDS: &[&str] = &[
    "create",
    "read",
    "write",
    "append",
    "rewrite",
    "truncate",
    "allocate",
    "punch",
    "map-write",
    "mkdir",
    "rmdir",
    "unlink",
    "remove-tree",
    "link",
    "symlink",
    "rename",
    "rename-noreplace",
    "rename-exchange",
    "character",
    "block",
    "fifo",
    "socket",
    "tmpfile",
    "chmod",
    "chown",
    "utimens",
    "set-xattr",
    "remove-xattr",
    "acl",
    "list",
    "read-link",
    "hold",
    "held-read",
    "held-write",
    "held-truncate",
    "release",
    "commit",
    "remount",
    "reopen",
    "view",
    "sibling",
    "diff",
    "fork",
    "apply",
    "remove",
    "check",
];

impl Operation {
    /// Its kind: the word that its line begins with.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(operation) => operation.kind(),
            Self::Layer(operation) => operation.kind(),
        }
    }
}

impl FileOperation {
    /// Its kind: the word that its line begins with.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::Append { .. } => "append",
            Self::Rewrite { .. } => "rewrite",
            Self::Truncate { .. } => "truncate",
            Self::Allocate { .. } => "allocate",
            Self::Punch { .. } => "punch",
            Self::MapWrite { .. } => "map-write",
            Self::Mkdir { .. } => "mkdir",
            Self::Rmdir { .. } => "rmdir",
            Self::Unlink { .. } => "unlink",
            Self::RemoveTree { .. } => "remove-tree",
            Self::Link { .. } => "link",
            Self::Symlink { .. } => "symlink",
            Self::Rename { how, .. } => match how {
                RenameHow::Replace => "rename",
                RenameHow::NoReplace => "rename-noreplace",
                RenameHow::Exchange => "rename-exchange",
            },
            Self::Mknod { special, .. } => match special {
                Special::Character(..) => "character",
                Special::Block(..) => "block",
                Special::Fifo => "fifo",
                Special::Socket => "socket",
            },
            Self::Tmpfile { .. } => "tmpfile",
            Self::Chmod { .. } => "chmod",
            Self::Chown { .. } => "chown",
            Self::Utimens { .. } => "utimens",
            Self::SetXattr { .. } => "set-xattr",
            Self::RemoveXattr { .. } => "remove-xattr",
            Self::SetAcl { .. } => "acl",
            Self::List { .. } => "list",
            Self::ReadLink { .. } => "read-link",
            Self::Hold { .. } => "hold",
            Self::HeldRead { .. } => "held-read",
            Self::HeldWrite { .. } => "held-write",
            Self::HeldTruncate { .. } => "held-truncate",
            Self::Release { .. } => "release",
        }
    }
}

impl FileOperation {
    /// The paths that it names.
    pub fn paths(&self) -> Vec<&TreePath> {
        match self {
            Self::Create { path, .. }
            | Self::Read { path }
            | Self::Write { path, .. }
            | Self::Append { path, .. }
            | Self::Rewrite { path, .. }
            | Self::Truncate { path, .. }
            | Self::Allocate { path, .. }
            | Self::Punch { path, .. }
            | Self::MapWrite { path, .. }
            | Self::Mkdir { path, .. }
            | Self::Rmdir { path }
            | Self::Unlink { path }
            | Self::RemoveTree { path }
            | Self::Symlink { path, .. }
            | Self::Mknod { path, .. }
            | Self::Tmpfile { path, .. }
            | Self::Chmod { path, .. }
            | Self::Chown { path, .. }
            | Self::Utimens { path, .. }
            | Self::SetXattr { path, .. }
            | Self::RemoveXattr { path, .. }
            | Self::SetAcl { path, .. }
            | Self::List { path }
            | Self::ReadLink { path }
            | Self::Hold { path, .. } => vec![path],
            Self::Link { from, to } | Self::Rename { from, to, .. } => vec![from, to],
            Self::HeldRead { .. }
            | Self::HeldWrite { .. }
            | Self::HeldTruncate { .. }
            | Self::Release { .. } => Vec::new(),
        }
    }
}

impl LayerOperation {
    /// Whether the active snapshot is unmounted for it.
    pub fn unmounts(&self) -> bool {
        match self {
            Self::Commit | Self::Remount | Self::Reopen | Self::Fork(_) | Self::Apply(_) => true,
            Self::View(_) | Self::Sibling(_) | Self::Diff | Self::Remove(_) | Self::Check => false,
        }
    }

    /// Its kind: the word that its line begins with.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Remount => "remount",
            Self::Reopen => "reopen",
            Self::View(_) => "view",
            Self::Sibling(_) => "sibling",
            Self::Diff => "diff",
            Self::Fork(_) => "fork",
            Self::Apply(_) => "apply",
            Self::Remove(_) => "remove",
            Self::Check => "check",
        }
    }
}
