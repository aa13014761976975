//! What a copy looked like when it was made: the witness of later changes.

use crate::error::Result;
use std::io::{Read, Write};

/// Inode, change time and source inode of everything that one copy made.
///
/// As long as an inode of the copy has the change time of this record, nothing of it was changed:
/// neither content nor attributes nor links, whatever its size and modification time say. It still
/// equals its source if that is what the other tree has at its path, provided that the source
/// is immutable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyRecord {
    rows: Vec<()>,
}

impl CopyRecord {
    /// Reads what [`write_to`](Self::write_to) wrote.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if it is not that, byte for byte.
    pub fn read_from(read: impl Read) -> Result<Self> {
        todo!()
    }

    /// Writes the record: a version, rows, a checksum.
    pub fn write_to(&self, write: impl Write) -> Result<()> {
        todo!()
    }
}
