//! Content of one file: large writes straight from the stream's blocks, zeros left out as holes.

use super::error::Step as _;
use crate::error::Result;
use std::os::fd::OwnedFd;

/// The unit in which zeros are looked for: the block size of the file systems in question.
const BLOCK: u64 = 4096;

/// Writes the content of a new and empty file.
pub(super) struct ContentWriter {
    size: u64,
    /// Where the last written byte ends; beyond it the file has no length yet.
    end: u64,
}

impl ContentWriter {
    /// For a file that will have `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        Self { size, end: 0 }
    }

    /// Writes `bytes` at `offset`, but for whole blocks of zeros and for zeros at the edges of
    /// `bytes` that may be part of one: in a new file, what is not written reads as zeros.
    pub(super) fn write(&mut self, file: &OwnedFd, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        let mut position = offset;
        let mut data = 0;
        while !rest.is_empty() {
            let length = ((BLOCK - position % BLOCK) as usize).min(rest.len());
            let (piece, after) = rest.split_at(length);
            // A short piece after data at the end of the file is no run of a block's length.
            let ends_data =
                data > 0 && position.is_multiple_of(BLOCK) && after.is_empty() && (length as u64) < BLOCK
                    && position + length as u64 == self.size;
            if !ends_data && is_zero(piece) {
                let start = bytes.len() - rest.len() - data;
                self.put(file, position - data as u64, &bytes[start..start + data])?;
                data = 0;
            } else {
                data += length;
            }
            position += length as u64;
            rest = after;
        }
        self.put(file, position - data as u64, &bytes[bytes.len() - data..])
    }

    /// Gives the file its length.
    pub(super) fn finish(self, file: &OwnedFd) -> Result<()> {
        if self.end < self.size {
            rustix::fs::ftruncate(file, self.size).step("cannot set the length of the file")?;
        }
        Ok(())
    }

    fn put(&mut self, file: &OwnedFd, mut offset: u64, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let written = match rustix::io::pwrite(file, bytes, offset) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.step("cannot write the content")?,
            };
            offset += written as u64;
            bytes = &bytes[written..];
            self.end = offset;
        }
        Ok(())
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (lines, rest) = bytes.as_chunks::<64>();
    let line_is_zero = |line: &[u8; 64]| line.iter().fold(0, |all, byte| all | byte) == 0;
    lines.iter().all(line_is_zero) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};

    #[test]
    fn content_is_the_same_however_it_is_cut() {
        let mut content = vec![0_u8; 40_000];
        for (index, byte) in content.iter_mut().enumerate() {
            if matches!(index, 5..700 | 8192..8200 | 30_000..30_001) {
                *byte = index as u8 | 1;
            }
        }
        for piece in [1_usize, 511, 512, 4095, 4096, 4097, 10_000, 40_000] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("f");
            let flags = OFlags::CREATE | OFlags::RDWR;
            let file = rustix::fs::open(&path, flags, Mode::from(0o600)).unwrap();
            let mut writer = ContentWriter::new(content.len() as u64);
            for (index, bytes) in content.chunks(piece).enumerate() {
                writer.write(&file, (index * piece) as u64, bytes).unwrap();
            }
            writer.finish(&file).unwrap();
            assert!(fs_err::read(&path).unwrap() == content, "pieces of {piece}");
        }
    }
}
