//! Changesets as streams: bounded blocks between a thread and whoever reads.

use crate::error::{Error, ErrorKind, Result};
use bytes::{Buf as _, Bytes};
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::sync::mpsc;

/// Bytes of one block. Large, so that crossing threads costs nothing per byte.
const BLOCK: usize = 256 * 1024;
/// Blocks under way: enough to ride out the other side's pauses, little memory.
const BLOCKS: usize = 8;

/// A block of the changeset; an empty one says that it is complete. A producer that goes away
/// without a last word has failed: its stream must not pass for a whole changeset.
type Message = Result<Bytes, io::Error>;

/// The writing end of a [`DiffStream`]; used on a blocking thread.
#[derive(Debug)]
pub struct DiffSink {
    blocks: mpsc::Sender<Message>,
    buffer: Vec<u8>,
}

/// A changeset that a driver produces while it is read.
///
/// Read it as [`AsyncRead`], or on a blocking thread with [`DiffStream::into_read`]. Dropping it
/// stops the producer. A failure of the producer arrives as a read error.
#[derive(Debug)]
pub struct DiffStream {
    blocks: mpsc::Receiver<Message>,
    current: Bytes,
    /// The producer has said that it is complete, or failed.
    ended: bool,
}

/// A bounded pipe for one changeset.
pub fn diff_channel() -> (DiffSink, DiffStream) {
    let (sender, receiver) = mpsc::channel(BLOCKS);
    let sink = DiffSink {
        blocks: sender,
        buffer: Vec::with_capacity(BLOCK),
    };
    (
        sink,
        DiffStream {
            blocks: receiver,
            current: Bytes::new(),
            ended: false,
        },
    )
}

impl DiffSink {
    /// Runs `produce` on the blocking pool with a sink for the returned stream.
    pub fn produce(work: impl FnOnce(&mut DiffSink) -> Result<()> + Send + 'static) -> DiffStream {
        let (mut sink, stream) = diff_channel();
        crate::blocking::background(move || {
            let outcome = work(&mut sink);
            sink.finish(outcome);
        });
        stream
    }

    fn send(&mut self) -> io::Result<()> {
        let block = Bytes::from(std::mem::replace(
            &mut self.buffer,
            Vec::with_capacity(BLOCK),
        ));
        self.blocks
            .blocking_send(Ok(block))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the reader went away"))
    }

    /// Ends the changeset: complete, or failed. A sink dropped without this has failed.
    pub fn finish(mut self, outcome: Result<()>) {
        if outcome.is_ok() && !self.buffer.is_empty() && self.send().is_err() {
            return; // a reader that went away needs no last word
        }
        let last = outcome.map(|()| Bytes::new()).map_err(io::Error::other);
        drop(self.blocks.blocking_send(last)); // as above
    }
}

impl Write for DiffSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK - self.buffer.len();
        let taken = bytes.len().min(room);
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == BLOCK {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiffStream {
    fn accept(&mut self, message: Option<Message>) -> io::Result<()> {
        let failed = || io::Error::other("the producer of the changeset died before its end");
        match message.unwrap_or_else(|| Err(failed())) {
            Ok(block) => {
                self.ended = block.is_empty();
                self.current = block;
                Ok(())
            }
            Err(error) => {
                self.ended = true;
                Err(error)
            }
        }
    }

    /// The stream as a blocking reader, for use off the async threads.
    pub fn into_read(self) -> impl Read + Send {
        BlockingBlocks { stream: self }
    }
}

impl AsyncRead for DiffStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.current.is_empty() && !self.ended {
            match self.blocks.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(message) => self.accept(message)?,
            }
        }
        let taken = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current[..taken]);
        self.current.advance(taken);
        Poll::Ready(Ok(()))
    }
}

struct BlockingBlocks {
    stream: DiffStream,
}

impl Read for BlockingBlocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stream.current.is_empty() && !self.stream.ended {
            let message = self.stream.blocks.blocking_recv();
            self.stream.accept(message)?;
        }
        let taken = self.stream.current.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&self.stream.current[..taken]);
        self.stream.current.advance(taken);
        Ok(taken)
    }
}

/// Where an apply reads its changeset from.
pub struct ChangesetSource(Box<dyn Read + Send>);

impl ChangesetSource {
    /// A blocking reader: a file, standard input, bytes in memory.
    pub fn from_read(read: impl Read + Send + 'static) -> Self {
        Self(Box::new(read))
    }

    /// A stream made by [`diff`](crate::StorageDriver::diff).
    pub fn from_diff(stream: DiffStream) -> Self {
        Self(Box::new(stream.into_read()))
    }

    /// An async reader; a task of the current runtime pumps it in large blocks.
    pub fn from_async(mut read: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (sender, receiver) = mpsc::channel(BLOCKS);
        tokio::spawn(async move {
            loop {
                let mut block = Vec::with_capacity(BLOCK);
                let outcome = loop {
                    match read.read_buf(&mut block).await {
                        Ok(0) => break Ok(()), // an empty block, now or next time, is the end
                        Ok(_) if block.len() == block.capacity() => break Ok(()),
                        Ok(_) => {}
                        Err(error) => break Err(error),
                    }
                };
                let ended = outcome.is_err() || block.is_empty();
                let message = outcome.map(|()| Bytes::from(block));
                if sender.send(message).await.is_err() || ended {
                    return;
                }
            }
        });
        Self::from_diff(DiffStream {
            blocks: receiver,
            current: Bytes::new(),
            ended: false,
        })
    }

    /// The reader itself.
    pub fn into_read(self) -> Box<dyn Read + Send> {
        self.0
    }
}

impl std::fmt::Debug for ChangesetSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChangesetSource")
    }
}

/// A read error of a changeset, with the driver error that it may carry.
pub(crate) fn read_error(operation: &'static str, mut error: io::Error) -> Error {
    match error
        .get_mut()
        .and_then(|inner| inner.downcast_mut::<Error>())
    {
        Some(inner) => {
            std::mem::replace(inner, Error::new(ErrorKind::Other, operation)).during(operation)
        }
        None => Error::io(operation, error).because("the changeset cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn produced_bytes_arrive_whole_and_in_order() {
        let wanted: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let sent = wanted.clone();
        let mut stream = DiffSink::produce(move |sink| {
            sink.write_all(&sent)
                .map_err(|error| Error::io("diff", error))
        });
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        assert!(got == wanted);
    }

    #[tokio::test]
    async fn a_failed_producer_is_a_read_error_that_keeps_its_kind() {
        let mut stream =
            DiffSink::produce(|_| Err(Error::new(ErrorKind::Corrupt, "diff").because("bad tree")));
        let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(read_error("apply", error).kind(), ErrorKind::Corrupt);
    }

    #[tokio::test]
    async fn a_producer_that_dies_is_no_end_of_the_changeset() {
        let sent = vec![7; 2 * BLOCK];
        let mut stream = DiffSink::produce(move |sink| {
            sink.write_all(&sent)
                .map_err(|error| Error::io("diff", error))?;
            panic!("a defect in a driver");
        });
        let mut got = Vec::new();
        assert!(stream.read_to_end(&mut got).await.is_err());
        assert_eq!(got.len(), 2 * BLOCK);
    }

    #[tokio::test]
    async fn an_async_source_whose_task_is_cut_off_is_no_whole_changeset() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let (write, read) = tokio::io::duplex(16);
        let source = {
            let _inside = runtime.enter();
            ChangesetSource::from_async(read)
        };
        runtime.shutdown_background();
        let got = tokio::task::spawn_blocking(move || {
            source.into_read().read_to_end(&mut Vec::new()).map(drop)
        });
        assert!(got.await.unwrap().is_err());
        drop(write); // until here the changeset could have gone on
    }

    #[tokio::test]
    async fn async_source_is_read_to_its_end() {
        let wanted = vec![7_u8; 700_000];
        let source = ChangesetSource::from_async(io::Cursor::new(wanted.clone()));
        let got = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            source.into_read().read_to_end(&mut bytes).map(|_| bytes)
        });
        assert!(got.await.unwrap().unwrap() == wanted);
    }
}
