//! What a journal is made of, and how it stands in the file.

use std::io::{self, Read, Write};
use strata_driver::changeset::{Entry, EntryKind, EntryPath, Item, Metadata, Timestamp};

/// What every journal begins with.
pub(super) const MAGIC: &[u8; 16] = b"strata journal 1";
/// Longest path, target or name that is believed: twice what the changeset codec takes.
const LONGEST_NAME: u64 = 2 << 20;
/// Bytes of framing in one record, at most.
pub(super) const LONGEST_RAW: usize = 1 << 20;

/// What an entry is, without what only its extraction needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of so many bytes.
    File(u64),
    /// A further name of the file at this path of the layer.
    HardLink(EntryPath),
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// A directory.
    Directory,
    /// A character or block device, or a fifo.
    Special,
}

/// One step of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Bytes of the tar that are no content.
    Raw(Vec<u8>),
    /// What the headers before it say.
    Entry {
        /// Its path.
        path: EntryPath,
        /// What it is.
        kind: Kind,
        /// Permissions, owner, time.
        metadata: Metadata,
    },
    /// A name that the layer hides.
    Whiteout {
        /// The directory that loses it.
        directory: EntryPath,
        /// The name.
        name: Vec<u8>,
    },
    /// A directory of which the layer hides what lies below.
    Opaque(EntryPath),
    /// Content of the file announced last, to be read from the layer.
    Content {
        /// Bytes.
        length: u64,
        /// Their crc32.
        checksum: u32,
    },
    /// Content that the layer's tree does not have.
    Inline(Vec<u8>),
    /// The journal is whole.
    End {
        /// sha256 of the tar.
        digest: [u8; 32],
        /// Bytes of the tar.
        size: u64,
    },
}

impl Record {
    /// What an item of a changeset is in a journal.
    pub(super) fn of(item: &Item) -> Self {
        match item {
            Item::Whiteout { directory, name } => Self::Whiteout {
                directory: directory.clone(),
                name: name.clone(),
            },
            Item::Opaque { directory } => Self::Opaque(directory.clone()),
            Item::Entry(Entry {
                path,
                kind,
                metadata,
                ..
            }) => Self::Entry {
                path: path.clone(),
                kind: match kind {
                    EntryKind::File { size } => Kind::File(*size),
                    EntryKind::HardLink { target } => Kind::HardLink(target.clone()),
                    EntryKind::Symlink { target } => Kind::Symlink(target.clone()),
                    EntryKind::Directory => Kind::Directory,
                    EntryKind::CharDevice { .. }
                    | EntryKind::BlockDevice { .. }
                    | EntryKind::Fifo => Kind::Special,
                },
                metadata: *metadata,
            },
        }
    }

    /// Writes it: a letter, then its fields.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Raw(bytes) => {
                out.write_all(b"R")?;
                put_bytes(out, bytes)
            }
            Self::Entry {
                path,
                kind,
                metadata,
            } => {
                out.write_all(match kind {
                    Kind::File(_) => b"F",
                    Kind::HardLink(_) => b"H",
                    Kind::Symlink(_) => b"S",
                    Kind::Directory => b"D",
                    Kind::Special => b"N",
                })?;
                put_bytes(out, path.as_bytes())?;
                for number in [metadata.mode, metadata.uid, metadata.gid] {
                    put_number(out, u64::from(number))?;
                }
                out.write_all(&metadata.mtime.seconds.to_le_bytes())?;
                put_number(out, u64::from(metadata.mtime.nanoseconds))?;
                match kind {
                    Kind::File(size) => put_number(out, *size),
                    Kind::HardLink(target) => put_bytes(out, target.as_bytes()),
                    Kind::Symlink(target) => put_bytes(out, target),
                    Kind::Directory | Kind::Special => Ok(()),
                }
            }
            Self::Whiteout { directory, name } => {
                out.write_all(b"W")?;
                put_bytes(out, directory.as_bytes())?;
                put_bytes(out, name)
            }
            Self::Opaque(directory) => {
                out.write_all(b"O")?;
                put_bytes(out, directory.as_bytes())
            }
            Self::Content { length, checksum } => {
                out.write_all(b"C")?;
                put_number(out, *length)?;
                out.write_all(&checksum.to_le_bytes())
            }
            Self::Inline(bytes) => {
                out.write_all(b"I")?;
                put_bytes(out, bytes)
            }
            Self::End { digest, size } => {
                out.write_all(b"E")?;
                out.write_all(digest)?;
                put_number(out, *size)
            }
        }
    }

    /// Reads the next one.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let [letter] = take(from)?;
        Ok(match letter {
            b'R' => Self::Raw(take_bytes(from, LONGEST_RAW as u64)?),
            b'F' | b'H' | b'S' | b'D' | b'N' => {
                let path = take_path(from)?;
                let metadata = Metadata {
                    mode: take_small(from)?,
                    uid: take_small(from)?,
                    gid: take_small(from)?,
                    mtime: Timestamp {
                        seconds: i64::from_le_bytes(take(from)?),
                        nanoseconds: take_small(from)?,
                    },
                };
                let kind = match letter {
                    b'F' => Kind::File(take_number(from)?),
                    b'H' => Kind::HardLink(take_path(from)?),
                    b'S' => Kind::Symlink(take_bytes(from, LONGEST_NAME)?),
                    b'D' => Kind::Directory,
                    _ => Kind::Special,
                };
                Self::Entry {
                    path,
                    kind,
                    metadata,
                }
            }
            b'W' => Self::Whiteout {
                directory: take_path(from)?,
                name: take_bytes(from, LONGEST_NAME)?,
            },
            b'O' => Self::Opaque(take_path(from)?),
            b'C' => Self::Content {
                length: take_number(from)?,
                checksum: u32::from_le_bytes(take(from)?),
            },
            b'I' => Self::Inline(take_bytes(from, LONGEST_RAW as u64)?),
            b'E' => Self::End {
                digest: take(from)?,
                size: take_number(from)?,
            },
            other => return Err(damaged(format!("no record begins with byte {other}"))),
        })
    }
}

/// What is read is no journal, or not a whole one.
pub(super) fn damaged(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// Seven bits a byte, the lowest first; the last byte has its high bit clear.
fn put_number(out: &mut impl Write, mut number: u64) -> io::Result<()> {
    let mut bytes = [0; 10];
    let mut length = 0;
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes[length] = if number == 0 { low } else { low | 0x80 };
        length += 1;
        if number == 0 {
            return out.write_all(&bytes[..length]);
        }
    }
}

fn put_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    put_number(out, bytes.len() as u64)?;
    out.write_all(bytes)
}

fn take<const LENGTH: usize>(from: &mut impl Read) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn take_number(from: &mut impl Read) -> io::Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(from)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(damaged("a number is too long"))
}

fn take_small(from: &mut impl Read) -> io::Result<u32> {
    u32::try_from(take_number(from)?).map_err(|_| damaged("a number is too large"))
}

fn take_bytes(from: &mut impl Read, most: u64) -> io::Result<Vec<u8>> {
    let length = take_number(from)?;
    if length > most {
        return Err(damaged(format!("{length} bytes in one field")));
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn take_path(from: &mut impl Read) -> io::Result<EntryPath> {
    let bytes = take_bytes(from, LONGEST_NAME)?;
    if bytes.is_empty() {
        return Ok(EntryPath::root());
    }
    EntryPath::parse(&bytes).map_err(|rule| damaged(format!("a path is none: {rule}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_come_back() {
        proptest!(|(number in any::<u64>(), shift in 0..64_u32)| {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number >> shift).unwrap();
            prop_assert_eq!(take_number(&mut bytes.as_slice()).unwrap(), number >> shift);
        });
    }

    #[test]
    fn a_number_that_does_not_end_is_refused() {
        assert!(take_number(&mut [0xff; 12].as_slice()).is_err());
    }

    #[test]
    fn nothing_but_records_is_read() {
        proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..200))| {
            let mut rest = bytes.as_slice();
            while Record::read(&mut rest).is_ok() {}
        });
    }
}
