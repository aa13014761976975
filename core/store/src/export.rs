//! Writing a layer's tar again: what `save`, `push` and `check` ask for.

use crate::facts::LayerRow;
use crate::journal::{JournalReader, Reassembled, reassemble};
use crate::layers::{Layers, name_of};
use std::fs::File;
use std::io::Write;
use strata_driver::{
    Error, ErrorKind, MountPlan, PrepareOptions, Result, SnapshotName, blocking, mount,
};

const OPERATION: &str = "export layer";

impl Layers {
    /// Writes the tar of a layer to `out`: to the bit the one that it came as.
    ///
    /// Nothing is mounted anywhere: the tree is seen through a descriptor. That look at it is gone
    /// afterwards, also after a failure and where the future is dropped.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) for a layer that is not what it was, naming the file; what
    /// was written then is no layer. [`NotFound`](ErrorKind::NotFound) without the snapshot or the
    /// journal.
    pub async fn export(
        &self,
        layer: &LayerRow,
        out: impl Write + Send + 'static,
    ) -> Result<Reassembled> {
        let (layers, layer) = (self.clone(), layer.clone());
        // In a task of its own, so that a dropped future leaves no view behind.
        tokio::spawn(async move { layers.export_whole(&layer, out).await })
            .await
            .unwrap_or_else(|torn| Err(Error::new(ErrorKind::Other, OPERATION).caused_by(torn)))
    }

    async fn export_whole(
        &self,
        layer: &LayerRow,
        out: impl Write + Send + 'static,
    ) -> Result<Reassembled> {
        let path = self.store.layout().journal(layer.diff);
        let journal = File::open(&path).map_err(|error| {
            Error::io(OPERATION, error)
                .with("layer", layer.chain)
                .hint("`strata check --repair` makes a lost journal again from the layer's blob")
        })?;
        let key = self.own_look()?;
        self.driver
            .view(
                &key,
                Some(&name_of(&layer.chain)),
                &PrepareOptions::default(),
            )
            .await?;
        let outcome = match self.write_through(&key, journal, out).await {
            Ok(written) => is_layer(layer, written),
            Err(error) => Err(error.with("layer", layer.chain)),
        };
        self.end_look(&key, outcome).await
    }

    async fn write_through(
        &self,
        key: &SnapshotName,
        journal: File,
        out: impl Write + Send + 'static,
    ) -> Result<Reassembled> {
        let plan = self.driver.mounts(key).await?;
        blocking(move || write_tar(&plan, journal, out)).await
    }
}

fn write_tar(plan: &MountPlan, journal: File, mut out: impl Write) -> Result<Reassembled> {
    let io = |error| Error::io(OPERATION, error);
    let tree = mount::detached(plan)?;
    let records = JournalReader::new(journal).map_err(|error| {
        Error::new(ErrorKind::Corrupt, OPERATION)
            .because("the layer's journal is damaged")
            .hint("`strata check --repair` makes it again from the layer's blob")
            .caused_by(error)
    })?;
    let written = reassemble(records, tree.root(), &mut out)?;
    out.flush().map_err(io)?;
    Ok(written)
}

/// A whole journal may still be that of another layer.
fn is_layer(layer: &LayerRow, written: Reassembled) -> Result<Reassembled> {
    if (written.diff_id, written.size) == (layer.diff, layer.size) {
        return Ok(written);
    }
    Err(Error::new(ErrorKind::Corrupt, OPERATION)
        .because("the journal is that of another layer")
        .with("layer", layer.chain)
        .with("expected", layer.diff)
        .with("found", written.diff_id))
}
