//! An answer as it goes to the kernel: header and body in one buffer, written at once.

use crate::filesystem::DirectorySink;
use crate::request::encode_device;
use crate::types::{Attr, AttrReply, Entry, NodeId, OpenReply, StatFs, Ttl};
use crate::wire::{
    AttrOut, Dirent, EntryOut, OpenOut, OutHeader, StatFsOut, WireAttr, XattrSize, fopen,
};
use rustix::io::Errno;
use std::ffi::CStr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const HEADER: usize = size_of::<OutHeader>();

/// The buffer that a thread writes all its answers into.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    end: usize,
}

impl Reply {
    /// Room for a body of `largest` bytes.
    pub(crate) fn new(largest: usize) -> Self {
        Self {
            bytes: vec![0; HEADER + largest],
            end: HEADER,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.end = HEADER;
    }

    /// What the body is so far.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[HEADER..self.end]
    }

    /// Adds to the body; `EIO` for what is longer than any request asks for.
    pub(crate) fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let room = self.bytes.get_mut(self.end..self.end + bytes.len());
        room.ok_or(Errno::IO)?.copy_from_slice(bytes);
        self.end += bytes.len();
        Ok(())
    }

    /// Adds a structure to the body.
    pub(crate) fn put(&mut self, value: &(impl IntoBytes + Immutable)) -> Result<(), Errno> {
        self.put_bytes(value.as_bytes())
    }

    /// Lets `fill` write a body of at most `size` bytes in its place.
    pub(crate) fn fill(
        &mut self,
        size: u32,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<(), Errno> {
        let room = &mut self.bytes[HEADER..];
        let size = room.len().min(size as usize);
        let filled = fill(&mut room[..size])?;
        if filled > size {
            return Err(Errno::IO);
        }
        self.end = HEADER + filled;
        Ok(())
    }

    /// Answers a request for an extended attribute or a list of them: its size, if `size` is 0, or
    /// all of it, or `ERANGE`.
    pub(crate) fn put_xattr(&mut self, value: &[u8], size: u32) -> Result<(), Errno> {
        if size == 0 {
            let size = u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?;
            self.put(&XattrSize { size, padding: 0 })
        } else if value.len() > size as usize {
            Err(Errno::RANGE)
        } else {
            self.put_bytes(value)
        }
    }

    /// The whole message. An error has no body.
    pub(crate) fn message(&mut self, unique: u64, result: Result<(), Errno>) -> &[u8] {
        let error = match result {
            Ok(()) => 0,
            Err(errno) => {
                self.clear();
                // The kernel takes no other numbers for an answer (fuse_dev_do_write).
                let number = errno.raw_os_error();
                -(if (1..512).contains(&number) {
                    number
                } else {
                    Errno::IO.raw_os_error()
                })
            }
        };
        let header = OutHeader {
            len: self.end as u32,
            error,
            unique,
        };
        self.bytes[..HEADER].copy_from_slice(header.as_bytes());
        &self.bytes[..self.end]
    }
}

/// Takes names into a reply, until the size that the caller asked for is reached.
pub(crate) struct Listing<'a> {
    reply: &'a mut Reply,
    limit: usize,
    plus: bool,
    /// There was a name that did not fit.
    pub(crate) is_full: bool,
}

impl<'a> Listing<'a> {
    pub(crate) fn new(reply: &'a mut Reply, size: u32, plus: bool) -> Self {
        let limit = reply.bytes.len().min(HEADER + size as usize);
        Self {
            reply,
            limit,
            plus,
            is_full: false,
        }
    }

    /// Whether no name was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.reply.body().is_empty()
    }

    fn put(&mut self, entry: Option<&EntryOut>, record: Dirent, name: &[u8]) -> bool {
        let front = if self.plus { size_of::<EntryOut>() } else { 0 };
        let length = (front + size_of::<Dirent>() + name.len()).next_multiple_of(8);
        let start = self.reply.end;
        if self.is_full || start + length > self.limit {
            self.is_full = true;
            return false;
        }
        let room = &mut self.reply.bytes[start..start + length];
        let (before, rest) = room.split_at_mut(front);
        match entry {
            Some(entry) => before.copy_from_slice(entry.as_bytes()),
            None => before.fill(0),
        }
        let (head, rest) = rest.split_at_mut(size_of::<Dirent>());
        head.copy_from_slice(record.as_bytes());
        let (text, padding) = rest.split_at_mut(name.len());
        text.copy_from_slice(name);
        padding.fill(0);
        self.reply.end += length;
        true
    }
}

impl DirectorySink for Listing<'_> {
    fn name(&mut self, name: &CStr, ino: u64, kind: u32, offset: u64) -> bool {
        self.put(None, record(name, ino, kind, offset), name.to_bytes())
    }

    fn entry(&mut self, name: &CStr, entry: &Entry, offset: u64) -> bool {
        assert!(self.plus, "an entry in a listing of names only");
        let record = record(name, entry.attr.ino, entry.attr.mode, offset);
        self.put(Some(&entry_out(entry)), record, name.to_bytes())
    }
}

fn record(name: &CStr, ino: u64, mode: u32, offset: u64) -> Dirent {
    Dirent {
        ino,
        offset,
        name_length: name.count_bytes() as u32,
        kind: (mode & 0o170_000) >> 12,
    }
}

/// The nodes in the body of a READDIRPLUS answer of which the kernel would count a reference.
pub(crate) fn listed_nodes(mut body: &[u8]) -> impl Iterator<Item = NodeId> + '_ {
    std::iter::from_fn(move || {
        loop {
            let (entry, rest) = EntryOut::read_from_prefix(body).ok()?;
            let (record, _) = Dirent::read_from_prefix(rest).ok()?;
            let name = size_of::<Dirent>() + record.name_length as usize;
            body = rest.get(name.next_multiple_of(8)..)?;
            let name = &rest[size_of::<Dirent>()..name];
            if entry.node != 0 && name != b"." && name != b".." {
                return Some(NodeId(entry.node));
            }
        }
    })
}

fn wire_attr(attr: &Attr) -> WireAttr {
    WireAttr {
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime.0.cast_unsigned(),
        mtime: attr.mtime.0.cast_unsigned(),
        ctime: attr.ctime.0.cast_unsigned(),
        atime_nanoseconds: attr.atime.1,
        mtime_nanoseconds: attr.mtime.1,
        ctime_nanoseconds: attr.ctime.1,
        mode: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: encode_device(attr.rdev),
        block_size: attr.blksize,
        flags: 0,
    }
}

fn split(ttl: Ttl) -> (u64, u32) {
    (ttl.as_secs(), ttl.subsec_nanos())
}

pub(crate) fn entry_out(entry: &Entry) -> EntryOut {
    let (entry_seconds, entry_nanoseconds) = split(entry.entry_ttl);
    let (attr_seconds, attr_nanoseconds) = split(entry.attr_ttl);
    EntryOut {
        node: entry.node.0,
        generation: entry.generation,
        entry_seconds,
        attr_seconds,
        entry_nanoseconds,
        attr_nanoseconds,
        attr: wire_attr(&entry.attr),
    }
}

pub(crate) fn attr_out(reply: &AttrReply) -> AttrOut {
    let (seconds, nanoseconds) = split(reply.ttl);
    AttrOut {
        seconds,
        nanoseconds,
        padding: 0,
        attr: wire_attr(&reply.attr),
    }
}

pub(crate) fn open_out(open: &OpenReply) -> OpenOut {
    let flag = |is_set, bit| if is_set { bit } else { 0 };
    OpenOut {
        handle: open.handle.0,
        flags: flag(open.direct_io, fopen::DIRECT_IO)
            | flag(open.keep_cache, fopen::KEEP_CACHE)
            | flag(open.cache_dir, fopen::CACHE_DIR)
            | flag(open.no_flush, fopen::NOFLUSH)
            | flag(open.passthrough.is_some(), fopen::PASSTHROUGH),
        backing: open.passthrough.map_or(0, |backing| backing.0),
    }
}

pub(crate) fn statfs_out(stat: &StatFs) -> StatFsOut {
    StatFsOut {
        blocks: stat.blocks,
        free: stat.free,
        available: stat.available,
        files: stat.files,
        files_free: stat.files_free,
        block_size: stat.block_size,
        name_max: stat.name_max,
        fragment: stat.fragment,
        ..StatFsOut::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(node: u64) -> Entry {
        Entry {
            node: NodeId(node),
            generation: 0,
            attr: Attr::default(),
            entry_ttl: Ttl::ZERO,
            attr_ttl: Ttl::ZERO,
        }
    }

    #[test]
    fn a_listing_ends_before_its_limit_and_gives_its_nodes_back() {
        let mut reply = Reply::new(4096);
        let mut listing = Listing::new(&mut reply, 160 * 4, true);
        assert!(listing.entry(c".", &entry(1), 1));
        assert!(listing.name(c"b", 9, 0o100_000, 2));
        assert!(listing.entry(c"12345678", &entry(7), 3));
        assert!(listing.entry(c"d", &entry(8), 4));
        assert!(!listing.entry(c"e", &entry(9), 5));
        assert!(
            !listing.name(c"f", 9, 0o100_000, 6),
            "nothing after what did not fit"
        );
        let nodes: Vec<u64> = listed_nodes(reply.body()).map(|node| node.0).collect();
        assert_eq!(nodes, [7, 8]);
    }

    #[test]
    fn errors_have_no_body_and_a_number_that_the_kernel_takes() {
        let mut reply = Reply::new(64);
        reply.put_bytes(b"body").unwrap();
        let message = reply.message(5, Err(Errno::from_raw_os_error(4000)));
        let (header, rest) = OutHeader::read_from_prefix(message).unwrap();
        assert_eq!((header.len, header.error, header.unique), (16, -5, 5));
        assert!(rest.is_empty());
    }

    #[test]
    fn bodies_stay_within_the_buffer() {
        let mut reply = Reply::new(8);
        assert_eq!(reply.put_bytes(&[0; 9]), Err(Errno::IO));
        assert_eq!(reply.fill(100, |room| Ok(room.len() + 1)), Err(Errno::IO));
        assert_eq!(reply.fill(100, |room| Ok(room.len())), Ok(()));
        assert_eq!(reply.body().len(), 8);
    }
}
