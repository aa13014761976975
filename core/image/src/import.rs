//! Making an image of one layer from a tar of a root file system.

mod changes;

pub use changes::Changes;

use crate::archive::{Input, Section, spooled};
use crate::document::{ImageConfig, Platform};
use crate::install::{Cancel, From, Installer, Planned, Source};
use crate::outgoing::tar_of;
use crate::progress::{Progress, Stage};
use crate::pull::{Record, short};
use crate::reference::Reference;
use crate::registry::Sink;
use crate::{ImageError, Result};
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use strata_driver::{DiffId, Error};
use strata_store::{Digest, Layers};

const OPERATION: &str = "import image";
const BLOCK: usize = 256 << 10;

/// How a tar becomes an image.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportOptions {
    /// How the image is run.
    pub changes: Changes,
    /// The remark in its history; where it came from if none.
    pub message: Option<String>,
    /// Where the tar comes from, as people wrote it: `-`, a path or an address.
    pub source: String,
    /// What it runs on; the host's platform if none.
    pub platform: Option<Platform>,
    /// When it was made.
    pub created: Timestamp,
    /// A name for it.
    pub name: Option<Reference>,
}

impl ImportOptions {
    /// An image that was made at `created`, from standard input.
    pub fn new(created: Timestamp) -> Self {
        Self {
            changes: Changes::default(),
            message: None,
            source: "-".to_owned(),
            platform: None,
            created,
            name: None,
        }
    }
}

/// Everything that an import uses.
#[derive(Clone)]
pub struct Importer {
    /// Where the image goes.
    pub layers: Layers,
    /// How.
    pub options: ImportOptions,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
    /// Who ends it.
    pub cancel: Cancel,
}

impl std::fmt::Debug for Importer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Importer")
            .field("layers", &self.layers)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Importer {
    /// Imports a tar, which may be packed with gzip or zstd; the image.
    pub async fn import(&self, tar: Input) -> Result<Digest> {
        if self
            .options
            .name
            .as_ref()
            .is_some_and(|name| name.digest().is_some())
        {
            return Err(ImageError::TagWithDigest);
        }
        let (store, cancel) = (Arc::clone(self.layers.store()), self.cancel.clone());
        let (tar, diff) = strata_driver::blocking(move || {
            Ok(spooled(tar, &store, &cancel).and_then(|file| {
                let io = |error| Error::io(OPERATION, error);
                let tar = Section::whole(file).map_err(io)?;
                let diff = diff_of(tar.clone()).map_err(io)?;
                Ok((tar, diff))
            }))
        })
        .await??;
        let id = short(&tar_of(diff));
        let told = Told {
            tar,
            id: id.clone(),
            progress: Arc::clone(&self.progress),
        };
        let installer = Installer::new(self.layers.clone(), Arc::new(NoSource))
            .with_progress(Arc::clone(&self.progress))
            .with_cancel(self.cancel.clone());
        let planned = Planned {
            diff,
            id,
            from: From::Tar(Arc::new(move || Ok(Box::new(told.clone())))),
        };
        let chains = installer.layers(&[planned]).await?;
        let bytes = self.config(diff).to_string().into_bytes();
        crate::outgoing::check_size("image configuration", bytes.len() as u64)?;
        let config = ImageConfig::parse(&bytes)?;
        let store = self.layers.store();
        let id = store.put_document(&bytes, &|| self.cancel.is_cancelled())?;
        let name = self.options.name.clone().map(Reference::or_latest);
        let names = name.map(|name| {
            let target = crate::images::target_of(&name);
            (name.repository().to_string(), target)
        });
        let record = Record {
            id,
            config: &config,
            chains,
            manifest: None,
            documents: &[],
            names: names.into_iter().collect(),
            parent: None,
        };
        record.write(&self.layers, &self.cancel)?;
        Ok(id)
    }

    /// The configuration, with Docker's fields in its order of them.
    fn config(&self, diff: DiffId) -> Value {
        let ImportOptions {
            changes,
            message,
            source,
            platform,
            created,
            ..
        } = &self.options;
        let comment = message.clone().filter(|message| !message.is_empty());
        let comment = comment.unwrap_or_else(|| format!("Imported from {source}"));
        let platform = platform.clone().unwrap_or_else(Platform::host);
        let created = created.to_string();
        let mut config = Map::new();
        config.insert("architecture".into(), platform.architecture.into());
        if !platform.variant.is_empty() {
            config.insert("variant".into(), platform.variant.into());
        }
        config.insert("comment".into(), comment.clone().into());
        config.insert("config".into(), changes.to_config());
        config.insert("created".into(), created.clone().into());
        let history = json!([{ "created": created, "comment": comment }]);
        config.insert("history".into(), history);
        config.insert("os".into(), platform.os.into());
        let rootfs = json!({ "type": "layers", "diff_ids": [diff.to_string()] });
        config.insert("rootfs".into(), rootfs);
        config.into()
    }
}

fn diff_of(mut tar: impl Read) -> io::Result<DiffId> {
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        let read = tar.read(&mut block)?;
        if read == 0 {
            return Ok(DiffId::from_sha256(hash.finalize().into()));
        }
        hash.update(&block[..read]);
    }
}

/// The tar as it is read by its unpacking: progress is told.
#[derive(Clone)]
struct Told {
    tar: Section,
    id: String,
    progress: Arc<dyn Progress>,
}

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.tar.read(buffer)?;
        let stage = Stage::Extracting(self.tar.position(), self.tar.size());
        self.progress.layer(&self.id, stage);
        Ok(read)
    }
}

/// There are no blobs here.
struct NoSource;

#[async_trait]
impl Source for NoSource {
    async fn bring(
        &self,
        blob: &crate::document::Descriptor,
        _sink: &mut dyn Sink,
        _retrying: &(dyn Fn(Duration) + Send + Sync),
    ) -> Result<()> {
        Err(ImageError::document(
            "archive",
            format!("{} is missing", blob.digest),
        ))
    }
}
