//! What a copy looked like when it was made: the witness of later changes.
//!
//! On disk, all numbers little-endian: eight bytes of magic with the version in them, the number
//! of rows as u64, the rows in order of target inodes (target inode u64, source inode u64, change
//! time as i64 seconds and u32 nanoseconds), and the sha256 of all that.

use crate::error::{Error, ErrorKind, Result};
use rustix::fs::Stat;
use sha2::{Digest as _, Sha256};
use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

const MAGIC: &[u8; 8] = b"STRCOPY\x01";
const HEAD: usize = 16;
const ROW: usize = 28;
const CHECKSUM: usize = 32;

/// More than one tick of any kernel (HZ is 100 or more): a write that comes later than this after
/// a change leaves another change time even where the kernel's stamps are coarse (before 6.13).
const TICK: Duration = Duration::from_millis(11);
/// How far the file system's clock may be ahead of ours (a server's) before its stamps are not
/// trusted.
const CLOCK_SKEW: Duration = Duration::from_secs(1);

/// Inode, change time and source inode of everything that one copy made.
///
/// As long as an inode of the copy has the change time of this record, nothing of it was changed:
/// neither content nor attributes nor links, whatever its size and modification time say. It still
/// equals its source if that is what the other tree has at its path, provided that the source
/// is immutable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyRecord {
    rows: Vec<Row>,
}

/// What is recorded of one inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    target: u64,
    source: u64,
    seconds: i64,
    nanoseconds: u32,
}

impl Row {
    pub(super) fn new(source: u64, target: &Stat) -> Self {
        Self {
            target: target.st_ino,
            source,
            seconds: target.st_ctime,
            nanoseconds: target.st_ctime_nsec as u32,
        }
    }

    fn time(&self) -> SystemTime {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let base = if self.seconds < 0 {
            SystemTime::UNIX_EPOCH - whole
        } else {
            SystemTime::UNIX_EPOCH + whole
        };
        base + Duration::from_nanos(self.nanoseconds.into())
    }
}

impl CopyRecord {
    /// Takes rows as they were made (the last one of an inode counts), and waits until the next
    /// change of any of them must leave another time.
    pub(super) fn seal(mut rows: Vec<Row>) -> Self {
        // A stamp without nanoseconds may come from a file system that keeps whole seconds; two
        // changes in one second would look alike.
        rows.retain(|row| row.nanoseconds != 0);
        let horizon = SystemTime::now() + CLOCK_SKEW;
        rows.retain(|row| row.time() <= horizon);
        rows.sort_by_key(|row| row.target);
        rows.reverse();
        rows.dedup_by_key(|row| row.target);
        rows.reverse();
        if let Some(latest) = rows.iter().map(Row::time).max() {
            while let Ok(left) = (latest + TICK).duration_since(SystemTime::now()) {
                std::thread::sleep(left.max(Duration::from_micros(100)));
            }
        }
        Self { rows }
    }

    /// How many inodes it knows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it knows none, so that nothing is vouched for.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether `target` is as the copy left it, and was copied from `source`.
    pub(crate) fn vouches(&self, target: &Stat, source: u64) -> bool {
        let found = self
            .rows
            .binary_search_by_key(&target.st_ino, |row| row.target);
        found.is_ok_and(|index| self.rows[index] == Row::new(source, target))
    }

    /// Reads what [`write_to`](Self::write_to) wrote.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) if it is not that, byte for byte.
    pub fn read_from(mut read: impl Read) -> Result<Self> {
        const OPERATION: &str = "read copy record";
        let mut bytes = Vec::new();
        read.read_to_end(&mut bytes)
            .map_err(|error| Error::io(OPERATION, error))?;
        Self::parse(&bytes)
            .map_err(|reason| Error::new(ErrorKind::Corrupt, OPERATION).because(reason))
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let short = "it is cut short";
        let (body, checksum) = bytes
            .len()
            .checked_sub(CHECKSUM)
            .and_then(|length| bytes.split_at_checked(length))
            .ok_or(short)?;
        let (head, body_rows) = body.split_at_checked(HEAD).ok_or(short)?;
        if &head[..8] != MAGIC {
            return Err("it is no record of a copy, or of another version");
        }
        if Sha256::digest(body)[..] != *checksum {
            return Err("its checksum is wrong");
        }
        let (rows, rest) = body_rows.as_chunks::<ROW>();
        if !rest.is_empty() || number(head, 8) != rows.len() as u64 {
            return Err("its length is wrong");
        }
        let rows = rows
            .iter()
            .map(|row| Row {
                target: number(row, 0),
                source: number(row, 8),
                seconds: number(row, 16).cast_signed(),
                nanoseconds: (number(row, 20) >> 32) as u32,
            })
            .collect();
        Ok(Self { rows })
    }

    /// Writes the record: a version, rows, a checksum.
    pub fn write_to(&self, mut write: impl Write) -> Result<()> {
        let mut bytes = Vec::with_capacity(HEAD + self.rows.len() * ROW + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(self.rows.len() as u64).to_le_bytes());
        for row in &self.rows {
            bytes.extend_from_slice(&row.target.to_le_bytes());
            bytes.extend_from_slice(&row.source.to_le_bytes());
            bytes.extend_from_slice(&row.seconds.to_le_bytes());
            bytes.extend_from_slice(&row.nanoseconds.to_le_bytes());
        }
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        write
            .write_all(&bytes)
            .map_err(|error| Error::io("write copy record", error))
    }
}

/// The little-endian number at `offset`.
fn number(bytes: &[u8], offset: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> CopyRecord {
        let row = |target, nanoseconds| Row {
            target,
            source: target + 7,
            seconds: -3,
            nanoseconds,
        };
        CopyRecord::seal(vec![row(9, 5), row(2, 1), row(9, 999_999_999), row(4, 0)])
    }

    #[test]
    fn the_last_row_of_an_inode_counts_and_whole_seconds_do_not() {
        let known: Vec<_> = record()
            .rows
            .iter()
            .map(|row| (row.target, row.nanoseconds))
            .collect();
        assert_eq!(known, [(2, 1), (9, 999_999_999)]);
    }

    #[test]
    fn a_record_reads_back_and_no_flipped_byte_passes() {
        let mut bytes = Vec::new();
        record().write_to(&mut bytes).unwrap();
        assert_eq!(CopyRecord::read_from(&bytes[..]).unwrap(), record());
        for index in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[index] ^= 0x10;
            let error = CopyRecord::read_from(&bad[..]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {index}");
            assert!(CopyRecord::read_from(&bytes[..index]).is_err());
        }
    }
}
