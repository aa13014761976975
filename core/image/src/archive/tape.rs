//! Writing the tar of an archive: headers in canonical form, contents as they come.

use crate::install::Cancel;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use strata_driver::changeset::{
    END_MARK, Entry, EntryKind, EntryPath, Metadata, Timestamp, encode_entry, padding,
};
use strata_driver::{Error, ErrorKind, Result};

const OPERATION: &str = "write archive";

/// The tar, member by member. Copies write to the same one.
#[derive(Debug)]
pub(super) struct Tape<W> {
    out: Arc<Mutex<Option<W>>>,
    cancel: Cancel,
}

impl<W> Clone for Tape<W> {
    fn clone(&self) -> Self {
        Self {
            out: Arc::clone(&self.out),
            cancel: self.cancel.clone(),
        }
    }
}

impl<W: Write> Tape<W> {
    /// Writing fails once `cancel` says so.
    pub(super) fn new(out: W, cancel: Cancel) -> Self {
        Self {
            out: Arc::new(Mutex::new(Some(out))),
            cancel,
        }
    }

    pub(super) fn directory(&mut self, path: &str) -> Result<()> {
        self.header(path, EntryKind::Directory)
    }

    pub(super) fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.begin(path, content.len() as u64)?;
        self.write_all(content).map_err(io_error)?;
        self.end(content.len() as u64)
    }

    /// Begins a file; its content follows, and [`end`](Self::end).
    pub(super) fn begin(&mut self, path: &str, size: u64) -> Result<()> {
        self.header(path, EntryKind::File { size })
    }

    /// Ends a file that has so many bytes.
    pub(super) fn end(&mut self, size: u64) -> Result<()> {
        self.write_all(padding(size)).map_err(io_error)
    }

    /// Ends the archive, and gives back what it was written to.
    pub(super) fn finish(mut self) -> Result<W> {
        self.write_all(&END_MARK).map_err(io_error)?;
        self.flush().map_err(io_error)?;
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.take().ok_or_else(|| io_error(is_over()))
    }

    fn header(&mut self, path: &str, kind: EntryKind) -> Result<()> {
        let refused = |error: &dyn std::fmt::Display| {
            Error::new(ErrorKind::InvalidInput, OPERATION).because(error.to_string())
        };
        let entry = Entry {
            path: EntryPath::parse(path.as_bytes()).map_err(|rule| refused(&rule))?,
            metadata: Metadata {
                mode: match kind {
                    EntryKind::Directory => 0o755,
                    _ => 0o644,
                },
                uid: 0,
                gid: 0,
                mtime: Timestamp::default(),
            },
            kind,
            xattrs: Vec::new(),
        };
        let mut header = Vec::new();
        encode_entry(&entry, &mut header).map_err(|error| refused(&error))?;
        self.write_all(&header).map_err(io_error)
    }
}

impl<W: Write> Write for Tape<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        match &mut *self.out.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(out) => out.write(bytes),
            None => Err(is_over()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut *self.out.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(out) => out.flush(),
            None => Err(is_over()),
        }
    }
}

fn is_over() -> io::Error {
    io::Error::other("the archive is written already")
}

fn io_error(error: io::Error) -> Error {
    Error::io(OPERATION, error)
}
