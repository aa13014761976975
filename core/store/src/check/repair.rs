//! Mending what a check found.
//!
//! A layer whose tree is wrong is made again from its blob, and with it every layer above: they
//! stand on it, and a driver keeps a snapshot as long as others do. All of these are removed from
//! the top down and applied from the bottom up. A crash between leaves rows without snapshots,
//! which the next repair makes again in the same way.

use super::blobs::{hash, is_right};
use super::finding::{Finding, Severity, Subject};
use super::rows::is_of_layer;
use crate::blobs::BlobReader;
use crate::facts::{BlobRole, LayerRow};
use crate::ids::{ChainId, Digest};
use crate::journal::{Inline, Written, write_again};
use crate::layers::{Layers, Place, Tar, blob_of, name_of, owner_of, remove_if_there};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use strata_driver::{Durability, Error, ErrorKind, Result, blocking};

const OPERATION: &str = "repair store";

/// Gives the tar in a layer's blob, however that is compressed.
pub type Unpack = Arc<dyn Fn(BlobReader) -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// What a repair takes.
#[derive(Clone)]
pub struct Repair {
    unpack: Unpack,
}

impl Repair {
    /// A repair that reads blobs with `unpack`.
    pub fn new(unpack: Unpack) -> Self {
        Self { unpack }
    }
}

impl std::fmt::Debug for Repair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repair").finish_non_exhaustive()
    }
}

/// What a repair did about one thing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Repaired {
    /// What it was about.
    pub subject: Subject,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a repair.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "why")]
pub enum Outcome {
    /// It belonged to nothing and is gone.
    Removed,
    /// It has a row again.
    TakenIn,
    /// It was made again.
    MadeAgain,
    /// It is as it was, for this reason.
    Refused(String),
}

impl Layers {
    pub(super) async fn repair(
        &self,
        findings: &[Finding],
        repair: &Repair,
    ) -> Result<Vec<Repaired>> {
        if self.store.has_others()? {
            return Err(Error::new(ErrorKind::Busy, OPERATION)
                .because("somebody else is at work in the store")
                .hint("try again when pulls, builds and containers have ended"));
        }
        let mut mending = Mending {
            layers: self,
            repair,
            done: Vec::new(),
        };
        mending.strays(findings).await?;
        mending.journals(findings).await?;
        mending.trees(findings).await?;
        mending.blobs(findings).await?;
        Ok(mending.done)
    }
}

struct Mending<'a> {
    layers: &'a Layers,
    repair: &'a Repair,
    done: Vec<Repaired>,
}

impl Mending<'_> {
    fn did(&mut self, subject: Subject, outcome: Outcome) {
        self.done.push(Repaired { subject, outcome });
    }

    fn refuse(&mut self, subject: Subject, why: impl Into<String>) {
        self.did(subject, Outcome::Refused(why.into()));
    }

    async fn strays(&mut self, findings: &[Finding]) -> Result<()> {
        let store = Arc::clone(self.layers.store());
        let strays = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Stray);
        let mut has_rows = false;
        for finding in strays {
            let subject = finding.subject.clone();
            match &finding.subject {
                Subject::Reference(_) | Subject::Image(_) => {
                    has_rows = true;
                    self.did(subject, Outcome::Removed);
                }
                Subject::File(path) if *path == store.layout().next_driver() => {
                    let removed = crate::migrate::remove_left(&store)?;
                    self.did(
                        subject,
                        if removed {
                            Outcome::Removed
                        } else {
                            Outcome::Refused("a migration is under way".into())
                        },
                    );
                }
                // It may have come since it was looked for.
                Subject::File(path) if is_wanted(&store, path)? => {
                    self.refuse(subject, "it is no stray any more".to_owned());
                }
                Subject::File(path) if path.parent() == Some(&*store.layout().journals()) => {
                    self.layers.remove_stray_journals().await?;
                    self.did(subject, Outcome::Removed);
                }
                Subject::File(path) => match remove_any(path) {
                    Ok(()) => self.did(subject, Outcome::Removed),
                    Err(error) => self.refuse(subject, error.chain()),
                },
                Subject::Snapshot(name) => {
                    let outcome = self.snapshot(name).await?;
                    self.did(subject, outcome);
                }
                _ => {}
            }
        }
        if has_rows {
            store.facts().delete_dangling()?;
        }
        Ok(())
    }

    async fn snapshot(&self, name: &str) -> Result<Outcome> {
        let layers = self.layers;
        if let Ok(chain) = name.parse::<ChainId>() {
            if layers.adopt(&chain).await?.is_some() {
                return Ok(Outcome::TakenIn);
            }
        } else if owner_of(name).is_none() {
            return Ok(Outcome::Refused("it may be somebody's".into()));
        }
        let name = strata_driver::SnapshotName::new(name)?;
        match layers.driver().remove(&name).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Ok(Outcome::Refused(error.chain()))
            }
            Ok(()) | Err(_) => Ok(Outcome::Removed),
        }
    }

    async fn journals(&mut self, findings: &[Finding]) -> Result<()> {
        let rows = self.layers.store().facts().layers()?;
        for finding in findings {
            let Subject::Journal(diff) = finding.subject else {
                continue;
            };
            if self.done.iter().any(|done| done.subject == finding.subject) {
                continue;
            }
            let Some(row) = rows.iter().find(|row| row.diff == diff) else {
                continue;
            };
            match self.source(row).await? {
                None => self.refuse(finding.subject.clone(), no_blob(row)),
                Some(source) => {
                    let (layers, row) = (self.layers.clone(), row.clone());
                    let written = blocking(move || layers.write_journal(&row, &source.tar)).await;
                    let outcome = match written {
                        Ok(()) => Outcome::MadeAgain,
                        Err(error) => Outcome::Refused(error.chain()),
                    };
                    self.did(finding.subject.clone(), outcome);
                }
            }
        }
        Ok(())
    }

    async fn trees(&mut self, findings: &[Finding]) -> Result<()> {
        let rows: BTreeMap<ChainId, LayerRow> = self
            .layers
            .store()
            .facts()
            .layers()?
            .into_iter()
            .map(|row| (row.chain, row))
            .collect();
        let wrong: BTreeSet<ChainId> = findings
            .iter()
            .filter_map(|finding| match finding.subject {
                Subject::Layer(chain) => Some(chain),
                _ => None,
            })
            .collect();
        let mut wrong: Vec<(usize, ChainId)> = wrong
            .into_iter()
            .map(|chain| (depth(&rows, &chain), chain))
            .collect();
        wrong.sort_unstable();
        let mut seen = BTreeSet::new();
        for (_, chain) in wrong {
            if seen.contains(&chain) || !rows.contains_key(&chain) {
                continue;
            }
            let affected = with_all_above(&rows, chain);
            seen.extend(affected.iter().map(|row| row.chain));
            let outcome = self.rebuild(&affected).await?;
            for row in affected {
                self.did(Subject::Layer(row.chain), outcome.clone());
            }
        }
        Ok(())
    }

    /// Makes layers again, of which the first is below all others; parents come before children.
    async fn rebuild(&self, affected: &[LayerRow]) -> Result<Outcome> {
        let layers = self.layers;
        if let Some(parent) = affected[0].parent
            && layers.driver().stat(&name_of(&parent)).await.is_err()
        {
            return Ok(Outcome::Refused(format!(
                "the layer {parent} below it is not there either"
            )));
        }
        let names: BTreeSet<String> = affected.iter().map(|row| row.chain.to_string()).collect();
        for info in layers.driver().list().await? {
            let is_upon = |parent: &strata_driver::SnapshotName| names.contains(parent.as_str());
            if info.parent.as_ref().is_some_and(is_upon) && !names.contains(info.name.as_str()) {
                let name = info.name;
                return Ok(Outcome::Refused(if is_of_layer(name.as_str()) {
                    format!("the snapshot {name}, of which no row knows, stands on it")
                } else {
                    format!("the {} snapshot {name} stands on it", info.kind)
                }));
            }
        }
        let mut sources = Vec::new();
        for row in affected {
            match self.source(row).await? {
                Some(source) => sources.push(source),
                None => return Ok(Outcome::Refused(no_blob(row))),
            }
        }
        let mut standing = affected.len();
        let mut refused = None;
        while standing > 0 {
            match layers
                .driver()
                .remove(&name_of(&affected[standing - 1].chain))
                .await
            {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    // What is removed already comes back all the same.
                    refused = Some(error.chain());
                    break;
                }
                Ok(()) | Err(_) => standing -= 1,
            }
        }
        for (row, source) in affected.iter().zip(sources).skip(standing) {
            let draft = layers
                .apply(row.diff, row.parent.as_ref(), source.tar)
                .await?;
            let place = Place {
                parent: row.parent,
                blob: source.blob,
            };
            layers.commit(draft, place).await?;
        }
        Ok(refused.map_or(Outcome::MadeAgain, Outcome::Refused))
    }

    /// A blob that is there, right, and holds the layer's tar.
    async fn source(&self, row: &LayerRow) -> Result<Option<Source>> {
        let store = Arc::clone(self.layers.store());
        let told = match self.layers.driver().stat(&name_of(&row.chain)).await {
            Ok(info) => blob_of(&info),
            Err(_) => None,
        };
        let (row, unpack) = (row.clone(), Arc::clone(&self.repair.unpack));
        blocking(move || {
            let mut candidates: Vec<Digest> = told.into_iter().collect();
            candidates.push(Digest::from_sha256(row.diff.sha256()));
            // The snapshot said which, and is gone: one of its images' blobs it is.
            for image in store.facts().images_with(&row.chain)? {
                let blobs = store.facts().blobs_of(&image)?;
                let of_layers = blobs.iter().filter(|(_, role)| *role == BlobRole::Layer);
                candidates.extend(of_layers.map(|(digest, _)| *digest));
            }
            let mut tried = BTreeSet::new();
            for blob in candidates {
                if !tried.insert(blob)
                    || store.facts().blob(&blob)?.is_none()
                    || !is_right(&store, &blob)
                {
                    continue;
                }
                let tar: Tar = {
                    let (store, unpack) = (Arc::clone(&store), Arc::clone(&unpack));
                    Arc::new(move || {
                        unpack(store.open_blob(&blob)?).map_err(|error| Error::io(OPERATION, error))
                    })
                };
                let found = tar().map(|mut tar| hash(&mut tar));
                if matches!(found, Ok(Ok(found)) if *found.as_bytes() == row.diff.sha256()) {
                    let blob = Some(blob);
                    return Ok(Some(Source { tar, blob }));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Blobs that are a layer's tar as it is.
    async fn blobs(&mut self, findings: &[Finding]) -> Result<()> {
        let rows = self.layers.store().facts().layers()?;
        for finding in findings {
            let Subject::Blob(digest) = finding.subject else {
                continue;
            };
            let row = rows
                .iter()
                .find(|row| row.diff.sha256() == *digest.as_bytes());
            let outcome = match row {
                None => Outcome::Refused("its bytes are nowhere else; pull the image again".into()),
                Some(row) => match self.write_blob(row, &digest).await {
                    Ok(()) => Outcome::MadeAgain,
                    Err(error) => Outcome::Refused(error.chain()),
                },
            };
            self.did(finding.subject.clone(), outcome);
        }
        Ok(())
    }

    async fn write_blob(&self, row: &LayerRow, digest: &Digest) -> Result<()> {
        let layers = self.layers;
        let layout = layers.store().layout();
        let path = layout.fetches().join(layers.own_look()?.as_str());
        let io = |error| Error::io(OPERATION, error).with("blob", digest);
        let file = fs_err::File::create(&path).map_err(io)?;
        let written = async {
            let out = io::BufWriter::new(file.try_clone().map_err(io)?);
            layers.export(row, out).await?;
            if layers.store().durability() == Durability::Durable {
                file.sync_data().map_err(io)?;
            }
            fs_err::rename(&path, layout.blob(digest)).map_err(io)
        }
        .await;
        if written.is_err() {
            remove_if_there(&path);
        }
        written
    }
}

/// Where a layer's tar comes from.
struct Source {
    tar: Tar,
    blob: Option<Digest>,
}

fn no_blob(row: &LayerRow) -> String {
    format!(
        "no blob that is right holds the tar of the layer {}; remove its images and pull them again",
        row.chain
    )
}

fn depth(rows: &BTreeMap<ChainId, LayerRow>, chain: &ChainId) -> usize {
    let below = |chain: &ChainId| rows.get(chain).and_then(|row| row.parent);
    std::iter::successors(below(chain), below).count()
}

/// A layer and all that stand on it, parents before children.
fn with_all_above(rows: &BTreeMap<ChainId, LayerRow>, base: ChainId) -> Vec<LayerRow> {
    let mut affected: Vec<LayerRow> = rows.get(&base).cloned().into_iter().collect();
    let mut at = 0;
    while at < affected.len() {
        let chain = affected[at].chain;
        let above = rows.values().filter(|row| row.parent == Some(chain));
        affected.extend(above.cloned());
        at += 1;
    }
    affected
}

/// Whether a file is a blob that is known, or is on its way to be.
fn is_wanted(store: &crate::Store, path: &Path) -> Result<bool> {
    if path.parent() != Some(&*store.layout().blobs()) {
        return Ok(false);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match format!("sha256:{name}").parse() {
        Ok(digest) => store.facts().is_wanted(&digest),
        Err(_) => Ok(false),
    }
}

fn remove_any(path: &Path) -> Result<()> {
    let io = |error| Error::io(OPERATION, error);
    let is_directory = fs_err::symlink_metadata(path).map_err(io)?.is_dir();
    if is_directory {
        fs_err::remove_dir_all(path).map_err(io)
    } else {
        fs_err::remove_file(path).map_err(io)
    }
}

impl Layers {
    /// Writes the journal of a layer from its tar. Blocking.
    fn write_journal(&self, row: &LayerRow, tar: &Tar) -> Result<()> {
        let layout = self.store.layout();
        let path = layout.fetches().join(self.own_look()?.as_str());
        let io = |error| Error::io(OPERATION, error).with("layer", row.chain);
        self.write_journal_to(&path, row, tar)
            .and_then(|()| fs_err::rename(&path, layout.journal(row.diff)).map_err(io))
            .inspect_err(|_| remove_if_there(&path))
    }

    fn write_journal_to(&self, path: &Path, row: &LayerRow, tar: &Tar) -> Result<()> {
        let io = |error| Error::io(OPERATION, error).with("layer", row.chain);
        let mut inline = Inline::Known;
        loop {
            let file = std::fs::File::create(path).map_err(io)?;
            let kept = file.try_clone().map_err(io)?;
            let fact = (row.diff, row.size.0);
            match write_again(file, inline, &mut tar()?, fact).map_err(io)? {
                Written::Again(more) => inline = more,
                Written::Whole { .. } => {
                    if self.store.durability() == Durability::Durable {
                        kept.sync_data().map_err(io)?;
                    }
                    return Ok(());
                }
            }
        }
    }
}
