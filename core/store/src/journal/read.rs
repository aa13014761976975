//! Reading a journal.

use super::record::{MAGIC, Record, damaged};
use std::fs::File;
use std::io::{self, BufReader, Read};

/// The records of a journal, one after the other; the last is [`Record::End`].
pub struct JournalReader<R: Read> {
    from: BufReader<zstd::Decoder<'static, BufReader<R>>>,
    is_over: bool,
}

impl<R: Read> std::fmt::Debug for JournalReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalReader")
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

impl JournalReader<File> {
    /// Opens the journal in a file.
    pub fn open(file: File) -> io::Result<Self> {
        Self::new(file)
    }
}

impl<R: Read> JournalReader<R> {
    /// Reads the beginning.
    pub fn new(from: R) -> io::Result<Self> {
        let mut from = BufReader::new(zstd::Decoder::new(from)?);
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(damaged("it is no journal of a layer"));
        }
        Ok(Self {
            from,
            is_over: false,
        })
    }
}

impl<R: Read> Iterator for JournalReader<R> {
    type Item = io::Result<Record>;

    /// A journal that ends without [`Record::End`] is an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let record = Record::read(&mut self.from);
        self.is_over = !matches!(&record, Ok(record) if !matches!(record, Record::End { .. }));
        Some(record)
    }
}
