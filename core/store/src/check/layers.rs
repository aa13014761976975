//! Layers: their journals, and their trees against these.

use super::finding::{CheckReport, Finding, Severity, Subject, mend};
use super::{AT_ONCE, State, Work, tree};
use crate::facts::LayerRow;
use crate::journal::{JournalReader, Statement};
use crate::layers::{Layers, name_of};
use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use strata_driver::changeset::EntryPath;
use strata_driver::{
    Bytes, Error, ErrorKind, PrepareOptions, Result, SnapshotKind, blocking, mount,
};
use tokio::task::JoinSet;

const OPERATION: &str = "check layer";

/// What became of one layer.
#[derive(Default)]
struct Looked {
    findings: Vec<Finding>,
    entries: u64,
    hashed: Bytes,
}

pub(super) async fn check(
    layers: &Layers,
    state: &State,
    work: &mut Work<'_>,
    report: &mut CheckReport,
) -> Result<()> {
    let diffs: BTreeSet<_> = state.layers.iter().map(|row| row.diff).collect();
    report.checked.journals = diffs.len() as u64;
    let is_full = work.is_full();
    let mut waiting = state.layers.iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < AT_ONCE
            && let Some(row) = waiting.next().cloned()
        {
            let has_tree = state
                .snapshot(&row.chain)
                .is_some_and(|info| info.kind == SnapshotKind::Committed);
            let layers = layers.clone();
            // In a task of its own, so that a dropped future leaves no view behind.
            running.spawn(async move {
                let looked = look(&layers, &row, has_tree, is_full).await;
                (row.chain, looked)
            });
        }
        let Some(looked) = running.join_next().await else {
            return Ok(());
        };
        let (chain, looked) =
            looked.map_err(|torn| Error::new(ErrorKind::Other, OPERATION).caused_by(torn))?;
        let looked = looked?;
        work.did(&Subject::Layer(chain));
        report.checked.layers += 1;
        report.checked.entries += looked.entries;
        report.checked.hashed.0 += looked.hashed.0;
        report.findings.extend(looked.findings);
    }
}

async fn look(layers: &Layers, row: &LayerRow, has_tree: bool, is_full: bool) -> Result<Looked> {
    let mut looked = Looked::default();
    let said = match journal(layers, row).await? {
        Ok(said) => said,
        Err(finding) => {
            looked.findings.push(finding);
            return Ok(looked);
        }
    };
    if !has_tree {
        return Ok(looked);
    }
    let said = Arc::new(said);
    match compare(layers, row, Arc::clone(&said)).await {
        Ok((entries, differing)) => {
            looked.entries = entries;
            let of_path = |(path, why)| Finding {
                path: Some(path),
                ..of_layer(row, why)
            };
            looked.findings.extend(differing.into_iter().map(of_path));
        }
        Err(error) => {
            looked.findings.push(unseen(layers, row, error).await?);
            return Ok(looked);
        }
    }
    // A tree whose times and sizes are wrong is hashed all the same: more may be.
    if is_full {
        looked.findings.extend(inherited(layers, row, &said).await?);
        match layers.export(row, std::io::sink()).await {
            Ok(written) => looked.hashed = written.size,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                looked.findings.push(match error.context("path") {
                    Some(path) => Finding {
                        path: Some(path.to_owned()),
                        ..of_layer(row, reason_of(&error))
                    },
                    None => of_journal(row, Severity::Corrupt, error.chain()),
                });
            }
            Err(error) => looked.findings.push(unseen(layers, row, error).await?),
        }
    }
    Ok(looked)
}

/// What differs from the layer below without the layer's saying so: drivers may copy what they
/// do not change, and a copy may go wrong.
async fn inherited(layers: &Layers, row: &LayerRow, said: &Statement) -> Result<Vec<Finding>> {
    let Some(parent) = row.parent.filter(|_| !said.is_linked) else {
        return Ok(Vec::new());
    };
    let (lower, upper) = (name_of(&parent), name_of(&row.chain));
    let changes = match layers.driver().changes(Some(&lower), &upper).await {
        Ok(changes) => changes,
        // Told of that layer.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Ok(vec![unseen(layers, row, error).await?]),
    };
    let mut found = Vec::new();
    for change in changes {
        let path = EntryPath::parse(&change.path).unwrap_or_default();
        if !path.is_root() && !said.explains(&path) {
            found.push(Finding {
                path: Some(path.to_string()),
                ..of_layer(
                    row,
                    "it differs from the layer below, and the layer says nothing of it",
                )
            });
        }
    }
    Ok(found)
}

fn reason_of(error: &Error) -> String {
    let text = error.chain();
    // The file alone says more than the missing name of it.
    if text.contains("No such file") {
        "a file of it is gone".to_owned()
    } else {
        "the content of a file is not what the layer brought".to_owned()
    }
}

fn of_layer(row: &LayerRow, why: impl Into<String>) -> Finding {
    Finding {
        severity: Severity::Corrupt,
        subject: Subject::Layer(row.chain),
        why: why.into(),
        path: None,
        mend: mend::LAYER.to_owned(),
    }
}

fn of_journal(row: &LayerRow, severity: Severity, why: impl Into<String>) -> Finding {
    Finding {
        severity,
        subject: Subject::Journal(row.diff),
        why: why.into(),
        path: None,
        mend: mend::JOURNAL.to_owned(),
    }
}

/// A tree that cannot be looked at is wrong, unless the layer went meanwhile.
async fn unseen(layers: &Layers, row: &LayerRow, error: Error) -> Result<Finding> {
    let is_damage = match error.kind() {
        ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Other => true,
        ErrorKind::InvalidState => layers.driver().stat(&name_of(&row.chain)).await.is_ok(),
        _ => false,
    };
    if is_damage {
        let why = format!("its tree cannot be looked at: {}", error.chain());
        return Ok(of_layer(row, why));
    }
    Err(error)
}

/// The journal of a layer, or what is wrong with it.
async fn journal(layers: &Layers, row: &LayerRow) -> Result<Result<Statement, Finding>> {
    let store = Arc::clone(layers.store());
    let row = row.clone();
    blocking(move || {
        let file = match File::open(store.layout().journal(row.diff)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Err(of_journal(&row, Severity::Missing, "its file is gone")));
            }
            Err(error) => return Err(Error::io(OPERATION, error).with("layer", row.chain)),
        };
        let said = match JournalReader::new(file).and_then(Statement::read) {
            Ok(said) => said,
            Err(error) => {
                let why = format!("it cannot be read to its end: {error}");
                return Ok(Err(of_journal(&row, Severity::Corrupt, why)));
            }
        };
        if (said.diff, said.size) != (row.diff, row.size) {
            let why = format!("it is that of {}", said.diff);
            return Ok(Err(of_journal(&row, Severity::Corrupt, why)));
        }
        if said.contents != row.contents {
            let why = format!(
                "its files have {} bytes, and the layer's {}",
                said.contents.0, row.contents.0
            );
            return Ok(Err(of_journal(&row, Severity::Corrupt, why)));
        }
        Ok(Ok(said))
    })
    .await
}

/// How the tree is not what the journal says: how many entries were looked at, and which differ.
async fn compare(
    layers: &Layers,
    row: &LayerRow,
    said: Arc<Statement>,
) -> Result<(u64, Vec<(String, String)>)> {
    let key = layers.own_look()?;
    let driver = layers.driver();
    driver
        .view(&key, Some(&name_of(&row.chain)), &PrepareOptions::default())
        .await?;
    let outcome = match driver.mounts(&key).await {
        Ok(plan) => {
            blocking(move || {
                let seen = mount::detached(&plan)?;
                tree::compare(&said, seen.root())
            })
            .await
        }
        Err(error) => Err(error),
    };
    layers.end_look(&key, outcome).await
}
