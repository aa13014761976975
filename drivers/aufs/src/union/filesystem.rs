//! The kernel's requests, each passed to where it is answered.

use super::listing::Reading;
use super::node::{Body, Node};
use super::open::node_id;
use super::options::CopyUpOnOpen;
use super::rename::End;
use super::state::Union;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::ffi::CStr;
use std::sync::Arc;
use strata_fuse::{
    AttrReply, Caller, Created, DirectorySink, Entry, Filesystem, Handle, Made, NodeId, OpenReply,
    ReaddirKind, RenameFlags, SetAttr, StatFs, WriteFlags,
};

impl Union {
    fn node(&self, id: NodeId) -> Result<Arc<Node>, Errno> {
        self.table.get(id)
    }
}

impl Filesystem for Union {
    fn lookup(&self, _caller: Caller, parent: NodeId, name: &CStr) -> Result<Entry, Errno> {
        self.look_up(&self.node(parent)?, name)
    }

    fn forget(&self, node: NodeId, count: u64) {
        self.table.forget(node, count);
    }

    fn getattr(&self, node: NodeId, _handle: Option<Handle>) -> Result<AttrReply, Errno> {
        self.attributes(&*self.node(node)?, None)
    }

    fn setattr(&self, caller: Caller, node: NodeId, change: &SetAttr) -> Result<AttrReply, Errno> {
        self.change(caller, &self.node(node)?, change)
    }

    fn readlink(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        Self::link_target(&self.node(node)?)
    }

    fn symlink(&self, c: Caller, parent: NodeId, name: &CStr, to: &CStr) -> Result<Entry, Errno> {
        self.make_symlink(c, &self.node(parent)?, name, to)
    }

    fn mknod(&self, c: Caller, parent: NodeId, name: &CStr, made: Made) -> Result<Entry, Errno> {
        self.make_node(c, &self.node(parent)?, name, made)
    }

    fn mkdir(&self, c: Caller, parent: NodeId, name: &CStr, made: Made) -> Result<Entry, Errno> {
        self.make_directory(c, &self.node(parent)?, name, made)
    }

    fn unlink(&self, _caller: Caller, parent: NodeId, name: &CStr) -> Result<(), Errno> {
        self.remove_name(&self.node(parent)?, name)
    }

    fn rmdir(&self, _caller: Caller, parent: NodeId, name: &CStr) -> Result<(), Errno> {
        self.remove_directory(&self.node(parent)?, name)
    }

    fn rename(
        &self,
        _caller: Caller,
        from: (NodeId, &CStr),
        to: (NodeId, &CStr),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let (here, there) = (self.node(from.0)?, self.node(to.0)?);
        let end = |parent, name| End { parent, name };
        self.move_name(end(&here, from.1), end(&there, to.1), flags)
    }

    fn link(&self, _c: Caller, node: NodeId, parent: NodeId, name: &CStr) -> Result<Entry, Errno> {
        self.make_link(&self.node(node)?, &self.node(parent)?, name)
    }

    fn open(
        &self,
        _caller: Caller,
        node: NodeId,
        flags: OFlags,
        kill_suidgid: bool,
    ) -> Result<OpenReply, Errno> {
        self.open_node(&self.node(node)?, flags, kill_suidgid)
    }

    fn create(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &CStr,
        made: Made,
        _flags: OFlags,
    ) -> Result<Created, Errno> {
        self.create_file(caller, &self.node(parent)?, name, made)
    }

    fn tmpfile(
        &self,
        caller: Caller,
        parent: NodeId,
        made: Made,
        _flags: OFlags,
    ) -> Result<Created, Errno> {
        self.create_nameless(caller, &self.node(parent)?, made)
    }

    fn read(&self, h: Handle, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        Self::read_node(&self.node(node_id(h))?, offset, buffer)
    }

    fn write(
        &self,
        node: NodeId,
        _handle: Handle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
    ) -> Result<usize, Errno> {
        self.write_node(&self.node(node)?, offset, data, flags)
    }

    fn flush(&self, _node: NodeId, _handle: Handle) -> Result<(), Errno> {
        Ok(())
    }

    fn release(&self, node: NodeId, _handle: Handle) {
        if let Ok(node) = self.node(node) {
            self.leave(&node);
        }
    }

    fn fsync(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<(), Errno> {
        self.sync_node(&self.node(node)?, handle, data_only)
    }

    fn fallocate(
        &self,
        node: NodeId,
        _handle: Handle,
        range: (u64, u64),
        mode: u32,
    ) -> Result<(), Errno> {
        self.allocate_node(&self.node(node)?, range, mode)
    }

    fn lseek(&self, n: NodeId, _h: Handle, offset: u64, whence: u32) -> Result<u64, Errno> {
        Self::seek_node(&self.node(n)?, offset, whence)
    }

    fn opendir(&self, _caller: Caller, node: NodeId) -> Result<OpenReply, Errno> {
        let node = self.node(node)?;
        self.open_listing(&node)
    }

    fn readdir(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        kind: ReaddirKind,
        sink: &mut dyn DirectorySink,
    ) -> Result<(), Errno> {
        let node = self.node(node)?;
        if self.keeps_listings() {
            let Body::Directory { reading, .. } = &node.body else {
                return Err(Errno::NOTDIR);
            };
            return self.list(&node, reading, offset, kind, sink);
        }
        let open = self.opened_directory(handle)?;
        self.list(&node, &open, offset, kind, sink)
    }

    fn releasedir(&self, _node: NodeId, handle: Handle) {
        self.close_directory(handle);
    }

    fn fsyncdir(&self, node: NodeId, _handle: Handle, data_only: bool) -> Result<(), Errno> {
        Self::sync_directory(&self.node(node)?, data_only)
    }

    fn statfs(&self, _node: NodeId) -> Result<StatFs, Errno> {
        self.space()
    }

    fn syncfs(&self) -> Result<(), Errno> {
        self.sync_all()
    }

    fn setxattr(
        &self,
        node: NodeId,
        name: &CStr,
        value: &[u8],
        flags: u32,
        kill_sgid: bool,
    ) -> Result<(), Errno> {
        let node = self.node(node)?;
        self.set_xattr(&node, name, value, flags)?;
        if kill_sgid && !node.is_directory() {
            let other = node.other()?;
            let mode = u32::from(other.place.stat()?.stx_mode) & 0o7777;
            other.place.chmod(mode & !0o2000)?;
        }
        Ok(())
    }

    fn getxattr(&self, node: NodeId, name: &CStr) -> Result<Vec<u8>, Errno> {
        self.xattr(&self.node(node)?, name)
    }

    fn listxattr(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        Self::xattrs(&self.node(node)?)
    }

    fn removexattr(&self, node: NodeId, name: &CStr) -> Result<(), Errno> {
        self.remove_xattr(&self.node(node)?, name)
    }

    fn destroy(&self) {}
}

impl Union {
    fn open_listing(&self, node: &Arc<Node>) -> Result<OpenReply, Errno> {
        if self.keeps_listings() {
            // The kernel does not ask again, and caches what it reads until a name changes.
            return Err(Errno::NOSYS);
        }
        let copies = {
            let directory = node.directory()?;
            let top = &directory.parts[0].branch;
            !top.is_writable() && top.copy_up_on_open == CopyUpOnOpen::All && self.is_written()
        };
        if copies {
            self.upper_of(node)?;
        }
        Ok(OpenReply::cached(self.open_directory(Reading::default())))
    }
}
