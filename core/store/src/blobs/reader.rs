//! Reading a blob, also one that is still growing.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What a writer tells its readers.
#[derive(Debug, Default)]
pub(super) struct Growth {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    length: u64,
    end: Option<End>,
}

#[derive(Clone, Debug)]
enum End {
    Whole,
    Failed(Arc<str>),
}

impl Growth {
    /// So many bytes can be read now.
    pub(super) fn reach(&self, length: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.length = state.length.max(length);
        self.changed.notify_all();
    }

    pub(super) fn is_whole(&self) {
        self.end(End::Whole);
    }

    pub(super) fn has_failed(&self, why: &str) {
        self.end(End::Failed(why.into()));
    }

    fn end(&self, end: End) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Waits until more than `position` bytes are there (how many), or none will come (`None`).
    fn beyond(&self, position: u64) -> io::Result<Option<u64>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &state.end {
                Some(End::Failed(why)) => return Err(io::Error::other(why.to_string())),
                Some(End::Whole) if state.length <= position => return Ok(None),
                _ if state.length > position => return Ok(Some(state.length)),
                _ => {}
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Reads a blob from its beginning. Of one that is still on its way it waits for more; its end
/// comes only once the blob is verified.
#[derive(Clone, Debug)]
pub struct BlobReader {
    file: Arc<File>,
    position: u64,
    growth: Option<Arc<Growth>>,
}

impl BlobReader {
    /// A blob in its place.
    pub fn whole(file: File) -> Self {
        Self {
            file: Arc::new(file),
            position: 0,
            growth: None,
        }
    }

    pub(super) fn growing(file: Arc<File>, growth: Arc<Growth>) -> Self {
        Self {
            file,
            position: 0,
            growth: Some(growth),
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut room = buffer.len();
        if let Some(growth) = &self.growth {
            match growth.beyond(self.position)? {
                Some(length) => room = room.min((length - self.position) as usize),
                None => return Ok(0),
            }
        }
        let read = self.file.read_at(&mut buffer[..room], self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}
