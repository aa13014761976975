//! Where an archive comes from, and a file that can be read from anywhere in it.

use super::refused;
use crate::Result;
use crate::document::Compression;
use crate::install::{Cancel, interrupted};
use crate::packing::unpacked;
use std::fs::File;
use std::io::{Cursor, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use strata_driver::Error;
use strata_store::Store;

const OPERATION: &str = "read archive";
const BLOCK: usize = 256 << 10;
/// What the longest magic number takes.
const MAGIC: usize = 6;

/// An archive to read.
pub enum Input {
    /// A file. One that is not compressed is read where it is.
    File(File),
    /// Bytes that come once.
    Stream(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Input {
    /// The archive in a file; a pipe will do.
    pub fn open(path: &Path) -> Result<Self> {
        let file = fs_err::File::open(path).map_err(|error| Error::io(OPERATION, error))?;
        Ok(Self::File(file.into()))
    }
}

/// The whole input, not compressed, as a file. Blocking.
///
/// What is no plain file already is copied into one without a name in the store, which is gone
/// when it is closed.
pub(crate) fn spooled(input: Input, store: &Store, cancel: &Cancel) -> Result<File> {
    let io = |error| Error::io(OPERATION, error);
    let stream: Box<dyn Read + Send> = match input {
        Input::Stream(stream) => stream,
        Input::File(file) => {
            let is_plain = file.metadata().map_err(io)?.is_file();
            let mut start = [0; MAGIC];
            let read = if is_plain {
                file.read_at(&mut start, 0).map_err(io)?
            } else {
                0
            };
            if is_plain && packing_of(&start[..read])? == Compression::None {
                return Ok(file);
            }
            Box::new(file)
        }
    };
    let mut stream = stream;
    let mut start = Vec::new();
    (&mut stream)
        .take(MAGIC as u64)
        .read_to_end(&mut start)
        .map_err(io)?;
    let compression = packing_of(&start)?;
    let mut tar = unpacked(Cursor::new(start).chain(stream), compression);
    let mut file = tempfile::tempfile_in(store.layout().fetches()).map_err(io)?;
    let mut block = vec![0; BLOCK];
    loop {
        if cancel.is_cancelled() {
            return Err(interrupted().into());
        }
        let read = tar.read(&mut block).map_err(io)?;
        if read == 0 {
            return Ok(file);
        }
        file.write_all(&block[..read]).map_err(io)?;
    }
}

/// How bytes that begin so are packed, or by what that is refused.
pub(super) fn packing_of(start: &[u8]) -> Result<Compression> {
    let is_skippable =
        start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == *b"\x2a\x4d\x18";
    let unsupported = |name: &str| {
        Err(refused(format!(
            "it is packed with {name}, which is not supported; unpack it with `{name} -d` first"
        )))
    };
    match start {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Zstd),
        _ if is_skippable => Ok(Compression::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => unsupported("xz"),
        [b'B', b'Z', b'h', ..] => unsupported("bzip2"),
        _ => Ok(Compression::None),
    }
}
