//! Rows against each other, against the driver's list, and against what lies in directories.

use super::State;
use super::finding::{CheckReport, Severity, Subject, mend};
use crate::layers::{Layers, owner_of, row_of};
use crate::store::Store;
use std::collections::BTreeSet;
use std::path::PathBuf;
use strata_driver::{DiffId, Error, Result, SnapshotInfo, SnapshotKind};

pub(super) fn check(layers: &Layers, state: &State, report: &mut CheckReport) -> Result<()> {
    let facts = layers.store().facts();
    report.checked.images = facts.images()?.len() as u64;
    report.checked.references = facts.references()?.len() as u64;
    let dangling = facts.dangling()?;
    let (missing, stray) = (Severity::Missing, Severity::Stray);
    for (image, chain) in dangling.image_layers {
        let why = format!("its layer {chain} is not in the store");
        report.find(missing, Subject::Image(image), why, mend::IMAGE);
    }
    for (image, blob) in dangling.image_blobs {
        let why = format!("its blob {blob} is not in the store");
        report.find(missing, Subject::Image(image), why, mend::IMAGE);
    }
    for (image, chain) in dangling.unstacked {
        let why = format!("its layer {chain} does not stand on the layer before it");
        report.find(Severity::Corrupt, Subject::Image(image), why, mend::IMAGE);
    }
    for image in dangling.without_config {
        let why = "its configuration is not among its blobs";
        report.find(missing, Subject::Image(image), why, mend::IMAGE);
    }
    for (chain, parent) in dangling.parents {
        let why = format!("the layer {parent} that it stands on is not in the store");
        report.find(missing, Subject::Layer(chain), why, mend::IMAGE);
    }
    for (name, image) in dangling.references {
        let why = format!("it means the image {image}, which is not in the store");
        report.find(stray, Subject::Reference(name), why, mend::REMOVE);
    }
    for image in dangling.images {
        let why = "rows tell what it takes, and it is not in the store";
        report.find(stray, Subject::Image(image), why, mend::REMOVE);
    }
    snapshots(layers, state, report)?;
    if state.is_quiet {
        files(layers.store(), state, report)?;
    }
    Ok(())
}

/// The driver's list against the rows.
fn snapshots(layers: &Layers, state: &State, report: &mut CheckReport) -> Result<()> {
    for row in &state.layers {
        let subject = Subject::Layer(row.chain);
        match state.snapshot(&row.chain) {
            None => report.find(
                Severity::Missing,
                subject,
                "the driver has no snapshot of it",
                mend::LAYER,
            ),
            Some(info) => {
                if let Some(why) = differs(info, row) {
                    report.find(Severity::Corrupt, subject, why, mend::LAYER);
                }
            }
        }
    }
    report.checked.snapshots = state.snapshots.len() as u64;
    let known: BTreeSet<String> = layers
        .store()
        .facts()
        .layers()?
        .iter()
        .map(|row| row.chain.to_string())
        .collect();
    for (name, info) in &state.snapshots {
        if known.contains(name) {
            continue;
        }
        let subject = Subject::Snapshot(name.clone());
        if let Some(owner) = owner_of(name) {
            if layers.store().is_gone(owner)? {
                let why = "an instance that died was making or reading a layer";
                report.find(Severity::Stray, subject, why, mend::REMOVE);
            }
        } else if is_of_layer(name) {
            if state.is_quiet {
                let why = "it is a layer's, and no row is";
                report.find(Severity::Stray, subject, why, mend::TAKE_IN);
            }
        } else {
            let why = format!("the store knows nothing of this {} snapshot", info.kind);
            report.find(Severity::Stray, subject, why, mend::FOREIGN);
        }
    }
    Ok(())
}

/// Whether a snapshot is called as layers are.
pub(super) fn is_of_layer(name: &str) -> bool {
    name.parse::<crate::ids::ChainId>().is_ok()
}

/// How a snapshot is not that of the row.
fn differs(info: &SnapshotInfo, row: &crate::facts::LayerRow) -> Option<String> {
    if info.kind != SnapshotKind::Committed {
        return Some(format!("its snapshot is not committed but {}", info.kind));
    }
    let parent = info.parent.as_ref().map(|name| name.as_str().to_owned());
    let expected = row.parent.map(|chain| chain.to_string());
    if parent != expected {
        let none = || "nothing".to_owned();
        return Some(format!(
            "its snapshot stands on {}, and the layer on {}",
            parent.unwrap_or_else(none),
            expected.unwrap_or_else(none)
        ));
    }
    let told = row_of(info).map(|told| (told.diff, told.size, told.contents));
    if told != Some((row.diff, row.size, row.contents)) {
        return Some("the labels of its snapshot are not those of the layer".to_owned());
    }
    None
}

/// Files that belong to no row.
fn files(store: &Store, state: &State, report: &mut CheckReport) -> Result<()> {
    let layout = store.layout();
    let mut known: BTreeSet<PathBuf> = state
        .blobs
        .iter()
        .map(|(digest, _)| layout.blob(digest))
        .collect();
    strays(layout.blobs(), &known, "no row knows this blob", report)?;
    let of_rows = store.facts().layers()?;
    let of_rows = of_rows.iter().map(|row| row.diff);
    let of_snapshots = state.snapshots.values().filter_map(row_of);
    known = of_rows
        .chain(of_snapshots.map(|row| row.diff))
        .map(|diff: DiffId| layout.journal(diff))
        .collect();
    strays(
        layout.journals(),
        &known,
        "it is the journal of no layer",
        report,
    )?;
    if layout.next_driver().exists() {
        report.find(
            Severity::Stray,
            Subject::File(layout.next_driver()),
            "a migration left it",
            mend::REMOVE,
        );
    }
    Ok(())
}

fn strays(
    directory: PathBuf,
    known: &BTreeSet<PathBuf>,
    why: &str,
    report: &mut CheckReport,
) -> Result<()> {
    let io = |error| Error::io("check files", error);
    for entry in fs_err::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if !known.contains(&path) {
            report.find(Severity::Stray, Subject::File(path), why, mend::REMOVE);
        }
    }
    Ok(())
}
