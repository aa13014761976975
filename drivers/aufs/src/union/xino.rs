//! Inode numbers that outlive a mount: which number a copy had before it was one.
//!
//! A log of records of 40 bytes; the last one of an inode counts. One that was cut off by a crash,
//! or whose inode was born at another time, counts for nothing.

use rustix::fs::{Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

const RECORD: usize = 40;

/// What is known of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The number that callers see.
    pub(crate) number: u64,
    /// Names of the original that do not stand in the branch yet.
    pub(crate) pending: u32,
    /// Whether it has a pseudo-link.
    pub(crate) linked: bool,
    birth: (i64, u32),
}

/// The numbers of one branch's copies.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// Where the log is: an open directory, since paths mean nothing any more once the daemon has
    /// left the mounts that it was started among, and a name.
    home: Option<(OwnedFd, OsString)>,
    file: OnceLock<OwnedFd>,
    append: Mutex<()>,
    known: RwLock<HashMap<u64, Record>>,
    /// From the number of an original to its copy, for those with pseudo-links.
    copies: RwLock<HashMap<u64, u64>>,
    /// By the number of a file that was not copied: how many of its names are removed.
    gone: RwLock<HashMap<u64, u32>>,
}

/// A record of no copy: of removed names.
const NO_COPY: u64 = 0;

fn birth(stat: &Statx) -> (i64, u32) {
    if StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME) {
        (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)
    } else {
        (0, 0)
    }
}

impl Numbers {
    /// Reads what `path` holds, if it is there; without a path nothing outlives the mount.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Errno> {
        let mut known = HashMap::new();
        let mut copies = HashMap::new();
        let mut gone = HashMap::new();
        let mut home = None;
        if let Some(path) = path {
            let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(Errno::ISDIR);
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::open(directory, flags, Mode::empty())?;
            home = Some((directory, name.to_owned()));
            let log = match fs_err::read(path) {
                Ok(log) => log,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            };
            for record in log.chunks_exact(RECORD) {
                if let Some((copy, record)) = decode(record) {
                    if copy == NO_COPY {
                        gone.insert(record.number, record.pending);
                        continue;
                    }
                    if record.linked {
                        copies.insert(record.number, copy);
                    } else {
                        copies.remove(&record.number);
                    }
                    known.insert(copy, record);
                }
            }
        }
        Ok(Self {
            home,
            file: OnceLock::new(),
            append: Mutex::new(()),
            known: RwLock::new(known),
            copies: RwLock::new(copies),
            gone: RwLock::new(gone),
        })
    }

    /// What is known of the inode that `stat` describes.
    pub(crate) fn of(&self, stat: &Statx) -> Option<Record> {
        let record = *read(&self.known).get(&stat.stx_ino)?;
        (record.birth == birth(stat)).then_some(record)
    }

    /// Whether the inode of that number may be a copy: the caller must look at it to know.
    pub(crate) fn may_know(&self, inode: u64) -> bool {
        read(&self.known).contains_key(&inode)
    }

    /// The copy that stands for the original of this number.
    pub(crate) fn copy_of(&self, number: u64) -> Option<(u64, Record)> {
        let copy = *read(&self.copies).get(&number)?;
        let record = *read(&self.known).get(&copy)?;
        (record.number == number && record.linked).then_some((copy, record))
    }

    /// Copies with names that do not stand in the branch yet.
    pub(crate) fn pending(&self) -> usize {
        let known = read(&self.known);
        let pending = known
            .values()
            .filter(|record| record.pending > 0 && record.linked);
        pending.count()
    }

    /// Records a copy.
    pub(crate) fn set(
        &self,
        copy: &Statx,
        number: u64,
        pending: u32,
        linked: bool,
    ) -> Result<(), Errno> {
        let record = Record {
            number,
            pending,
            linked,
            birth: birth(copy),
        };
        self.store(copy.stx_ino, record)
    }

    /// Records that so many names are pending still, and whether there is a pseudo-link.
    pub(crate) fn update(&self, copy: u64, pending: u32, linked: bool) -> Result<(), Errno> {
        let Some(old) = read(&self.known).get(&copy).copied() else {
            return Ok(());
        };
        let record = Record {
            pending,
            linked,
            ..old
        };
        if record == old {
            return Ok(());
        }
        self.store(copy, record)
    }

    /// How many names of the file of this number, which was not copied, are removed.
    pub(crate) fn gone(&self, number: u64) -> u32 {
        read(&self.gone).get(&number).copied().unwrap_or_default()
    }

    /// Records that.
    pub(crate) fn set_gone(&self, number: u64, gone: u32) -> Result<(), Errno> {
        let record = Record {
            number,
            pending: gone,
            linked: false,
            birth: (0, 0),
        };
        self.append(NO_COPY, &record)?;
        let mut known = self.gone.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(number, gone);
        Ok(())
    }

    fn store(&self, copy: u64, record: Record) -> Result<(), Errno> {
        self.append(copy, &record)?;
        let mut copies = self.copies.write().unwrap_or_else(PoisonError::into_inner);
        if record.linked {
            copies.insert(record.number, copy);
        } else if copies.get(&record.number) == Some(&copy) {
            copies.remove(&record.number);
        }
        drop(copies);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(copy, record);
        Ok(())
    }

    fn append(&self, copy: u64, record: &Record) -> Result<(), Errno> {
        if let Some(file) = self.file()? {
            let _one = self.append.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = encode(copy, record);
            let mut done = 0;
            while done < RECORD {
                done += rustix::io::retry_on_intr(|| rustix::io::write(file, &bytes[done..]))?;
            }
        }
        Ok(())
    }

    /// The log, made when it is first needed.
    fn file(&self) -> Result<Option<&OwnedFd>, Errno> {
        let Some((directory, name)) = &self.home else {
            return Ok(None);
        };
        if let Some(file) = self.file.get() {
            return Ok(Some(file));
        }
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
        // A record that a crash cut off would put all later ones out of step.
        let length = rustix::fs::fstat(&file)?.st_size.unsigned_abs();
        let whole = length - length % RECORD as u64;
        if whole != length {
            rustix::fs::ftruncate(&file, whole)?;
        }
        Ok(Some(self.file.get_or_init(|| file)))
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn encode(copy: u64, record: &Record) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[0..8].copy_from_slice(&copy.to_le_bytes());
    bytes[8..16].copy_from_slice(&record.number.to_le_bytes());
    bytes[16..24].copy_from_slice(&record.birth.0.to_le_bytes());
    bytes[24..28].copy_from_slice(&record.birth.1.to_le_bytes());
    bytes[28..32].copy_from_slice(&record.pending.to_le_bytes());
    bytes[32..36].copy_from_slice(&u32::from(record.linked).to_le_bytes());
    let sum = checksum(&bytes[..36]);
    bytes[36..40].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(u64, Record)> {
    let eight = |at: usize| bytes[at..at + 8].try_into().ok().map(u64::from_le_bytes);
    let four = |at: usize| bytes[at..at + 4].try_into().ok().map(u32::from_le_bytes);
    if four(36)? != checksum(&bytes[..36]) {
        return None;
    }
    let record = Record {
        number: eight(8)?,
        pending: four(28)?,
        linked: four(32)? != 0,
        birth: (eight(16)? as i64, four(24)?),
    };
    Some((eight(0)?, record))
}

/// FNV-1a: tells a record from what a crash left of one.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let record = Record {
            number: 7,
            pending: 2,
            linked: true,
            birth: (-3, 5),
        };
        let mut bytes = encode(9, &record);
        assert_eq!(decode(&bytes), Some((9, record)));
        bytes[8] ^= 1;
        assert_eq!(decode(&bytes), None);
    }
}
