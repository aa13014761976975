//! Files mapped into memory, mmap(2).
#![expect(unsafe_code, reason = "mmap(2), and reading memory that others change")]

use std::os::fd::AsFd;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags};

use crate::error::{Context, Result};

/// A shared mapping of the first bytes of a file. Unmapped when dropped.
///
/// For looking at what a mapping shows while the file changes, and where writes to it go; a file
/// cut shorter than what is read or written ends the process with SIGBUS.
#[derive(Debug)]
pub struct SharedMap {
    address: NonNull<u8>,
    length: usize,
    writable: bool,
}

// SAFETY: the mapping belongs to the process, not to a thread, and only `&mut self` writes.
unsafe impl Send for SharedMap {}

impl SharedMap {
    /// Maps the first `length` bytes of `file`, which is open for reading.
    ///
    /// # Panics
    /// Never: mmap(2) answers with an address or an error.
    pub fn read_only(file: impl AsFd, length: usize) -> Result<Self> {
        Self::new(file, length, ProtFlags::READ)
    }

    /// Maps the first `length` bytes of `file`, which is open for reading and writing.
    pub fn writable(file: impl AsFd, length: usize) -> Result<Self> {
        Self::new(file, length, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn new(file: impl AsFd, length: usize, protection: ProtFlags) -> Result<Self> {
        // SAFETY: mmap(2): without MAP_FIXED no existing mapping is touched.
        let mapped = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                file,
                0,
            )
        };
        let address = mapped.on("mmap", || format!("{length} bytes"))?;
        let address = NonNull::new(address.cast()).expect("mmap(2) never gives the null page");
        let writable = protection.contains(ProtFlags::WRITE);
        Ok(Self {
            address,
            length,
            writable,
        })
    }

    /// Writes `bytes` from `offset` on.
    ///
    /// # Panics
    /// Where that is beyond the mapping, or the mapping is for reading only.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(self.writable, "mapped for reading only");
        let end = offset.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.length));
        for (index, byte) in (offset..).zip(bytes) {
            // SAFETY: mmap(2): `index` is within the mapping, which lives as long as `self`.
            let place = unsafe { self.address.add(index) };
            // SAFETY: as above, and it is mapped for writing; volatile, since the file's other
            // users see it at once.
            unsafe { place.write_volatile(*byte) };
        }
    }

    /// Writes to disk what was written to the mapping, msync(2).
    pub fn sync(&self) -> Result<()> {
        let address = self.address.as_ptr().cast();
        // SAFETY: msync(2): the range is that of the mapping, which lives as long as `self`.
        let synced =
            unsafe { rustix::mm::msync(address, self.length, rustix::mm::MsyncFlags::SYNC) };
        synced.on("msync", || format!("{} bytes", self.length))
    }

    /// Copies `length` bytes from `offset` on, as they are now.
    ///
    /// # Panics
    /// Where that is beyond the mapping.
    pub fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        assert!(
            offset
                .checked_add(length)
                .is_some_and(|end| end <= self.length)
        );
        (offset..offset + length)
            .map(|index| {
                // SAFETY: mmap(2): `index` is within the mapping, which lives as long as `self`.
                let byte = unsafe { self.address.add(index) };
                // SAFETY: as above; volatile, since others may change the file meanwhile.
                unsafe { byte.read_volatile() }
            })
            .collect()
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        // SAFETY: munmap(2): this is the mapping that `new` made, and nobody else knows it.
        let unmapped = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), self.length) };
        if let Err(error) = unmapped {
            tracing::warn!(%error, "a mapping is left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn mapping_shows_later_writes() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        let map = SharedMap::read_only(&file, 6).unwrap();
        assert_eq!(map.read(0, 6), b"before");
        rustix::io::pwrite(&file, b"AF", 0).unwrap();
        assert_eq!(map.read(0, 3), b"AFf");
    }

    #[test]
    fn file_shows_what_is_written_to_its_mapping() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        let mut map = SharedMap::writable(&file, 6).unwrap();
        map.write(2, b"XY");
        map.sync().unwrap();
        let mut read = [0; 6];
        assert_eq!(rustix::io::pread(&file, &mut read, 0), Ok(6));
        assert_eq!(&read, b"beXYre");
    }
}
