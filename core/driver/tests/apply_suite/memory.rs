//! A file system in memory: small on demand, and fast.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CStr;
use std::path::Path;
use tempfile::{TempDir, tempdir};

/// A mounted tmpfs, unmounted when dropped. Needs root.
pub(crate) struct Memory(TempDir);

impl Memory {
    pub(crate) fn new(options: &CStr) -> Self {
        let directory = tempdir().unwrap();
        let flags = MountFlags::empty();
        mount("tmpfs", directory.path(), "tmpfs", flags, options).unwrap();
        Self(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        unmount(self.0.path(), UnmountFlags::empty()).unwrap();
    }
}
