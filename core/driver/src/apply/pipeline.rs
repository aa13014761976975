//! The thread that reads and hashes the stream while another applies it.

use super::error::OPERATION;
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::{Bytes, DiffId};
use crate::stream::read_error;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

/// Bytes of one block: enough that a crossing costs nothing per byte, and still in the cache of
/// the core that has just read it when it is hashed.
const BLOCK: usize = 256 * 1024;
/// Blocks on their way: enough to ride out a slow stretch on either side.
const BLOCKS: usize = 8;

enum Message {
    Block(Vec<u8>),
    End(DiffId, Bytes),
    Failed(io::Error),
}

/// The receiving end: the stream block by block, and at its end what it amounted to.
///
/// Dropping it early ends the reading thread as soon as the reader answers.
pub(super) struct Blocks {
    filled: Receiver<Message>,
    empty: Sender<Vec<u8>>,
    outcome: Option<(DiffId, Bytes)>,
}

impl Blocks {
    /// Starts to read.
    pub(super) fn read(stream: Box<dyn Read + Send>) -> Result<Self> {
        let (filled_sender, filled) = sync_channel(BLOCKS);
        let (empty, empty_receiver) = channel();
        thread::Builder::new()
            .name("apply-read".into())
            .spawn(move || pump(stream, &filled_sender, &empty_receiver))
            .map_err(|error| Error::io(OPERATION, error).because("cannot start a thread"))?;
        Ok(Self {
            filled,
            empty,
            outcome: None,
        })
    }

    /// The next block; `None` at the end of the stream.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>> {
        match self.filled.recv() {
            Ok(Message::Block(block)) => Ok(Some(block)),
            Ok(Message::End(digest, size)) => {
                self.outcome = Some((digest, size));
                Ok(None)
            }
            Ok(Message::Failed(error)) => Err(read_error(OPERATION, error)),
            Err(_) => {
                Err(Error::new(ErrorKind::Other, OPERATION)
                    .because("the changeset's reader panicked"))
            }
        }
    }

    /// Gives a block back to be filled again.
    pub(super) fn recycle(&self, block: Vec<u8>) {
        drop(self.empty.send(block)); // a reader that has ended needs no more blocks
    }

    /// Digest and length of the stream, once it has ended.
    pub(super) fn outcome(&self) -> Option<(DiffId, Bytes)> {
        self.outcome
    }
}

fn pump(mut stream: Box<dyn Read + Send>, filled: &SyncSender<Message>, empty: &Receiver<Vec<u8>>) {
    let mut hash = Sha256::new();
    let mut size = 0;
    loop {
        let mut block = empty.try_recv().unwrap_or_default();
        block.resize(BLOCK, 0);
        let length = match fill(&mut *stream, &mut block) {
            Ok(length) => length,
            Err(error) => {
                drop(filled.send(Message::Failed(error))); // an apply that failed does not listen
                return;
            }
        };
        block.truncate(length);
        hash.update(&block);
        size += length as u64;
        if length > 0 && filled.send(Message::Block(block)).is_err() {
            return;
        }
        if length < BLOCK {
            let digest = DiffId::from_sha256(hash.finalize().into());
            drop(filled.send(Message::End(digest, Bytes(size)))); // as above
            return;
        }
    }
}

/// Fills `block` as far as the stream goes.
pub(super) fn fill(stream: &mut dyn Read, block: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match stream.read(&mut block[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
