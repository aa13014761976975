//! From a request to a call of the file system, and from what that says to an answer.

use crate::filesystem::{Filesystem, Made};
use crate::reply::{self, Listing, Reply};
use crate::request::{Request, changes, decode_device, made, rename_flags};
use crate::types::{Created, Entry, Handle, NodeId, ReaddirKind, WriteFlags};
use crate::wire::{
    BatchForgetIn, CreateIn, FSYNC_FDATASYNC, FallocateIn, ForgetOne, GETATTR_FH, GetAttrIn,
    HandleIn, LseekIn, MkdirIn, MknodIn, OPEN_KILL_SUIDGID, OpenIn, Rename2In,
    SETXATTR_ACL_KILL_SGID, SetAttrIn, SetXattrExtension, SetXattrIn, TransferIn, WRITE_CACHE,
    WRITE_KILL_SUIDGID, WriteOut, XattrSize, opcode,
};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What an answer promised the kernel, and has to be taken back if the kernel never saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    None,
    Reference(NodeId),
    Open(NodeId, Handle),
    OpenDirectory(NodeId, Handle),
    Created(NodeId, Handle),
    /// Those of the entries in the body.
    Listing,
}

/// A file system, and what was agreed on for its requests.
pub(crate) struct Server<'a, F: ?Sized> {
    pub(crate) fs: &'a F,
    /// SETXATTR has its longer form.
    pub(crate) setxattr_ext: bool,
}

impl<F: Filesystem + ?Sized> Server<'_, F> {
    /// Answers into `reply`. `None`: the request takes no answer.
    pub(crate) fn serve(
        &self,
        request: &mut Request<'_>,
        reply: &mut Reply,
    ) -> Option<Result<Promise, Errno>> {
        let opcode = request.header.opcode;
        match opcode {
            opcode::FORGET | opcode::BATCH_FORGET => {
                guard(opcode, || self.forget(request)).err();
                None
            }
            // The caller is not let go before its answer is there (request_wait_answer).
            opcode::INTERRUPT => None,
            _ => {
                let result = guard(opcode, || self.answer(request, reply));
                if result.is_err() && opcode == opcode::READDIRPLUS {
                    self.take_back(Promise::Listing, reply.body());
                }
                Some(result)
            }
        }
    }

    /// Undoes what an answer promised that could not be delivered.
    pub(crate) fn take_back(&self, promise: Promise, body: &[u8]) {
        let undone = guard(opcode::FORGET, || {
            match promise {
                Promise::None => {}
                Promise::Reference(node) => self.fs.forget(node, 1),
                Promise::Open(node, handle) => self.fs.release(node, handle),
                Promise::OpenDirectory(node, handle) => self.fs.releasedir(node, handle),
                Promise::Created(node, handle) => {
                    self.fs.release(node, handle);
                    self.fs.forget(node, 1);
                }
                Promise::Listing => {
                    reply::listed_nodes(body).for_each(|node| self.fs.forget(node, 1));
                }
            }
            Ok(())
        });
        undone.err();
    }

    fn forget(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        if request.header.opcode == opcode::FORGET {
            self.fs.forget(request.node(), request.take()?);
            return Ok(());
        }
        let batch: BatchForgetIn = request.take()?;
        for _ in 0..batch.count {
            let one: ForgetOne = request.take()?;
            self.fs.forget(NodeId(one.node), one.count);
        }
        Ok(())
    }

    fn answer(&self, request: &mut Request<'_>, reply: &mut Reply) -> Result<Promise, Errno> {
        match request.header.opcode {
            opcode::LOOKUP | opcode::SYMLINK | opcode::MKNOD | opcode::MKDIR | opcode::LINK => {
                let entry = self.entry(request)?;
                reply.put(&reply::entry_out(&entry))?;
                Ok(match entry.node {
                    NodeId(0) => Promise::None,
                    node => Promise::Reference(node),
                })
            }
            opcode::CREATE | opcode::TMPFILE => {
                let Created { entry, open } = self.create(request)?;
                reply.put(&reply::entry_out(&entry))?;
                reply.put(&reply::open_out(&open))?;
                Ok(Promise::Created(entry.node, open.handle))
            }
            opcode::OPEN | opcode::OPENDIR => self.open(request, reply),
            opcode::READDIR | opcode::READDIRPLUS => self.list(request, reply),
            opcode::GETATTR
            | opcode::SETATTR
            | opcode::READLINK
            | opcode::STATFS
            | opcode::GETXATTR
            | opcode::LISTXATTR
            | opcode::SETXATTR
            | opcode::REMOVEXATTR => self.attributes(request, reply).map(|()| Promise::None),
            opcode::READ
            | opcode::WRITE
            | opcode::FLUSH
            | opcode::RELEASE
            | opcode::RELEASEDIR
            | opcode::FSYNC
            | opcode::FSYNCDIR
            | opcode::FALLOCATE
            | opcode::LSEEK => self.content(request, reply).map(|()| Promise::None),
            opcode::UNLINK
            | opcode::RMDIR
            | opcode::RENAME
            | opcode::RENAME2
            | opcode::SYNCFS
            | opcode::DESTROY => self.change(request).map(|()| Promise::None),
            _ => Err(Errno::NOSYS),
        }
    }

    /// What answers with an entry.
    fn entry(&self, request: &mut Request<'_>) -> Result<Entry, Errno> {
        let (caller, node) = (request.caller(), request.node());
        match request.header.opcode {
            opcode::LOOKUP => self.fs.lookup(caller, node, request.string()?),
            opcode::SYMLINK => {
                let name = request.string()?;
                self.fs.symlink(caller, node, name, request.string()?)
            }
            opcode::MKNOD => {
                let asked: MknodIn = request.take()?;
                let how = Made {
                    rdev: decode_device(asked.rdev),
                    ..made(asked.mode, asked.umask)
                };
                self.fs.mknod(caller, node, request.string()?, how)
            }
            opcode::MKDIR => {
                let asked: MkdirIn = request.take()?;
                let how = made(asked.mode, asked.umask);
                self.fs.mkdir(caller, node, request.string()?, how)
            }
            _ => {
                let linked = NodeId(request.take()?);
                self.fs.link(caller, linked, node, request.string()?)
            }
        }
    }

    fn create(&self, request: &mut Request<'_>) -> Result<Created, Errno> {
        let (caller, node) = (request.caller(), request.node());
        let asked: CreateIn = request.take()?;
        let how = made(asked.mode, asked.umask);
        let flags = OFlags::from_bits_retain(asked.flags);
        if request.header.opcode == opcode::TMPFILE {
            return self.fs.tmpfile(caller, node, how, flags);
        }
        self.fs.create(caller, node, request.string()?, how, flags)
    }

    fn open(&self, request: &mut Request<'_>, reply: &mut Reply) -> Result<Promise, Errno> {
        let (caller, node) = (request.caller(), request.node());
        let asked: OpenIn = request.take()?;
        let (open, promise) = if request.header.opcode == opcode::OPENDIR {
            let open = self.fs.opendir(caller, node)?;
            (open, Promise::OpenDirectory(node, open.handle))
        } else {
            let flags = OFlags::from_bits_retain(asked.flags);
            let kill_suidgid = asked.open_flags & OPEN_KILL_SUIDGID != 0;
            let open = self.fs.open(caller, node, flags, kill_suidgid)?;
            (open, Promise::Open(node, open.handle))
        };
        reply.put(&reply::open_out(&open))?;
        Ok(promise)
    }

    fn list(&self, request: &mut Request<'_>, reply: &mut Reply) -> Result<Promise, Errno> {
        let (kind, promise) = match request.header.opcode {
            opcode::READDIR => (ReaddirKind::Plain, Promise::None),
            _ => (ReaddirKind::Plus, Promise::Listing),
        };
        let asked: TransferIn = request.take()?;
        let mut sink = Listing::new(reply, asked.size, kind == ReaddirKind::Plus);
        let handle = Handle(asked.handle);
        let result = self
            .fs
            .readdir(request.node(), handle, asked.offset, kind, &mut sink);
        match result {
            // As getdents(2) does: what was read is given, the error comes at the next call.
            Err(errno) if sink.is_empty() => Err(errno),
            // Nothing at all would say that the directory ends here.
            Ok(()) if sink.is_empty() && sink.is_full => Err(Errno::INVAL),
            _ => Ok(promise),
        }
    }

    /// What an inode is, apart from its content.
    fn attributes(&self, request: &mut Request<'_>, reply: &mut Reply) -> Result<(), Errno> {
        let node = request.node();
        match request.header.opcode {
            opcode::GETATTR => {
                let asked: GetAttrIn = request.take()?;
                let handle = (asked.flags & GETATTR_FH != 0).then_some(Handle(asked.handle));
                reply.put(&reply::attr_out(&self.fs.getattr(node, handle)?))
            }
            opcode::SETATTR => {
                let change = changes(&request.take::<SetAttrIn>()?);
                let changed = self.fs.setattr(request.caller(), node, &change)?;
                reply.put(&reply::attr_out(&changed))
            }
            opcode::READLINK => reply.put_bytes(&self.fs.readlink(node)?),
            opcode::STATFS => reply.put(&reply::statfs_out(&self.fs.statfs(node)?)),
            opcode::GETXATTR => {
                let asked: XattrSize = request.take()?;
                reply.put_xattr(&self.fs.getxattr(node, request.string()?)?, asked.size)
            }
            opcode::LISTXATTR => {
                let asked: XattrSize = request.take()?;
                reply.put_xattr(&self.fs.listxattr(node)?, asked.size)
            }
            opcode::SETXATTR => {
                let asked: SetXattrIn = request.take()?;
                let kill_sgid = self.setxattr_ext
                    && request.take::<SetXattrExtension>()?.flags & SETXATTR_ACL_KILL_SGID != 0;
                let name = request.string()?;
                let value = request.bytes(asked.size)?;
                self.fs.setxattr(node, name, value, asked.flags, kill_sgid)
            }
            _ => self.fs.removexattr(node, request.string()?),
        }
    }

    /// What an open file is used for.
    fn content(&self, request: &mut Request<'_>, reply: &mut Reply) -> Result<(), Errno> {
        let node = request.node();
        match request.header.opcode {
            opcode::READ => {
                let asked: TransferIn = request.take()?;
                let handle = Handle(asked.handle);
                reply.fill(asked.size, |room| self.fs.read(handle, asked.offset, room))
            }
            opcode::WRITE => {
                let asked: TransferIn = request.take()?;
                let data = request.bytes(asked.size)?;
                let flags = WriteFlags {
                    from_cache: asked.transfer_flags & WRITE_CACHE != 0,
                    kill_suidgid: asked.transfer_flags & WRITE_KILL_SUIDGID != 0,
                    open_flags: OFlags::from_bits_retain(asked.flags),
                };
                let handle = Handle(asked.handle);
                let size = self.fs.write(node, handle, asked.offset, data, flags)? as u32;
                reply.put(&WriteOut { size, padding: 0 })
            }
            opcode::FALLOCATE => {
                let asked: FallocateIn = request.take()?;
                let range = (asked.offset, asked.length);
                self.fs
                    .fallocate(node, Handle(asked.handle), range, asked.mode)
            }
            opcode::LSEEK => {
                let asked: LseekIn = request.take()?;
                let handle = Handle(asked.handle);
                reply.put(&self.fs.lseek(node, handle, asked.offset, asked.whence)?)
            }
            other => {
                let asked: HandleIn = request.take()?;
                let handle = Handle(asked.handle);
                let data_only = asked.flags & FSYNC_FDATASYNC != 0;
                match other {
                    opcode::FLUSH => return self.fs.flush(node, handle),
                    opcode::FSYNC => return self.fs.fsync(node, handle, data_only),
                    opcode::FSYNCDIR => return self.fs.fsyncdir(node, handle, data_only),
                    opcode::RELEASE => self.fs.release(node, handle),
                    _ => self.fs.releasedir(node, handle),
                }
                Ok(())
            }
        }
    }

    /// What changes names, or the whole.
    fn change(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let (caller, node) = (request.caller(), request.node());
        match request.header.opcode {
            opcode::UNLINK => self.fs.unlink(caller, node, request.string()?),
            opcode::RMDIR => self.fs.rmdir(caller, node, request.string()?),
            opcode::SYNCFS => self.fs.syncfs(),
            // The file system hears of it when all threads are done.
            opcode::DESTROY => Ok(()),
            other => {
                let (directory, flags) = if other == opcode::RENAME2 {
                    let asked: Rename2In = request.take()?;
                    (asked.directory, asked.flags)
                } else {
                    (request.take()?, 0)
                };
                let from = (node, request.string()?);
                let to = (NodeId(directory), request.string()?);
                self.fs.rename(caller, from, to, rename_flags(flags)?)
            }
        }
    }
}

/// A panic is an `EIO` of that request.
fn guard<T>(opcode: u32, work: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        tracing::error!(opcode, message, "file system panicked");
        Err(Errno::IO)
    })
}
