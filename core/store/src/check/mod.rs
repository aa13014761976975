//! Whether a store is what it should be: rows against what is on disk, and bytes against digests.
//!
//! Quickly, nothing is read but journals: layers are compared with them by type, size, owner and
//! time. Fully, every blob is hashed, and every layer's tar written again into a hash.

mod blobs;
mod finding;
mod layers;
mod repair;
mod rows;
mod tree;

pub use finding::{CheckReport, Checked, Finding, Severity, Subject};
pub use repair::{Outcome, Repair, Repaired, Unpack};

use crate::facts::LayerRow;
use crate::ids::{ChainId, Digest};
use crate::layers::Layers;
use std::collections::BTreeMap;
use std::sync::Arc;
use strata_driver::{Bytes, Result, SnapshotInfo};

/// Layers and blobs that are looked at side by side.
const AT_ONCE: usize = 2;

/// How closely is looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Rows, files and journals, and the layers' trees by what a look at a file tells.
    #[default]
    Quick,
    /// All bytes too.
    Full,
}

/// Hears what has been looked at: how much of how much, and what it was.
pub type CheckProgress = Arc<dyn Fn(usize, usize, &Subject) + Send + Sync>;

/// Options of [`Layers::check`].
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct CheckOptions {
    /// How closely is looked.
    pub level: Level,
    /// What is found is mended where it can be.
    pub repair: Option<Repair>,
    /// Hears how far it is.
    pub progress: Option<CheckProgress>,
}

impl std::fmt::Debug for CheckOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckOptions")
            .field("level", &self.level)
            .field("repair", &self.repair.is_some())
            .finish_non_exhaustive()
    }
}

impl CheckOptions {
    /// Looks as closely as `level`.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Mends what is found.
    #[must_use]
    pub fn with_repair(mut self, repair: Repair) -> Self {
        self.repair = Some(repair);
        self
    }

    /// Tells how far it is.
    #[must_use]
    pub fn with_progress(mut self, progress: CheckProgress) -> Self {
        self.progress = Some(progress);
        self
    }
}

impl Layers {
    /// Looks for what is wrong in the store, and mends it if asked.
    ///
    /// Others may work meanwhile: what is new, or about to go, is not told as wrong. After a
    /// repair the same is looked at once more, and what is told is what was found then.
    pub async fn check(&self, options: &CheckOptions) -> Result<CheckReport> {
        let report = self.inspect(options).await?;
        let Some(repair) = &options.repair else {
            return Ok(report);
        };
        if report.findings.is_empty() {
            return Ok(report);
        }
        let repaired = self.repair(&report.findings, repair).await?;
        let mut after = self.inspect(options).await?;
        after.before = report.findings;
        after.repaired = repaired;
        Ok(after)
    }

    async fn inspect(&self, options: &CheckOptions) -> Result<CheckReport> {
        let state = State::read(self).await?;
        let mut report = CheckReport {
            is_quiet: state.is_quiet,
            ..CheckReport::default()
        };
        let mut work = Work {
            options,
            done: 0,
            of: state.layers.len() + state.blobs.len(),
        };
        rows::check(self, &state, &mut report)?;
        blobs::check(self, &state, &mut work, &mut report).await?;
        layers::check(self, &state, &mut work, &mut report).await?;
        self.drop_outdated(&mut report)?;
        report.findings.sort();
        report.findings.dedup();
        Ok(report)
    }

    /// Forgets findings about what somebody has removed meanwhile.
    fn drop_outdated(&self, report: &mut CheckReport) -> Result<()> {
        if report.is_quiet {
            return Ok(());
        }
        let facts = self.store.facts();
        let mut kept = Vec::new();
        for finding in report.findings.drain(..) {
            let is_there = match &finding.subject {
                Subject::Layer(chain) => facts.layer(chain)?.is_some_and(|row| !row.is_doomed),
                Subject::Blob(digest) => facts.blob(digest)?.is_some(),
                Subject::Image(id) => facts.image(id)?.is_some(),
                Subject::Journal(diff) => facts.has_diff(*diff)?,
                _ => true,
            };
            if is_there {
                kept.push(finding);
            }
        }
        report.findings = kept;
        Ok(())
    }
}

/// What the rows and the driver say exists.
struct State {
    layers: Vec<LayerRow>,
    blobs: Vec<(Digest, Bytes)>,
    snapshots: BTreeMap<String, SnapshotInfo>,
    /// Nobody else has a lease, so that nothing is just being made.
    is_quiet: bool,
}

impl State {
    async fn read(layers: &Layers) -> Result<Self> {
        let store = layers.store();
        let is_quiet = !store.has_others()?;
        // Rows first: a snapshot is there before its row.
        let rows: Vec<LayerRow> = store
            .facts()
            .layers()?
            .into_iter()
            .filter(|row| !row.is_doomed)
            .collect();
        let snapshots = layers.driver().list().await?;
        Ok(Self {
            layers: rows,
            blobs: store.facts().blobs()?,
            snapshots: snapshots
                .into_iter()
                .map(|info| (info.name.as_str().to_owned(), info))
                .collect(),
            is_quiet,
        })
    }

    fn snapshot(&self, chain: &ChainId) -> Option<&SnapshotInfo> {
        self.snapshots.get(&chain.to_string())
    }
}

/// How far the work is, for who listens.
struct Work<'a> {
    options: &'a CheckOptions,
    done: usize,
    of: usize,
}

impl Work<'_> {
    fn is_full(&self) -> bool {
        self.options.level == Level::Full
    }

    fn did(&mut self, subject: &Subject) {
        self.done += 1;
        if let Some(progress) = &self.options.progress {
            progress(self.done, self.of, subject);
        }
    }
}
