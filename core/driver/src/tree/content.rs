//! The content of one copied file: shared, or copied without its holes.

use super::attributes::{During as _, Step};
use rustix::fs::Stat;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use strata_sys::file::{clone_file, data_extents};

/// Bytes read and written at once. Files up to this size take two calls.
const BUFFER: usize = 256 * 1024;

/// How a file's content came into its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Both files share their blocks.
    Shared,
    /// So many bytes were written.
    Written(u64),
}

/// Copies contents; keeps its buffer.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    /// Whether the file systems share blocks at all, for all threads.
    share: &'a AtomicBool,
    buffer: Vec<u8>,
}

/// A file and its copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files<'a> {
    pub(super) source: BorrowedFd<'a>,
    pub(super) target: BorrowedFd<'a>,
}

impl<'a> Contents<'a> {
    pub(super) fn new(share: &'a AtomicBool) -> Self {
        Self {
            share,
            buffer: vec![0; BUFFER],
        }
    }

    /// Copies everything of the source, which `stat` describes, into the empty target.
    pub(super) fn copy(&mut self, files: Files<'_>, stat: &Stat) -> Step<Content> {
        let size = stat.st_size.unsigned_abs();
        if size == 0 {
            return Ok(Content::Written(0));
        }
        if self.share.load(Ordering::Relaxed) {
            match clone_file(files.source, files.target)
                .map_err(|error| super::inode::errno(&error))
            {
                Ok(()) => return Ok(Content::Shared),
                // Nothing between these two file systems can be shared.
                Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) => {
                    self.share.store(false, Ordering::Relaxed);
                }
                // This file cannot (swap files, files without copy on write): the others may.
                Err(_) => {}
            }
        }
        // Space reserved beyond the end may hide a hole in the number of blocks, but a small file
        // has none worth the calls.
        let holes = stat.st_blocks.unsigned_abs() * 512 < size;
        if size < BUFFER as u64 && !holes {
            return self.stretch(files, 0..size).map(Content::Written);
        }
        let mut written = 0;
        for data in data_extents(files.source, size) {
            let data = data
                .map_err(|error| super::inode::errno(&error))
                .during("find the holes of the file")?;
            written += self.stretch(files, data)?;
        }
        rustix::fs::ftruncate(files.target, size).during("set the size of the copy")?;
        Ok(Content::Written(written))
    }

    fn stretch(&mut self, files: Files<'_>, range: std::ops::Range<u64>) -> Step<u64> {
        let mut offset = range.start;
        while offset < range.end {
            let wanted = (range.end - offset).min(BUFFER as u64) as usize;
            let buffer = &mut self.buffer[..wanted];
            let got = retry(|| rustix::io::pread(files.source, &mut *buffer, offset))
                .during("read the file")?;
            if got == 0 {
                return Err(("read the file: it shrank meanwhile", Errno::IO));
            }
            let mut done = 0;
            while done < got {
                let at = offset + done as u64;
                done += retry(|| rustix::io::pwrite(files.target, &self.buffer[done..got], at))
                    .during("write the copy")?;
            }
            offset += got as u64;
        }
        Ok(range.end - range.start)
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
