//! Fetching one blob into the store.

use super::{Installer, interrupted};
use crate::document::Descriptor;
use crate::progress::{Progress, Stage};
use crate::reference::Repository;
use crate::registry::{Registry, RetryPolicy, Sink, download};
use crate::{ImageError, Result};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use strata_driver::Bytes;
use strata_store::{BlobReader, BlobSource, Fetch};
use tokio::sync::{Semaphore, watch};

/// How often it is asked whether a blob that another process fetches is there.
const PAUSE: Duration = Duration::from_millis(20);

/// Where blobs come from.
#[async_trait]
pub trait Source: Send + Sync {
    /// Brings what `sink` lacks of a blob.
    async fn bring(
        &self,
        blob: &Descriptor,
        sink: &mut dyn Sink,
        retrying: &(dyn Fn(Duration) + Send + Sync),
    ) -> Result<()>;
}

/// Blobs of one repository on a registry.
#[derive(Clone, Debug)]
pub struct RegistrySource {
    /// The registry.
    pub registry: Arc<dyn Registry>,
    /// The repository.
    pub repository: Repository,
    /// How patiently it is asked.
    pub policy: RetryPolicy,
}

#[async_trait]
impl Source for RegistrySource {
    async fn bring(
        &self,
        blob: &Descriptor,
        sink: &mut dyn Sink,
        retrying: &(dyn Fn(Duration) + Send + Sync),
    ) -> Result<()> {
        download(
            &*self.registry,
            &self.repository,
            blob,
            sink,
            &self.policy,
            &|retry| retrying(retry.wait),
        )
        .await
    }
}

/// Where a blob will be read, once it is there or on its way.
pub(super) type Arrival = watch::Receiver<Option<BlobReader>>;

/// Waits for a blob to be there or on its way.
pub(super) async fn arrived(arrival: &mut Arrival) -> Result<BlobReader> {
    let reader = arrival
        .wait_for(Option::is_some)
        .await
        .map_err(|_| interrupted())?;
    Ok(reader.clone().ok_or_else(interrupted)?)
}

/// Waits until the fetch of a blob has ended, well or not.
pub(super) async fn ended(mut arrival: Arrival) {
    while arrival.changed().await.is_ok() {}
}

/// The fetch of one blob.
pub(super) struct Fetching {
    pub(super) installer: Installer,
    pub(super) turns: Arc<Semaphore>,
    /// What the layer is told by; nothing for what is no layer.
    pub(super) id: Option<String>,
}

impl Fetching {
    pub(super) async fn run(
        self,
        blob: Descriptor,
        started: &watch::Sender<Option<BlobReader>>,
    ) -> Result<()> {
        if self.turns.available_permits() == 0 {
            self.tell(Stage::Waiting);
        }
        let _turn = self.turns.acquire().await.map_err(|_| interrupted())?;
        let store = Arc::clone(self.installer.layers.store());
        let fetch = loop {
            let (asked, digest, size) = (Arc::clone(&store), blob.digest, Bytes(blob.size));
            let source = strata_driver::blocking(move || asked.blob(&digest, size)).await?;
            match source {
                BlobSource::Ready(reader) => {
                    started.send_replace(Some(reader));
                    self.tell(Stage::Downloaded);
                    return Ok(());
                }
                BlobSource::Fetch(fetch) => break fetch,
                BlobSource::Elsewhere => tokio::time::sleep(PAUSE).await,
            }
        };
        let reader = fetch.reader();
        // What an earlier try left may have been spoilt by a power loss: nobody reads it before
        // it is known to be right.
        let is_new = !fetch.was_taken_up();
        if is_new {
            started.send_replace(Some(reader.clone()));
        }
        let mut sink = FetchSink {
            fetch,
            id: self.id.clone(),
            progress: Arc::clone(&self.installer.progress),
        };
        self.bring(&blob, &mut sink).await?;
        if !is_new && !sink.fetch.is_right() {
            sink.fetch.restart()?;
            self.bring(&blob, &mut sink).await?;
        }
        self.tell(Stage::Verifying);
        strata_driver::blocking(move || store.finish(sink.fetch)).await?;
        if !is_new {
            started.send_replace(Some(reader));
        }
        self.tell(Stage::Downloaded);
        Ok(())
    }

    async fn bring(&self, blob: &Descriptor, sink: &mut FetchSink) -> Result<()> {
        let source = &self.installer.source;
        source
            .bring(blob, sink, &|wait| self.tell(Stage::Retrying(wait)))
            .await
    }

    fn tell(&self, stage: Stage) {
        if let Some(id) = &self.id {
            self.installer.progress.layer(id, stage);
        }
    }
}

/// A fetch as the registry's client sees it.
struct FetchSink {
    fetch: Fetch,
    id: Option<String>,
    progress: Arc<dyn Progress>,
}

impl Sink for FetchSink {
    fn position(&self) -> u64 {
        self.fetch.position()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.fetch.write(bytes)?;
        if let Some(id) = &self.id {
            let stage = Stage::Downloading(self.fetch.position(), self.fetch.size().0);
            self.progress.layer(id, stage);
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.fetch.restart().map_err(ImageError::from)
    }
}
