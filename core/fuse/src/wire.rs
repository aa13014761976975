//! The structures and numbers of `include/uapi/linux/fuse.h`, protocol 7.45, as they are on the
//! wire: native byte order, no padding that is not named.
//!
//! Protocols from 7.31 on are the same in all that stands here, but for what a flag of INIT turns on.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The protocol that is spoken at most.
pub(crate) const MAJOR: u32 = 7;
/// Likewise.
pub(crate) const MINOR: u32 = 45;

/// Numbers of the requests.
pub(crate) mod opcode {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;
    pub(crate) const SETATTR: u32 = 4;
    pub(crate) const READLINK: u32 = 5;
    pub(crate) const SYMLINK: u32 = 6;
    pub(crate) const MKNOD: u32 = 8;
    pub(crate) const MKDIR: u32 = 9;
    pub(crate) const UNLINK: u32 = 10;
    pub(crate) const RMDIR: u32 = 11;
    pub(crate) const RENAME: u32 = 12;
    pub(crate) const LINK: u32 = 13;
    pub(crate) const OPEN: u32 = 14;
    pub(crate) const READ: u32 = 15;
    pub(crate) const WRITE: u32 = 16;
    pub(crate) const STATFS: u32 = 17;
    pub(crate) const RELEASE: u32 = 18;
    pub(crate) const FSYNC: u32 = 20;
    pub(crate) const SETXATTR: u32 = 21;
    pub(crate) const GETXATTR: u32 = 22;
    pub(crate) const LISTXATTR: u32 = 23;
    pub(crate) const REMOVEXATTR: u32 = 24;
    pub(crate) const FLUSH: u32 = 25;
    pub(crate) const INIT: u32 = 26;
    pub(crate) const OPENDIR: u32 = 27;
    pub(crate) const READDIR: u32 = 28;
    pub(crate) const RELEASEDIR: u32 = 29;
    pub(crate) const FSYNCDIR: u32 = 30;
    pub(crate) const CREATE: u32 = 35;
    pub(crate) const INTERRUPT: u32 = 36;
    pub(crate) const DESTROY: u32 = 38;
    pub(crate) const BATCH_FORGET: u32 = 42;
    pub(crate) const FALLOCATE: u32 = 43;
    pub(crate) const READDIRPLUS: u32 = 44;
    pub(crate) const RENAME2: u32 = 45;
    pub(crate) const LSEEK: u32 = 46;
    pub(crate) const SYNCFS: u32 = 50;
    pub(crate) const TMPFILE: u32 = 51;
}

/// Flags of INIT; those from 32 on travel in `flags2`.
pub(crate) mod init {
    pub(crate) const ASYNC_READ: u64 = 1;
    pub(crate) const ATOMIC_O_TRUNC: u64 = 1 << 3;
    pub(crate) const BIG_WRITES: u64 = 1 << 5;
    pub(crate) const DONT_MASK: u64 = 1 << 6;
    pub(crate) const DO_READDIRPLUS: u64 = 1 << 13;
    pub(crate) const READDIRPLUS_AUTO: u64 = 1 << 14;
    pub(crate) const ASYNC_DIO: u64 = 1 << 15;
    pub(crate) const PARALLEL_DIROPS: u64 = 1 << 18;
    pub(crate) const POSIX_ACL: u64 = 1 << 20;
    pub(crate) const MAX_PAGES: u64 = 1 << 22;
    pub(crate) const CACHE_SYMLINKS: u64 = 1 << 23;
    pub(crate) const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    pub(crate) const SETXATTR_EXT: u64 = 1 << 29;
    pub(crate) const INIT_EXT: u64 = 1 << 30;
    pub(crate) const HAS_EXPIRE_ONLY: u64 = 1 << 35;
    pub(crate) const PASSTHROUGH: u64 = 1 << 37;
    pub(crate) const NO_EXPORT_SUPPORT: u64 = 1 << 38;
}

/// Bits of [`SetAttrIn::valid`].
pub(crate) mod fattr {
    pub(crate) const MODE: u32 = 1;
    pub(crate) const UID: u32 = 1 << 1;
    pub(crate) const GID: u32 = 1 << 2;
    pub(crate) const SIZE: u32 = 1 << 3;
    pub(crate) const ATIME: u32 = 1 << 4;
    pub(crate) const MTIME: u32 = 1 << 5;
    pub(crate) const FH: u32 = 1 << 6;
    pub(crate) const ATIME_NOW: u32 = 1 << 7;
    pub(crate) const MTIME_NOW: u32 = 1 << 8;
    pub(crate) const CTIME: u32 = 1 << 10;
    pub(crate) const KILL_SUIDGID: u32 = 1 << 11;
}

/// Bits of [`OpenOut::flags`].
pub(crate) mod fopen {
    pub(crate) const DIRECT_IO: u32 = 1;
    pub(crate) const KEEP_CACHE: u32 = 1 << 1;
    pub(crate) const CACHE_DIR: u32 = 1 << 3;
    pub(crate) const NOFLUSH: u32 = 1 << 5;
    pub(crate) const PASSTHROUGH: u32 = 1 << 7;
}

/// `FUSE_GETATTR_FH`.
pub(crate) const GETATTR_FH: u32 = 1;
/// `FUSE_OPEN_KILL_SUIDGID`.
pub(crate) const OPEN_KILL_SUIDGID: u32 = 1;
/// `FUSE_WRITE_CACHE`.
pub(crate) const WRITE_CACHE: u32 = 1;
/// `FUSE_WRITE_KILL_SUIDGID`.
pub(crate) const WRITE_KILL_SUIDGID: u32 = 1 << 2;
/// `FUSE_FSYNC_FDATASYNC`.
pub(crate) const FSYNC_FDATASYNC: u32 = 1;
/// `FUSE_SETXATTR_ACL_KILL_SGID`.
pub(crate) const SETXATTR_ACL_KILL_SGID: u32 = 1;
/// `FUSE_EXPIRE_ONLY`.
pub(crate) const EXPIRE_ONLY: u32 = 1;
/// `FUSE_NOTIFY_*`, in the error field of a message that answers no request.
pub(crate) const NOTIFY_INVAL_INODE: i32 = 2;
/// Likewise.
pub(crate) const NOTIFY_INVAL_ENTRY: i32 = 3;
/// Likewise.
pub(crate) const NOTIFY_DELETE: i32 = 6;
pub(crate) const NOTIFY_INC_EPOCH: i32 = 8;

/// Declares structures of the wire, and checks their sizes.
macro_rules! wire {
    ($($(#[$attribute:meta])* $name:ident, $size:literal { $($field:ident: $type:ty,)* })*) => { $(
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $type,)* }
        const _: () = assert!(size_of::<$name>() == $size);
    )* };
}

wire! {
    /// In front of each request.
    InHeader, 40 {
        len: u32,
        opcode: u32,
        unique: u64,
        node: u64,
        uid: u32,
        gid: u32,
        pid: u32,
        extensions: u16,
        padding: u16,
    }
    /// In front of each answer and notification.
    OutHeader, 16 {
        len: u32,
        error: i32,
        unique: u64,
    }
    InitIn, 16 {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u32,
    }
    InitOut, 64 {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u32,
        max_background: u16,
        congestion_threshold: u16,
        max_write: u32,
        time_granularity: u32,
        max_pages: u16,
        map_alignment: u16,
        flags2: u32,
        max_stack_depth: u32,
        request_timeout: u16,
        unused: [u16; 11],
    }
    WireAttr, 88 {
        ino: u64,
        size: u64,
        blocks: u64,
        atime: u64,
        mtime: u64,
        ctime: u64,
        atime_nanoseconds: u32,
        mtime_nanoseconds: u32,
        ctime_nanoseconds: u32,
        mode: u32,
        nlink: u32,
        uid: u32,
        gid: u32,
        rdev: u32,
        block_size: u32,
        flags: u32,
    }
    EntryOut, 128 {
        node: u64,
        generation: u64,
        entry_seconds: u64,
        attr_seconds: u64,
        entry_nanoseconds: u32,
        attr_nanoseconds: u32,
        attr: WireAttr,
    }
    AttrOut, 104 {
        seconds: u64,
        nanoseconds: u32,
        padding: u32,
        attr: WireAttr,
    }
    ForgetOne, 16 {
        node: u64,
        count: u64,
    }
    BatchForgetIn, 8 {
        count: u32,
        padding: u32,
    }
    GetAttrIn, 16 {
        flags: u32,
        padding: u32,
        handle: u64,
    }
    SetAttrIn, 88 {
        valid: u32,
        padding: u32,
        handle: u64,
        size: u64,
        lock_owner: u64,
        atime: u64,
        mtime: u64,
        ctime: u64,
        atime_nanoseconds: u32,
        mtime_nanoseconds: u32,
        ctime_nanoseconds: u32,
        mode: u32,
        unused4: u32,
        uid: u32,
        gid: u32,
        unused5: u32,
    }
    MknodIn, 16 {
        mode: u32,
        rdev: u32,
        umask: u32,
        padding: u32,
    }
    MkdirIn, 8 {
        mode: u32,
        umask: u32,
    }
    Rename2In, 16 {
        directory: u64,
        flags: u32,
        padding: u32,
    }
    OpenIn, 8 {
        flags: u32,
        open_flags: u32,
    }
    CreateIn, 16 {
        flags: u32,
        mode: u32,
        umask: u32,
        open_flags: u32,
    }
    OpenOut, 16 {
        handle: u64,
        flags: u32,
        backing: i32,
    }
    /// `fuse_read_in` and `fuse_write_in`, which have the same fields.
    TransferIn, 40 {
        handle: u64,
        offset: u64,
        size: u32,
        transfer_flags: u32,
        lock_owner: u64,
        flags: u32,
        padding: u32,
    }
    WriteOut, 8 {
        size: u32,
        padding: u32,
    }
    /// What RELEASE, FLUSH, FSYNC and their like begin with; the rest of them is not used.
    HandleIn, 16 {
        handle: u64,
        flags: u32,
        padding: u32,
    }
    FallocateIn, 32 {
        handle: u64,
        offset: u64,
        length: u64,
        mode: u32,
        padding: u32,
    }
    LseekIn, 24 {
        handle: u64,
        offset: u64,
        whence: u32,
        padding: u32,
    }
    StatFsOut, 80 {
        blocks: u64,
        free: u64,
        available: u64,
        files: u64,
        files_free: u64,
        block_size: u32,
        name_max: u32,
        fragment: u32,
        padding: u32,
        spare: [u32; 6],
    }
    /// The short form, `FUSE_COMPAT_SETXATTR_IN_SIZE`.
    SetXattrIn, 8 {
        size: u32,
        flags: u32,
    }
    /// What follows it where `SETXATTR_EXT` was agreed on.
    SetXattrExtension, 8 {
        flags: u32,
        padding: u32,
    }
    /// `fuse_getxattr_in` and `fuse_getxattr_out`.
    XattrSize, 8 {
        size: u32,
        padding: u32,
    }
    Dirent, 24 {
        ino: u64,
        offset: u64,
        name_length: u32,
        kind: u32,
    }
    InvalInodeOut, 24 {
        node: u64,
        offset: i64,
        length: i64,
    }
    InvalEntryOut, 16 {
        parent: u64,
        name_length: u32,
        flags: u32,
    }
    DeleteOut, 24 {
        parent: u64,
        child: u64,
        name_length: u32,
        padding: u32,
    }
}
