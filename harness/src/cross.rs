//! One script of edits on several drivers and file systems: the same changesets everywhere.
//!
//! Knows no driver: it takes a slice of factories.

use crate::context::{Context, Setting};
use crate::edit::Dir;
use crate::fixture::{FileSystemKind, Fixture};
use crate::interrupt;
use crate::oracle;
use crate::script::{GOLDEN, KINDS, Script};
use crate::seed::Seed;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::sync::Arc;
use strata_driver::{Availability, DiffId, DriverFactory, Host, OpenOptions, SnapshotName};

/// Operations of the script.
pub const OPERATIONS: usize = 5_000;
/// Layers of the script.
pub const LAYERS: usize = 8;
/// Least number of operations of each kind.
pub const LEAST_OF_EACH: usize = 100;
/// Bytes of each fixture; sparse.
const FIXTURE_SIZE: u64 = 4 << 30;

/// What the runs came to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CrossReport {
    /// Seed of the script.
    pub seed: u64,
    /// Operations of the script.
    pub operations: usize,
    /// Operations by kind.
    pub kinds: BTreeMap<&'static str, usize>,
    /// Operations left out, by quirk.
    pub left_out: BTreeMap<&'static str, usize>,
    /// Driver and file system of each run.
    pub cells: Vec<String>,
    /// `DiffId` of each layer; the same in every cell.
    pub diff_ids: Vec<DiffId>,
    /// What could not run, and why.
    pub skipped: Vec<String>,
}

impl CrossReport {
    /// The report as text.
    pub fn render(&self) -> String {
        let list = |counts: &BTreeMap<&'static str, usize>| {
            let shown: Vec<_> = counts
                .iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            shown.join(", ")
        };
        let mut lines = vec![
            format!(
                "script of seed {}: {} operations: {}",
                self.seed,
                self.operations,
                list(&self.kinds)
            ),
            format!("left out for quirks: {}", list(&self.left_out)),
            format!("same DiffIds on {}", self.cells.join(", ")),
        ];
        lines.extend(self.diff_ids.iter().map(ToString::to_string));
        lines.extend(
            self.skipped
                .iter()
                .map(|reason| format!("skipped {reason}")),
        );
        lines.join("\n") + "\n"
    }
}

/// Demands of a script that it is neither tame nor bent for somebody's convenience.
fn expect_honest(script: &Script) -> Result<()> {
    for kind in KINDS {
        let count = script.kinds.get(kind).copied().unwrap_or(0);
        ensure!(
            count >= LEAST_OF_EACH,
            "only {count} operations of kind `{kind}`"
        );
    }
    let left_out: usize = script.left_out.values().sum();
    let most = script.operations() * 3 / 100;
    ensure!(
        left_out <= most,
        "{left_out} operations left out, at most {most} may be"
    );
    Ok(())
}

/// One run's layers: changesets and digests of the trees.
struct Run {
    diffs: Vec<Vec<u8>>,
    digests: Vec<String>,
}

/// Runs the script of `seed` with every factory on every kind of file system, and demands the
/// same changesets, equal to the oracle's, and the same trees when they are applied.
pub fn same_diffs(
    factories: &[Arc<dyn DriverFactory>],
    kinds: &[FileSystemKind],
    seed: Seed,
) -> Result<CrossReport> {
    let script = Script::new(seed, OPERATIONS, LAYERS);
    expect_honest(&script)?;
    let runtime = interrupt::runtime()?;
    let left_out = script
        .left_out
        .iter()
        .map(|(quirk, count)| (quirk.as_str(), *count));
    let mut report = CrossReport {
        seed: seed.0,
        operations: script.operations(),
        kinds: script.kinds.clone(),
        left_out: left_out.collect(),
        cells: Vec::new(),
        diff_ids: Vec::new(),
        skipped: Vec::new(),
    };
    let mut first: Option<Run> = None;
    for kind in kinds {
        if let Some(missing) = kind.missing() {
            report.skipped.push(format!("{kind}: {missing}"));
            continue;
        }
        for factory in factories {
            let cell = format!("{}:{kind}", factory.name());
            let fixture = Fixture::file_system(*kind, FIXTURE_SIZE)?;
            let host = Host::probe();
            let open = OpenOptions::new(fixture.path().join("root"));
            if let Availability::Unavailable(why) = factory.probe(&host, &open.root) {
                report.skipped.push(format!("{cell}: {}", why.missing));
                continue;
            }
            let setting = Setting {
                factory: factory.clone(),
                host,
                runtime: runtime.clone(),
                place: fixture.path().to_owned(),
                kind: Some(*kind),
                seed,
                child: None,
                open,
            };
            let run = run_cell(&setting, &script, first.as_ref())
                .with_context(|| format!("{cell}, seed {seed}"))?;
            first.get_or_insert(run);
            report.cells.push(cell);
            fixture.close()?;
        }
    }
    if let Some(run) = first {
        report.diff_ids = run.diffs.iter().map(|diff| oracle::diff_id(diff)).collect();
        let given: Vec<_> = report.diff_ids.iter().map(ToString::to_string).collect();
        ensure!(
            seed != Seed(1) || given == GOLDEN,
            "DiffIds are not the golden ones: {given:#?}"
        );
    }
    Ok(report)
}

fn run_cell(setting: &Setting, script: &Script, first: Option<&Run>) -> Result<Run> {
    let mut context = Context::new(setting, setting.place.join("cell"))?;
    let mut run = Run {
        diffs: Vec::new(),
        digests: Vec::new(),
    };
    let mut layers: Vec<SnapshotName> = Vec::new();
    for (number, operations) in script.layers.iter().enumerate() {
        let parent = layers.last().cloned();
        let layer = context
            .layer(parent.as_ref(), |dir: &Dir| {
                operations.iter().try_for_each(|one| one.run(dir))
            })
            .with_context(|| format!("layer {number}"))?;
        let diff = context
            .checked_diff(parent.as_ref(), &layer)
            .with_context(|| format!("layer {number} against the oracle"))?;
        run.digests.push(context.tree(&layer)?.digest_text());
        run.diffs.push(diff);
        layers.push(layer);
    }
    let reference = first.unwrap_or(&run);
    for number in 0..layers.len() {
        oracle::expect_same_archive(&run.diffs[number], &reference.diffs[number])
            .with_context(|| format!("layer {number} against the first cell"))?;
        if run.digests[number] != reference.digests[number] {
            bail!("layer {number} shows another tree than in the first cell");
        }
    }
    // Each changeset, applied in order in another root, gives the same trees.
    let mut elsewhere = context.elsewhere()?;
    let mut copies: Vec<SnapshotName> = Vec::new();
    for (number, diff) in reference.diffs.iter().enumerate() {
        let copy = elsewhere.applied_layer(copies.last(), diff)?;
        let digest = elsewhere.tree(&copy)?.digest_text();
        ensure!(
            digest == reference.digests[number],
            "layer {number}, applied, is another tree"
        );
        copies.push(copy);
    }
    elsewhere.shut()?;
    context.shut()?;
    Ok(run)
}
