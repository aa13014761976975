//! Files mapped into memory, mmap(2).
#![expect(unsafe_code, reason = "mmap(2), and reading memory that others change")]

use std::os::fd::AsFd;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags};

use crate::error::{Context, Result};

/// A shared mapping of the first bytes of a file, for reading. Unmapped when dropped.
///
/// For looking at what a mapping shows while the file changes; a file cut shorter than what is
/// read ends the process with SIGBUS.
#[derive(Debug)]
pub struct SharedMap {
    address: NonNull<u8>,
    length: usize,
}

impl SharedMap {
    /// Maps the first `length` bytes of `file`, which is open for reading.
    ///
    /// # Panics
    /// Never: mmap(2) answers with an address or an error.
    pub fn read_only(file: impl AsFd, length: usize) -> Result<Self> {
        // SAFETY: mmap(2): without MAP_FIXED no existing mapping is touched.
        let mapped = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::SHARED,
                file,
                0,
            )
        };
        let address = mapped.on("mmap", || format!("{length} bytes"))?;
        let address = NonNull::new(address.cast()).expect("mmap(2) never gives the null page");
        Ok(Self { address, length })
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
        // SAFETY: munmap(2): this is the mapping that `read_only` made, and nobody else knows it.
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
}
