//! What requests and answers are made of.

use rustix::fs::OFlags;
use std::time::Duration;

/// How the kernel names an inode. It may differ from the inode number that callers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root of the file system.
    pub const ROOT: Self = Self(1);
}

/// What the file system answered an open with, given back with every use of that open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// Who asks. The identity is that of the calling thread's file system ids (`fsuid`, `fsgid`).
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// File system user id.
    pub uid: u32,
    /// File system group id.
    pub gid: u32,
    /// Thread id in the daemon's pid namespace; 0 where there is none.
    pub pid: u32,
}

/// How long the kernel may keep an answer.
pub type Ttl = Duration;

/// Type bits of a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// FIFO.
    Fifo,
    /// Socket.
    Socket,
    /// Character device.
    Character,
    /// Block device.
    Block,
}

/// Attributes of an inode, as stat(2) shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// Inode number that callers see.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes.
    pub blocks: u64,
    /// Seconds since 1970, nanoseconds.
    pub atime: (i64, u32),
    /// Likewise.
    pub mtime: (i64, u32),
    /// Likewise.
    pub ctime: (i64, u32),
    /// Type and permission bits.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number of a device file.
    pub rdev: (u32, u32),
    /// Preferred size of I/O, bytes.
    pub blksize: u32,
}

/// Answer to a lookup and to whatever makes a name. The kernel counts one more reference to
/// `node`; see [`Filesystem::forget`](crate::Filesystem::forget).
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The inode; `NodeId(0)` says that there is no such name, for as long as `entry_ttl`.
    pub node: NodeId,
    /// Tells apart inodes that had the same `node` one after another.
    pub generation: u64,
    /// Its attributes.
    pub attr: Attr,
    /// How long the name is good.
    pub entry_ttl: Ttl,
    /// How long the attributes are good.
    pub attr_ttl: Ttl,
}

/// Answer to a request for attributes.
#[derive(Clone, Copy, Debug)]
pub struct AttrReply {
    /// The attributes.
    pub attr: Attr,
    /// How long they are good.
    pub ttl: Ttl,
}

/// A file registered with the kernel for passthrough: an id of the
/// kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backing(pub i32);

/// Answer to an open.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent flags of the protocol"
)]
pub struct OpenReply {
    /// Comes back with each use.
    pub handle: Handle,
    /// Read, write and map go to this file without a request.
    pub passthrough: Option<Backing>,
    /// What the page cache holds of the inode (of a directory: its cached listing) stays good.
    pub keep_cache: bool,
    /// The kernel may cache the listing (directories).
    pub cache_dir: bool,
    /// No flush at close (files that were opened read-only, or that need none).
    pub no_flush: bool,
    /// Every read and write comes as a request, none from the page cache.
    pub direct_io: bool,
}

impl OpenReply {
    /// An open file whose content goes through the kernel's page cache.
    pub fn cached(handle: Handle) -> Self {
        Self {
            handle,
            passthrough: None,
            keep_cache: false,
            cache_dir: false,
            no_flush: false,
            direct_io: false,
        }
    }
}

/// A new file, open.
#[derive(Clone, Copy, Debug)]
pub struct Created {
    /// Its name.
    pub entry: Entry,
    /// Its open file.
    pub open: OpenReply,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeChange {
    /// The time of the change.
    Now,
    /// Seconds since 1970, nanoseconds.
    To(i64, u32),
}

/// What chmod, chown, truncate and utimensat change.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits, `07777`.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<TimeChange>,
    /// Modification time.
    pub mtime: Option<TimeChange>,
    /// Change time, when the kernel keeps it (writeback cache only).
    pub ctime: Option<(i64, u32)>,
    /// The open file that was named, if one was.
    pub handle: Option<Handle>,
    /// Set-id bits and capabilities go (`FATTR_KILL_SUIDGID`). The one change that is asked for where
    /// somebody writes to the file by passthrough.
    pub kill_suidgid: bool,
}

/// Marks of a write.
#[derive(Clone, Copy, Debug)]
pub struct WriteFlags {
    /// From the page cache: the handle may be of another opener.
    pub from_cache: bool,
    /// Set-id bits go (`FUSE_WRITE_KILL_SUIDGID`).
    pub kill_suidgid: bool,
    /// The open file's flags (`O_APPEND`, `O_SYNC`, ...).
    pub open_flags: OFlags,
}

/// Flags of renameat2(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenameFlags {
    /// Both names exist and change places.
    pub exchange: bool,
    /// The new name must not exist.
    pub no_replace: bool,
    /// A whiteout is left at the old name.
    pub whiteout: bool,
}

/// What a directory is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaddirKind {
    /// Names, types and numbers.
    Plain,
    /// With an [`Entry`] each (READDIRPLUS).
    Plus,
}

/// Answer to statfs(2), in the units of `struct statfs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatFs {
    /// Blocks of `fragment` bytes.
    pub blocks: u64,
    /// Free ones.
    pub free: u64,
    /// Free ones for everybody.
    pub available: u64,
    /// Inodes.
    pub files: u64,
    /// Free ones.
    pub files_free: u64,
    /// Preferred size of I/O.
    pub block_size: u32,
    /// Longest name, bytes.
    pub name_max: u32,
    /// Bytes of a block as counted here.
    pub fragment: u32,
}
