//! Writing a layer's tar again, from its journal and its tree.

use super::record::{Kind, Record, damaged};
use crc32fast::Hasher;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use strata_driver::changeset::EntryPath;
use strata_driver::{Bytes, DiffId, Error, ErrorKind, Result};

const OPERATION: &str = "write the layer's tar";
const BLOCK: usize = 256 << 10;

/// A tar that was written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reassembled {
    /// What it is.
    pub diff_id: DiffId,
    /// Its length.
    pub size: Bytes,
}

/// Writes the tar of which `records` is the journal to `out`, with contents from the tree at `root`.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt), naming the path, for content that is not what it was, and for a
/// journal that is damaged. What was written then is no layer.
pub fn reassemble(
    records: impl Iterator<Item = io::Result<Record>>,
    root: BorrowedFd<'_>,
    out: &mut impl Write,
) -> Result<Reassembled> {
    let mut out = Hashing {
        out,
        hash: Sha256::new(),
        size: 0,
    };
    let mut file = EntryPath::root();
    let mut block = vec![0; BLOCK];
    for record in records {
        let record = record.map_err(|error| broken().caused_by(error))?;
        match record {
            Record::Raw(bytes) | Record::Inline(bytes) => out.put(&bytes)?,
            Record::Entry { path, kind, .. } => {
                if matches!(kind, Kind::File(_)) {
                    file = path;
                }
            }
            Record::Whiteout { .. } | Record::Opaque(_) => {}
            Record::Content { length, checksum } => {
                let found = copy(root, &file, length, &mut out, &mut block)?;
                if found != (length, checksum) {
                    return Err(changed(&file));
                }
            }
            Record::End { digest, size } => return out.end(digest, size),
        }
    }
    Err(broken().caused_by(damaged("it ends too early")))
}

fn broken() -> Error {
    Error::new(ErrorKind::Corrupt, OPERATION)
        .because("the layer's journal is damaged")
        .hint("`strata check --repair` makes it again from the layer's blob")
}

fn changed(path: &EntryPath) -> Error {
    Error::new(ErrorKind::Corrupt, OPERATION)
        .because("the content of a file is not what the layer brought")
        .with("path", path)
        .hint("`strata check --repair` makes the layer again from its blob")
}

/// Copies a file of the layer, and says how long it was and its checksum.
fn copy(
    root: BorrowedFd<'_>,
    path: &EntryPath,
    length: u64,
    out: &mut Hashing<'_, impl Write>,
    block: &mut [u8],
) -> Result<(u64, u32)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = strata_sys::file::open_in_root(root, path.as_bytes(), flags, Mode::empty());
    let mut file = File::from(opened.map_err(|error| changed(path).caused_by(error))?);
    let (mut found, mut checksum) = (0, Hasher::new());
    // No further than a byte beyond: a file may have grown.
    while found <= length {
        let read = file
            .read(block)
            .map_err(|error| Error::io(OPERATION, error).with("path", path))?;
        if read == 0 {
            break;
        }
        found += read as u64;
        checksum.update(&block[..read]);
        if found <= length {
            out.put(&block[..read])?;
        }
    }
    Ok((found, checksum.finalize()))
}

struct Hashing<'a, W> {
    out: &'a mut W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashing<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.out
            .write_all(bytes)
            .map_err(|error| Error::io(OPERATION, error))
    }

    fn end(self, digest: [u8; 32], size: u64) -> Result<Reassembled> {
        let found: [u8; 32] = self.hash.finalize().into();
        if (found, self.size) != (digest, size) {
            return Err(broken().caused_by(damaged("digest or size are others")));
        }
        Ok(Reassembled {
            diff_id: DiffId::from_sha256(found),
            size: Bytes(size),
        })
    }
}
