//! What a file system answers.

use crate::types::{
    AttrReply, Caller, Created, Entry, Handle, NodeId, OpenReply, ReaddirKind, RenameFlags,
    SetAttr, StatFs, WriteFlags,
};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::ffi::CStr;

/// Takes the entries of a directory, until the caller's buffer is full.
pub trait DirectorySink {
    /// Adds a name. `offset` is where to go on after it; `kind` its `S_IF*` bits. `false`: it did
    /// not fit, and the listing ends before it.
    fn name(&mut self, name: &CStr, ino: u64, kind: u32, offset: u64) -> bool;

    /// Adds a name with what a lookup would answer; the kernel counts a reference as for a lookup
    /// (not for `.` and `..`, nor where `entry.node` is 0). `false` as above: no reference is
    /// counted then. Only in a listing of [`ReaddirKind::Plus`].
    fn entry(&mut self, name: &CStr, entry: &Entry, offset: u64) -> bool;
}

/// A file system, called from several threads at once.
///
/// Each method answers one request of the kernel (fuse.rst and `include/uapi/linux/fuse.h`); its
/// error goes to the caller as it is. Names are single components, never empty, never `.` or `..`.
/// Modes of what is made have the caller's umask taken off by `umask` (not by the kernel, which
/// leaves that to us so that default ACLs decide, `FUSE_DONT_MASK`).
///
/// A panic in a method fails that request with `EIO`, and nothing else.
pub trait Filesystem: Send + Sync + 'static {
    /// LOOKUP.
    fn lookup(&self, caller: Caller, parent: NodeId, name: &CStr) -> Result<Entry, Errno>;
    /// FORGET: the kernel drops `count` of its references to `node`. Also called when an answer
    /// that counted one could not be delivered.
    fn forget(&self, node: NodeId, count: u64);
    /// GETATTR; `handle` if the caller named an open file.
    fn getattr(&self, node: NodeId, handle: Option<Handle>) -> Result<AttrReply, Errno>;
    /// SETATTR.
    fn setattr(&self, caller: Caller, node: NodeId, change: &SetAttr) -> Result<AttrReply, Errno>;
    /// READLINK, without a final NUL.
    fn readlink(&self, node: NodeId) -> Result<Vec<u8>, Errno>;
    /// SYMLINK.
    fn symlink(&self, c: Caller, parent: NodeId, name: &CStr, to: &CStr) -> Result<Entry, Errno>;
    /// MKNOD; `mode` has the type.
    fn mknod(&self, c: Caller, parent: NodeId, name: &CStr, made: Made) -> Result<Entry, Errno>;
    /// MKDIR.
    fn mkdir(&self, c: Caller, parent: NodeId, name: &CStr, made: Made) -> Result<Entry, Errno>;
    /// UNLINK.
    fn unlink(&self, caller: Caller, parent: NodeId, name: &CStr) -> Result<(), Errno>;
    /// RMDIR.
    fn rmdir(&self, caller: Caller, parent: NodeId, name: &CStr) -> Result<(), Errno>;
    /// RENAME, RENAME2.
    fn rename(
        &self,
        caller: Caller,
        from: (NodeId, &CStr),
        to: (NodeId, &CStr),
        flags: RenameFlags,
    ) -> Result<(), Errno>;
    /// LINK: `node` gets one more name.
    fn link(&self, c: Caller, node: NodeId, parent: NodeId, name: &CStr) -> Result<Entry, Errno>;
    /// OPEN. `ESTALE` makes the kernel look the path up again, once. `kill_suidgid`: set-id bits
    /// and capabilities go with the content (`O_TRUNC`).
    fn open(
        &self,
        caller: Caller,
        node: NodeId,
        flags: OFlags,
        kill_suidgid: bool,
    ) -> Result<OpenReply, Errno>;
    /// CREATE.
    fn create(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &CStr,
        made: Made,
        flags: OFlags,
    ) -> Result<Created, Errno>;
    /// TMPFILE: a file without a name in `parent`.
    fn tmpfile(
        &self,
        caller: Caller,
        parent: NodeId,
        made: Made,
        flags: OFlags,
    ) -> Result<Created, Errno>;
    /// READ into `buffer`; how much was there.
    fn read(&self, h: Handle, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno>;
    /// WRITE.
    fn write(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
    ) -> Result<usize, Errno>;
    /// FLUSH, at each close of a descriptor.
    fn flush(&self, node: NodeId, handle: Handle) -> Result<(), Errno>;
    /// RELEASE: the last descriptor of an open file is gone.
    fn release(&self, node: NodeId, handle: Handle);
    /// FSYNC; `data_only` as fdatasync(2).
    fn fsync(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<(), Errno>;
    /// FALLOCATE, with the mode bits of fallocate(2).
    fn fallocate(
        &self,
        node: NodeId,
        handle: Handle,
        range: (u64, u64),
        mode: u32,
    ) -> Result<(), Errno>;
    /// LSEEK with `SEEK_DATA` or `SEEK_HOLE`.
    fn lseek(&self, n: NodeId, h: Handle, offset: u64, whence: u32) -> Result<u64, Errno>;
    /// OPENDIR.
    fn opendir(&self, caller: Caller, node: NodeId) -> Result<OpenReply, Errno>;
    /// READDIR, READDIRPLUS, from `offset` (0, or one that was given with a name).
    fn readdir(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        kind: ReaddirKind,
        sink: &mut dyn DirectorySink,
    ) -> Result<(), Errno>;
    /// RELEASEDIR.
    fn releasedir(&self, node: NodeId, handle: Handle);
    /// FSYNCDIR.
    fn fsyncdir(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<(), Errno>;
    /// STATFS.
    fn statfs(&self, node: NodeId) -> Result<StatFs, Errno>;
    /// SYNCFS.
    fn syncfs(&self) -> Result<(), Errno>;
    /// SETXATTR with the flags of setxattr(2); `kill_sgid`: the set-group-id bit goes.
    fn setxattr(
        &self,
        node: NodeId,
        name: &CStr,
        value: &[u8],
        flags: u32,
        kill_sgid: bool,
    ) -> Result<(), Errno>;
    /// GETXATTR, the whole value.
    fn getxattr(&self, node: NodeId, name: &CStr) -> Result<Vec<u8>, Errno>;
    /// LISTXATTR: names, each with its final NUL.
    fn listxattr(&self, node: NodeId) -> Result<Vec<u8>, Errno>;
    /// REMOVEXATTR.
    fn removexattr(&self, node: NodeId, name: &CStr) -> Result<(), Errno>;
    /// Called once, after the last request.
    fn destroy(&self);
}

/// With what mode something is made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Type and permission bits as the caller gave them.
    pub mode: u32,
    /// The caller's umask.
    pub umask: u32,
    /// Major and minor number, for devices.
    pub rdev: (u32, u32),
}
