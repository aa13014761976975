//! A small file system in memory. Node ids differ from inode numbers, as in what this crate is for.

use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strata_fuse::{
    Attr, AttrReply, Backing, Caller, Created, DirectorySink, Entry, Filesystem, Handle, Made,
    NodeId, OpenReply, ReaddirKind, RenameFlags, SetAttr, StatFs, TimeChange, WriteFlags,
};

/// Inode numbers are node ids plus this.
pub(crate) const INO_BASE: u64 = 1_000_000;
/// A time that nothing else has.
pub(crate) const MADE_AT: i64 = 1_234_567_890;

/// What is under one node id.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) attr: Attr,
    pub(crate) data: Vec<u8>,
    pub(crate) names: BTreeMap<CString, u64>,
    pub(crate) xattrs: BTreeMap<CString, Vec<u8>>,
    pub(crate) backing: Option<Backing>,
    /// References that the kernel has.
    pub(crate) references: u64,
    /// Open files.
    pub(crate) opens: i64,
}

/// The nodes by id, and what happened to them.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) calls: BTreeMap<&'static str, usize>,
    /// Names whose answer waits until it is let through.
    pub(crate) gated: BTreeSet<CString>,
    /// How many wait.
    pub(crate) waiting: usize,
    /// The last `kill_suidgid` of an open, and flags of it.
    pub(crate) opened: Option<(OFlags, bool)>,
    pub(crate) entry_ttl: Duration,
    pub(crate) attr_ttl: Duration,
    next: u64,
}

/// The file system.
pub(crate) struct Memory {
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Memory {
    fn default() -> Self {
        let mut state = State {
            next: 1,
            ..State::default()
        };
        state.add(0o040_755);
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }
}

impl State {
    fn add(&mut self, mode: u32) -> u64 {
        let id = self.next;
        self.next += 1;
        let time = (MADE_AT, 5);
        let attr = Attr {
            ino: INO_BASE + id,
            mode,
            nlink: if mode & 0o170_000 == 0o040_000 { 2 } else { 1 },
            atime: time,
            mtime: time,
            ctime: time,
            blksize: 4096,
            ..Attr::default()
        };
        let node = Node {
            attr,
            ..Node::default()
        };
        self.nodes.insert(id, node);
        id
    }

    /// An empty file, without the kernel.
    pub(crate) fn add_file(&mut self, name: &str) {
        let id = self.add(0o100_644);
        let name = CString::new(name).unwrap();
        self.node(NodeId::ROOT).unwrap().names.insert(name, id);
    }

    pub(crate) fn node(&mut self, node: NodeId) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&node.0).ok_or(Errno::STALE)
    }

    pub(crate) fn find(&mut self, parent: NodeId, name: &CStr) -> Option<NodeId> {
        let found = self.node(parent).ok()?.names.get(name).copied();
        found.map(NodeId)
    }

    fn count(&mut self, call: &'static str) {
        *self.calls.entry(call).or_default() += 1;
    }

    fn entry(&mut self, id: u64) -> Entry {
        let (entry_ttl, attr_ttl) = (self.entry_ttl, self.attr_ttl);
        let node = self.nodes.get_mut(&id).expect("a node that has a name");
        node.references += 1;
        Entry {
            node: NodeId(id),
            generation: 0,
            attr: node.attr,
            entry_ttl,
            attr_ttl,
        }
    }

    fn attr(&mut self, node: NodeId) -> Result<AttrReply, Errno> {
        let ttl = self.attr_ttl;
        let attr = self.node(node)?.attr;
        Ok(AttrReply { attr, ttl })
    }

    fn make(
        &mut self,
        caller: Caller,
        parent: NodeId,
        name: &CStr,
        made: Made,
    ) -> Result<u64, Errno> {
        if self.find(parent, name).is_some() {
            return Err(Errno::EXIST);
        }
        let id = self.add_as(caller, made);
        self.node(parent)?.names.insert(name.to_owned(), id);
        Ok(id)
    }

    fn add_as(&mut self, caller: Caller, made: Made) -> u64 {
        let id = self.add(made.mode & !made.umask);
        let attr = &mut self.nodes.get_mut(&id).expect("just added").attr;
        (attr.uid, attr.gid, attr.rdev) = (caller.uid, caller.gid, made.rdev);
        id
    }

    fn open(&mut self, node: NodeId) -> Result<OpenReply, Errno> {
        let found = self.node(node)?;
        found.opens += 1;
        Ok(OpenReply {
            passthrough: found.backing,
            ..OpenReply::cached(Handle(node.0))
        })
    }

    fn remove(&mut self, parent: NodeId, name: &CStr) -> Result<(), Errno> {
        let id = self.find(parent, name).ok_or(Errno::NOENT)?;
        self.node(id)?.attr.nlink -= 1;
        self.node(parent)?.names.remove(name);
        Ok(())
    }

    fn resize(&mut self, node: NodeId, size: u64) -> Result<(), Errno> {
        let node = self.node(node)?;
        node.data.resize(size as usize, 0);
        node.attr.size = size;
        Ok(())
    }
}

impl Memory {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds answers about `name` back.
    pub(crate) fn gate(&self, name: &CStr) {
        self.state().gated.insert(name.to_owned());
    }

    /// Lets all answers through.
    pub(crate) fn open_gates(&self) {
        self.state().gated.clear();
        self.changed.notify_all();
    }

    /// Waits until `holds` of the state.
    pub(crate) fn wait_until(&self, holds: impl Fn(&State) -> bool) {
        let limit = Duration::from_secs(20);
        let (_state, result) = self
            .changed
            .wait_timeout_while(self.state(), limit, |state| !holds(state))
            .unwrap();
        assert!(!result.timed_out(), "nothing happened");
    }

    fn pass(&self, name: &CStr) {
        let mut state = self.state();
        state.waiting += 1;
        self.changed.notify_all();
        let mut state = self
            .changed
            .wait_while(state, |state| state.gated.contains(name))
            .unwrap();
        state.waiting -= 1;
    }

    fn counted(&self, call: &'static str) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.count(call);
        self.changed.notify_all();
        state
    }
}

impl Filesystem for Memory {
    fn lookup(&self, _: Caller, parent: NodeId, name: &CStr) -> Result<Entry, Errno> {
        assert!(name != c"panics", "as was asked for");
        let mut state = self.counted("lookup");
        let entry_ttl = state.entry_ttl;
        let entry = match state.find(parent, name) {
            Some(NodeId(id)) => state.entry(id),
            None if entry_ttl.is_zero() => return Err(Errno::NOENT),
            None => Entry {
                node: NodeId(0),
                generation: 0,
                attr: Attr::default(),
                entry_ttl,
                attr_ttl: Duration::ZERO,
            },
        };
        drop(state);
        self.pass(name);
        Ok(entry)
    }

    fn forget(&self, node: NodeId, count: u64) {
        let mut state = self.counted("forget");
        let given = state
            .nodes
            .get_mut(&node.0)
            .map(|node| &mut node.references);
        match given.and_then(|given| Some((given.checked_sub(count)?, given))) {
            Some((left, given)) => *given = left,
            None => state.count("forgotten too often"),
        }
    }

    fn getattr(&self, node: NodeId, _: Option<Handle>) -> Result<AttrReply, Errno> {
        self.counted("getattr").attr(node)
    }

    fn setattr(&self, _: Caller, node: NodeId, change: &SetAttr) -> Result<AttrReply, Errno> {
        let mut state = self.counted("setattr");
        if let Some(size) = change.size {
            state.resize(node, size)?;
        }
        let attr = &mut state.node(node)?.attr;
        if let Some(mode) = change.mode {
            attr.mode = attr.mode & 0o170_000 | mode;
        }
        if change.kill_suidgid {
            attr.mode &= !0o6000;
        }
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        let time = |change| match change {
            Some(TimeChange::To(seconds, nanoseconds)) => Some((seconds, nanoseconds)),
            Some(TimeChange::Now) => Some((MADE_AT + 1, 0)),
            None => None,
        };
        attr.atime = time(change.atime).unwrap_or(attr.atime);
        attr.mtime = time(change.mtime).unwrap_or(attr.mtime);
        state.attr(node)
    }

    fn readlink(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        Ok(self.counted("readlink").node(node)?.data.clone())
    }

    fn symlink(&self, c: Caller, parent: NodeId, name: &CStr, to: &CStr) -> Result<Entry, Errno> {
        let mut state = self.state();
        let made = Made {
            mode: 0o120_777,
            umask: 0,
            rdev: (0, 0),
        };
        let id = state.make(c, parent, name, made)?;
        state.node(NodeId(id))?.data = to.to_bytes().to_vec();
        Ok(state.entry(id))
    }

    fn mknod(&self, c: Caller, parent: NodeId, name: &CStr, made: Made) -> Result<Entry, Errno> {
        let mut state = self.state();
        let id = state.make(c, parent, name, made)?;
        Ok(state.entry(id))
    }

    fn mkdir(&self, c: Caller, parent: NodeId, name: &CStr, made: Made) -> Result<Entry, Errno> {
        let made = Made {
            mode: made.mode | 0o040_000,
            ..made
        };
        self.mknod(c, parent, name, made)
    }

    fn unlink(&self, _: Caller, parent: NodeId, name: &CStr) -> Result<(), Errno> {
        self.state().remove(parent, name)
    }

    fn rmdir(&self, _: Caller, parent: NodeId, name: &CStr) -> Result<(), Errno> {
        let mut state = self.state();
        let id = state.find(parent, name).ok_or(Errno::NOENT)?;
        if !state.node(id)?.names.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        state.remove(parent, name)
    }

    fn rename(
        &self,
        caller: Caller,
        from: (NodeId, &CStr),
        to: (NodeId, &CStr),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let mut state = self.state();
        let moved = state.find(from.0, from.1).ok_or(Errno::NOENT)?;
        let replaced = state.find(to.0, to.1);
        if flags.exchange {
            let other = replaced.ok_or(Errno::NOENT)?;
            state.node(from.0)?.names.insert(from.1.to_owned(), other.0);
        } else {
            if replaced.is_some() {
                if flags.no_replace {
                    return Err(Errno::EXIST);
                }
                state.remove(to.0, to.1)?;
            }
            state.node(from.0)?.names.remove(from.1);
        }
        state.node(to.0)?.names.insert(to.1.to_owned(), moved.0);
        if flags.whiteout {
            let made = Made {
                mode: 0o020_000,
                umask: 0,
                rdev: (0, 0),
            };
            state.make(caller, from.0, from.1, made)?;
        }
        Ok(())
    }

    fn link(&self, _: Caller, node: NodeId, parent: NodeId, name: &CStr) -> Result<Entry, Errno> {
        let mut state = self.state();
        state.node(node)?.attr.nlink += 1;
        state.node(parent)?.names.insert(name.to_owned(), node.0);
        Ok(state.entry(node.0))
    }

    fn open(
        &self,
        _: Caller,
        node: NodeId,
        flags: OFlags,
        kill_suidgid: bool,
    ) -> Result<OpenReply, Errno> {
        let mut state = self.counted("open");
        state.opened = Some((flags, kill_suidgid));
        if flags.contains(OFlags::TRUNC) {
            state.resize(node, 0)?;
        }
        state.open(node)
    }

    fn create(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &CStr,
        made: Made,
        _: OFlags,
    ) -> Result<Created, Errno> {
        let mut state = self.counted("create");
        let id = state.make(caller, parent, name, made)?;
        let entry = state.entry(id);
        let open = state.open(NodeId(id))?;
        drop(state);
        self.pass(name);
        Ok(Created { entry, open })
    }

    fn tmpfile(&self, c: Caller, _: NodeId, made: Made, _: OFlags) -> Result<Created, Errno> {
        let mut state = self.counted("tmpfile");
        let id = state.add_as(c, made);
        state.node(NodeId(id))?.attr.nlink = 0;
        let entry = state.entry(id);
        let open = state.open(NodeId(id))?;
        Ok(Created { entry, open })
    }

    fn read(&self, h: Handle, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.pass(c"read");
        let mut state = self.counted("read");
        let data = &state.node(NodeId(h.0))?.data;
        let from = data.get(offset as usize..).unwrap_or_default();
        let length = from.len().min(buffer.len());
        buffer[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }

    fn write(
        &self,
        node: NodeId,
        _: Handle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
    ) -> Result<usize, Errno> {
        let mut state = self.counted("write");
        let end = offset + data.len() as u64;
        if state.node(node)?.attr.size < end {
            state.resize(node, end)?;
        }
        state.node(node)?.data[offset as usize..end as usize].copy_from_slice(data);
        Ok(data.len())
    }

    fn flush(&self, _: NodeId, _: Handle) -> Result<(), Errno> {
        self.state().count("flush");
        Ok(())
    }

    fn release(&self, node: NodeId, _: Handle) {
        self.counted("release").node(node).unwrap().opens -= 1;
    }

    fn fsync(&self, _: NodeId, _: Handle, data_only: bool) -> Result<(), Errno> {
        self.state()
            .count(if data_only { "fdatasync" } else { "fsync" });
        Ok(())
    }

    fn fallocate(
        &self,
        node: NodeId,
        _: Handle,
        (offset, length): (u64, u64),
        mode: u32,
    ) -> Result<(), Errno> {
        if mode != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        let mut state = self.state();
        let size = state.node(node)?.attr.size.max(offset + length);
        state.resize(node, size)
    }

    fn lseek(&self, n: NodeId, _: Handle, offset: u64, whence: u32) -> Result<u64, Errno> {
        // SEEK_DATA, SEEK_HOLE: all is data.
        let size = self.state().node(n)?.attr.size;
        if offset >= size {
            return Err(Errno::NXIO);
        }
        Ok(if whence == 3 { offset } else { size })
    }

    fn opendir(&self, _: Caller, node: NodeId) -> Result<OpenReply, Errno> {
        self.counted("opendir").open(node)
    }

    fn readdir(
        &self,
        node: NodeId,
        _: Handle,
        offset: u64,
        kind: ReaddirKind,
        sink: &mut dyn DirectorySink,
    ) -> Result<(), Errno> {
        let plus = kind == ReaddirKind::Plus;
        let mut state = self.counted(if plus { "readdirplus" } else { "readdir" });
        let own = state.node(node)?.attr.ino;
        let names = state.node(node)?.names.clone();
        let names: Vec<(CString, u64)> = names.into_iter().collect();
        for (position, name) in [c".", c".."].into_iter().enumerate() {
            if offset <= position as u64 && !sink.name(name, own, 0o040_000, position as u64 + 1) {
                return Ok(());
            }
        }
        let first = offset.saturating_sub(2);
        for (next, (name, id)) in (first + 3..).zip(&names[first as usize..]) {
            assert!(name.as_c_str() != c"panics", "as was asked for");
            let attr = state.node(NodeId(*id))?.attr;
            let fits = if plus {
                let entry = state.entry(*id);
                let fits = sink.entry(name, &entry, next);
                state.node(NodeId(*id))?.references -= u64::from(!fits);
                fits
            } else {
                sink.name(name, attr.ino, attr.mode, next)
            };
            if !fits {
                break;
            }
        }
        Ok(())
    }

    fn releasedir(&self, node: NodeId, _: Handle) {
        self.counted("releasedir").node(node).unwrap().opens -= 1;
    }

    fn fsyncdir(&self, _: NodeId, _: Handle, _: bool) -> Result<(), Errno> {
        self.state().count("fsyncdir");
        Ok(())
    }

    fn statfs(&self, _: NodeId) -> Result<StatFs, Errno> {
        Ok(StatFs {
            blocks: 100,
            free: 50,
            available: 40,
            files: 30,
            files_free: 20,
            block_size: 4096,
            name_max: 255,
            fragment: 4096,
        })
    }

    fn syncfs(&self) -> Result<(), Errno> {
        Ok(())
    }

    fn setxattr(
        &self,
        node: NodeId,
        name: &CStr,
        value: &[u8],
        _: u32,
        _: bool,
    ) -> Result<(), Errno> {
        let mut state = self.state();
        let xattrs = &mut state.node(node)?.xattrs;
        xattrs.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    fn getxattr(&self, node: NodeId, name: &CStr) -> Result<Vec<u8>, Errno> {
        let mut state = self.counted("getxattr");
        let found = state.node(node)?.xattrs.get(name).cloned();
        found.ok_or(Errno::NODATA)
    }

    fn listxattr(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        let mut state = self.state();
        let names = state.node(node)?.xattrs.keys();
        Ok(names
            .flat_map(|name| name.to_bytes_with_nul().to_vec())
            .collect())
    }

    fn removexattr(&self, node: NodeId, name: &CStr) -> Result<(), Errno> {
        let removed = self.state().node(node)?.xattrs.remove(name);
        removed.map(drop).ok_or(Errno::NODATA)
    }

    fn destroy(&self) {
        drop(self.counted("destroy"));
    }
}
