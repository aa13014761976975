//! What a file system tells the kernel unasked, and files for passthrough.

use crate::types::{Backing, NodeId};
use crate::wire::{
    DeleteOut, EXPIRE_ONLY, InvalEntryOut, InvalInodeOut, NOTIFY_DELETE, NOTIFY_INC_EPOCH,
    NOTIFY_INVAL_ENTRY, NOTIFY_INVAL_INODE, OutHeader,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use strata_sys::SysError;
use strata_sys::mount::{FsContext, MountAttributes};
use zerocopy::{Immutable, IntoBytes};

/// A way to the kernel beside the answers. It outlives its session, as `ENODEV`.
///
/// The kernel locks the inodes in question. So that nothing waits for itself, a thread that
/// answers a request must not tell anything about a directory or file that the request keeps
/// locked: its parent and its names in what makes, removes or renames, and what is being read,
/// written or truncated.
#[derive(Clone, Debug)]
pub struct Notifier {
    device: Weak<OwnedFd>,
    /// By which the kernel's control file system names the connection.
    number: u32,
}

impl Notifier {
    pub(crate) fn new(device: &Arc<OwnedFd>, number: u32) -> Self {
        Self {
            device: Arc::downgrade(device),
            number,
        }
    }

    /// The cached attributes of `node` are no longer good, nor is its cached content from `offset`
    /// on: `length` bytes, 0 for all of it. A negative `offset` means the attributes only.
    pub fn inval_inode(&self, node: NodeId, offset: i64, length: i64) -> Result<(), Errno> {
        let told = InvalInodeOut {
            node: node.0,
            offset,
            length,
        };
        ignore_absent(self.tell(NOTIFY_INVAL_INODE, &told, None))
    }

    /// The cached name, positive or negative, is no longer good.
    pub fn inval_entry(&self, parent: NodeId, name: &CStr) -> Result<(), Errno> {
        self.inval_entry_with(parent, name, 0)
    }

    /// All names, positive and negative, are to be looked up again. Since Linux 6.16, protocol
    /// 7.44; before that `EINVAL`.
    pub fn new_epoch(&self) -> Result<(), Errno> {
        self.tell(NOTIFY_INC_EPOCH, &[0u8; 0], None)
    }

    /// The name is to be looked up again at its next use; mounts on it stay. Since Linux 6.2.
    pub fn expire_entry(&self, parent: NodeId, name: &CStr) -> Result<(), Errno> {
        self.inval_entry_with(parent, name, EXPIRE_ONLY)
    }

    fn inval_entry_with(&self, parent: NodeId, name: &CStr, flags: u32) -> Result<(), Errno> {
        let told = InvalEntryOut {
            parent: parent.0,
            name_length: name.count_bytes() as u32,
            flags,
        };
        ignore_absent(self.tell(NOTIFY_INVAL_ENTRY, &told, Some(name)))
    }

    /// `name` of `child` is gone: who watches it hears so, and open files see it unlinked.
    pub fn delete(&self, parent: NodeId, child: NodeId, name: &CStr) -> Result<(), Errno> {
        let told = DeleteOut {
            parent: parent.0,
            child: child.0,
            name_length: name.count_bytes() as u32,
            padding: 0,
        };
        ignore_absent(self.tell(NOTIFY_DELETE, &told, Some(name)))
    }

    fn tell(
        &self,
        code: i32,
        told: &(impl IntoBytes + Immutable),
        name: Option<&CStr>,
    ) -> Result<(), Errno> {
        let told = told.as_bytes();
        let name = name.map_or(&b""[..], CStr::to_bytes_with_nul);
        let header = OutHeader {
            len: (size_of::<OutHeader>() + told.len() + name.len()) as u32,
            error: code,
            unique: 0,
        };
        let parts = [header.as_bytes(), told, name].map(IoSlice::new);
        rustix::io::writev(self.device()?, &parts).map(drop)
    }

    /// Registers a file, for opens to answer with. It stays registered until
    /// [`Notifier::close_backing`]; open files that use it keep it open longer.
    ///
    /// `EPERM` where passthrough is not on ([`Features`](crate::Features)), `ELOOP` where the
    /// file's own file system is stacked too deep, `EOPNOTSUPP` where it cannot be read so.
    pub fn open_backing(&self, file: impl AsFd) -> Result<Backing, Errno> {
        strata_sys::fuse::open_backing(self.device()?, file).map(Backing)
    }

    /// Gives a registered file back.
    pub fn close_backing(&self, backing: Backing) -> Result<(), Errno> {
        strata_sys::fuse::close_backing(self.device()?, backing.0)
    }

    /// Ends the connection: requests under way and to come fail with `ECONNABORTED` or
    /// `ENOTCONN`, and [`Session::run`](crate::Session::run) returns. What is mounted stays so.
    pub fn abort(&self) -> Result<(), SysError> {
        let Ok(_kept) = self.device() else {
            return Ok(());
        };
        let control = FsContext::open("fusectl")?;
        control.create()?;
        let control = control.mount(MountAttributes::default())?;
        let path = format!("{}/abort", self.number);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&control, path.as_str(), flags, Mode::empty())
            .and_then(|file| rustix::io::write(file, b"1"))
            .map(drop)
            .map_err(|errno| SysError::new("abort of a FUSE connection", errno, path))
    }

    fn device(&self) -> Result<Arc<OwnedFd>, Errno> {
        self.device.upgrade().ok_or(Errno::NODEV)
    }
}

/// The kernel says `ENOENT` of what it has not cached.
fn ignore_absent(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
