//! Open files: which way the kernel reads and writes them. `docs/adr/0012` has the states.

use super::attributes::CAPABILITY;
use super::copyup::Content;
use super::node::{Mode, Node, Other};
use super::options::CopyUpOnOpen;
use super::place::file_type;
use super::state::Union;
use rustix::fs::{FallocateFlags, FileType, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strata_fuse::{Handle, OpenReply, WriteFlags};

/// A handle is the node's id and whether it was opened for writing: what is open stands in the
/// node.
pub(crate) fn handle_of(node: &Node, writes: bool) -> Handle {
    Handle(node.id.0 << 1 | u64::from(writes))
}

pub(crate) fn writes(handle: Handle) -> bool {
    handle.0 & 1 == 1
}

pub(crate) fn node_id(handle: Handle) -> strata_fuse::NodeId {
    strata_fuse::NodeId(handle.0 >> 1)
}

fn wants_to_write(flags: OFlags) -> bool {
    flags.intersects(OFlags::WRONLY | OFlags::RDWR)
}

impl Union {
    pub(crate) fn open_node(
        &self,
        node: &Arc<Node>,
        flags: OFlags,
        kill_suidgid: bool,
    ) -> Result<OpenReply, Errno> {
        let truncates = flags.contains(OFlags::TRUNC);
        let writes = wants_to_write(flags);
        if node.kind != FileType::RegularFile {
            return Err(Errno::NXIO);
        }
        self.materialize(node)?;
        let early = {
            let other = node.other()?;
            !other.branch.is_writable() && other.branch.copy_up_on_open != CopyUpOnOpen::No
        };
        if truncates {
            self.copy_up(node, Content::None)?;
        } else if (writes && !self.strict()) || (early && self.is_written()) {
            self.copy_up(node, Content::All)?;
        }
        let mut other = node.other_mut()?;
        if other.superseded {
            return Err(Errno::STALE);
        }
        if truncates {
            rustix::fs::ftruncate(&*Self::writer(&mut other)?, 0)?;
            if kill_suidgid {
                drop_set_id(&other)?;
            }
        }
        let reply = self.enter(&mut other, handle_of(node, writes))?;
        Ok(reply)
    }

    /// Counts one more open, and says which way it goes.
    pub(crate) fn enter(&self, other: &mut Other, handle: Handle) -> Result<OpenReply, Errno> {
        let mut reply = OpenReply::cached(handle);
        reply.no_flush = true;
        match other.mode {
            Mode::Cached(count) => {
                other.mode = Mode::Cached(count + 1);
                reply.keep_cache = true;
            }
            Mode::Passthrough(backing, count) => {
                other.mode = Mode::Passthrough(backing, count + 1);
                reply.passthrough = Some(backing);
            }
            Mode::Closed => {
                let file = Self::reader(other)?;
                if let Some(backing) = self.backing(other, &file) {
                    other.mode = Mode::Passthrough(backing, 1);
                    reply.passthrough = Some(backing);
                } else {
                    other.mode = Mode::Cached(1);
                    // Nobody changes a lower file; of others the cache may be old.
                    reply.keep_cache = !other.branch.is_writable();
                }
            }
        }
        Ok(reply)
    }

    fn backing(&self, other: &mut Other, file: &OwnedFd) -> Option<strata_fuse::Backing> {
        let kernel = self.kernel().filter(|kernel| kernel.passthrough)?;
        let may_change_below = self.strict() && !other.branch.is_writable() && self.is_written();
        if may_change_below || other.refuses_passthrough {
            return None;
        }
        match kernel.notifier.open_backing(file) {
            Ok(backing) => Some(backing),
            Err(error) => {
                tracing::debug!(%error, "no passthrough of a file");
                other.refuses_passthrough = true;
                None
            }
        }
    }

    /// One open less.
    pub(crate) fn leave(&self, node: &Arc<Node>) {
        let Ok(mut other) = node.other_mut() else {
            return;
        };
        other.mode = match other.mode {
            Mode::Cached(count) if count > 1 => Mode::Cached(count - 1),
            Mode::Passthrough(backing, count) if count > 1 => Mode::Passthrough(backing, count - 1),
            last => {
                if let (Mode::Passthrough(backing, _), Some(kernel)) = (last, self.kernel())
                    && let Err(error) = kernel.notifier.close_backing(backing)
                {
                    tracing::debug!(%error, "a backing was gone already");
                }
                other.reader = None;
                other.writer = None;
                Mode::Closed
            }
        };
    }

    /// The file, to read.
    fn reader(other: &mut Other) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(reader) = &other.reader {
            return Ok(reader.clone());
        }
        let file = Arc::new(other.place.open(OFlags::RDONLY)?);
        other.reader = Some(file.clone());
        Ok(file)
    }

    /// The file, to write: it stands in a branch that is written.
    fn writer(other: &mut Other) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(writer) = &other.writer {
            return Ok(writer.clone());
        }
        other.branch.writable()?;
        let file = Arc::new(other.place.open(OFlags::RDWR)?);
        if other.mode != Mode::Closed {
            other.writer = Some(file.clone());
        }
        Ok(file)
    }

    pub(crate) fn read_node(
        node: &Arc<Node>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, Errno> {
        let reader = node.other()?.reader.clone();
        let reader = match reader {
            Some(reader) => reader,
            None => Self::reader(&mut *node.other_mut()?)?,
        };
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let got =
                rustix::io::retry_on_intr(|| rustix::io::pread(&reader, &mut buffer[done..], at))?;
            if got == 0 {
                break;
            }
            done += got;
        }
        Ok(done)
    }

    pub(crate) fn write_node(
        &self,
        node: &Arc<Node>,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
    ) -> Result<usize, Errno> {
        let writer = self.to_write(node)?;
        if flags.kill_suidgid {
            drop_set_id(&*node.other()?)?;
        }
        // A write through a map takes no capabilities away; ours, which stands for it, does.
        let kept = if flags.from_cache && !node.plain.load(Ordering::Relaxed) {
            let place = node.other()?.place.clone();
            place.xattr(CAPABILITY)?.map(|value| (place, value))
        } else {
            None
        };
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let wrote =
                rustix::io::retry_on_intr(|| rustix::io::pwrite(&writer, &data[done..], at));
            match wrote {
                Ok(0) => break,
                Ok(wrote) => done += wrote,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        if let Some((place, value)) = kept {
            place.set_xattr(CAPABILITY, &value)?;
        }
        if flags.from_cache {
            // What was written through a map: the kernel does not look at the times again.
            self.changed_unasked(node);
        }
        Ok(done)
    }

    /// The file, to write; copied up if it must be.
    pub(crate) fn to_write(&self, node: &Arc<Node>) -> Result<Arc<OwnedFd>, Errno> {
        {
            let other = node.other()?;
            if other.branch.is_writable()
                && let Some(writer) = &other.writer
            {
                return Ok(writer.clone());
            }
        }
        self.copy_up(node, Content::All)?;
        Self::writer(&mut *node.other_mut()?)
    }

    pub(crate) fn sync_node(
        &self,
        node: &Arc<Node>,
        handle: Handle,
        data_only: bool,
    ) -> Result<(), Errno> {
        if writes(handle) && !node.other()?.branch.is_writable() {
            // As aufs does: what was opened to be written and is synced is a copy from then on.
            self.copy_up(node, Content::All)?;
            self.changed_unasked(node);
        }
        let mut other = node.other_mut()?;
        if !other.branch.is_writable() {
            return Ok(());
        }
        let file = Self::reader(&mut other)?;
        drop(other);
        if data_only {
            rustix::fs::fdatasync(&*file)
        } else {
            rustix::fs::fsync(&*file)
        }
    }

    pub(crate) fn allocate_node(
        &self,
        node: &Arc<Node>,
        (offset, length): (u64, u64),
        mode: u32,
    ) -> Result<(), Errno> {
        let writer = self.to_write(node)?;
        let mode = FallocateFlags::from_bits_retain(mode);
        rustix::fs::fallocate(&*writer, mode, offset, length)
    }

    pub(crate) fn seek_node(node: &Arc<Node>, offset: u64, whence: u32) -> Result<u64, Errno> {
        let file = Self::reader(&mut *node.other_mut()?)?;
        // linux/fs.h: SEEK_DATA 3, SEEK_HOLE 4. A descriptor of our own: its position is nobody's.
        let from = match whence {
            3 => rustix::fs::SeekFrom::Data(offset),
            4 => rustix::fs::SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        rustix::fs::seek(&*file, from)
    }

    /// Cuts or lengthens a file.
    pub(crate) fn resize(&self, node: &Arc<Node>, size: u64) -> Result<(), Errno> {
        let content = if size == 0 {
            Content::None
        } else {
            Content::All
        };
        self.copy_up(node, content)?;
        let writer = Self::writer(&mut *node.other_mut()?)?;
        rustix::fs::ftruncate(&*writer, size)
    }
}

/// What a write by who is not root does to set-id bits; inode(7).
pub(crate) fn drop_set_id(other: &Other) -> Result<(), Errno> {
    let stat = other.place.stat()?;
    let mode = u32::from(stat.stx_mode);
    if file_type(&stat) != FileType::RegularFile {
        return Ok(());
    }
    let mut kept = mode & 0o7777 & !0o4000;
    if mode & 0o010 != 0 {
        kept &= !0o2000;
    }
    if kept == mode & 0o7777 {
        return Ok(());
    }
    other.place.chmod(kept)
}
