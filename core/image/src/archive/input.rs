//! Where an archive comes from, and a file that can be read from anywhere in it.

use super::refused;
use crate::Result;
use crate::document::Compression;
use crate::install::{Cancel, interrupted};
use crate::packing::unpacked;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use strata_driver::Error;
use strata_store::Store;

const OPERATION: &str = "read archive";
const BLOCK: usize = 256 << 10;
/// What the longest magic number takes.
const MAGIC: usize = 6;
/// How often it is asked, while nothing comes, whether to go on: a tenth of a second.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// An archive to read.
pub enum Input {
    /// A file, a pipe or a terminal, from where it stands. A file that is not compressed is read
    /// where it is. What sends nothing keeps nobody from ending the work.
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

    /// The archive on standard input.
    pub fn stdin() -> Result<Self> {
        let copy = io::stdin().as_fd().try_clone_to_owned();
        let copy = copy.map_err(|error| Error::io(OPERATION, error))?;
        Ok(Self::File(copy.into()))
    }
}

/// A pipe or a terminal, whose silence ends with the work.
struct Silent {
    file: File,
    cancel: Cancel,
}

impl Read for Silent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.cancel.is_cancelled() {
            let mut asked = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut asked, Some(&PAUSE)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.file.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("interrupted"))
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
        Input::File(mut file) => {
            let is_plain =
                file.metadata().map_err(io)?.is_file() && file.stream_position().map_err(io)? == 0;
            let mut start = [0; MAGIC];
            let read = if is_plain {
                file.read_at(&mut start, 0).map_err(io)?
            } else {
                0
            };
            if is_plain && packing_of(&start[..read])? == Compression::None {
                return Ok(file);
            }
            let cancel = cancel.clone();
            Box::new(Silent { file, cancel })
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
