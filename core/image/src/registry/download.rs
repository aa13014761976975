//! Fetching a blob to its end: going on after a failure, starting again where there is no way on.

use super::retry::{Notify, Patience, RetryPolicy};
use super::{BlobBody, Registry};
use crate::document::Descriptor;
use crate::reference::Repository;
use crate::{ImageError, Result};
use futures_util::StreamExt;

/// Where the bytes of a blob go. It writes and hashes; whether they are the right ones is for
/// its owner to say when all have come.
pub trait Sink: Send {
    /// How many bytes it holds, from the blob's first on.
    fn position(&self) -> u64;
    /// Takes the bytes that follow.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Forgets everything.
    fn restart(&mut self) -> Result<()>;
}

/// Fetches what `sink` lacks of `blob`.
///
/// A sink that holds something already gets the rest only, also after a failure in the middle;
/// where the registry knows no offsets, the sink is restarted.
pub async fn download(
    registry: &dyn Registry,
    repository: &Repository,
    blob: &Descriptor,
    sink: &mut dyn Sink,
    policy: &RetryPolicy,
    notify: &Notify<'_>,
) -> Result<()> {
    let mut patience = Patience::new(policy);
    while sink.position() != blob.size {
        if sink.position() > blob.size {
            sink.restart()?;
        }
        let before = sink.position();
        let attempt = async {
            let body = registry.blob(repository, blob, before).await?;
            receive(body, blob, sink).await
        };
        if let Err(error) = attempt.await {
            patience.after(error, notify).await?;
        }
    }
    Ok(())
}

/// Moves one answer into the sink.
async fn receive(mut body: BlobBody, blob: &Descriptor, sink: &mut dyn Sink) -> Result<()> {
    if body.from != sink.position() {
        sink.restart()?;
    }
    while let Some(bytes) = body.stream.next().await {
        let bytes = bytes?;
        // Checked before it is written: nobody fills the disk by sending more than was named.
        if sink.position() + bytes.len() as u64 > blob.size {
            return Err(ImageError::BlobTooLong {
                digest: blob.digest,
                size: blob.size,
            });
        }
        sink.write(&bytes)?;
    }
    if sink.position() < blob.size {
        return Err(ImageError::BlobTooShort {
            digest: blob.digest,
            size: blob.size,
            found: sink.position(),
            is_announced: false,
        });
    }
    Ok(())
}
