//! Reading what runs have left: `results.json` of any run, or a baseline.

use super::baseline::{self, Baseline};
use crate::bench::environment::FLEETING;
use crate::bench::report::{SCHEMA, SelfCheck, Skipped};
use crate::bench::sample::Counted;
use crate::bench::stats::median;
use crate::bench::unfit::Unfit;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Facts of the program itself: that they differ is what a comparison is for.
const PROGRAM: &[&str] = &["bench"];

/// One run, or the baseline that stands for one.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// What it is called: where it was read from and which revision it is of.
    pub name: String,
    /// What must be equal in runs that are compared.
    pub facts: BTreeMap<String, String>,
    /// Whether only the facts above count, because the machine does not.
    pub portable: bool,
    /// The job in which two versions took turns.
    pub job: Option<String>,
    /// What the self-check says against its times.
    pub noisy: Option<String>,
    /// By row and cell; control and twin left out.
    pub cells: BTreeMap<(String, String), RecordedCell>,
    /// Results that were wrong.
    pub incorrect: Vec<String>,
    /// Cells that were not run, with the reason.
    pub skipped: BTreeMap<String, String>,
}

/// One cell on one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordedCell {
    /// Backing file system; empty in a baseline.
    pub fs: String,
    /// Sizes of the workload.
    pub sizes: BTreeMap<String, u64>,
    /// Counts by name, see [`crate::bench::Counts`].
    pub counts: BTreeMap<String, u64>,
    /// Nanoseconds by block.
    pub times: BTreeMap<u32, f64>,
}

#[derive(serde::Deserialize)]
struct Version {
    schema: String,
}

#[derive(serde::Deserialize)]
struct RunFile {
    run: Run,
    cells: Vec<CellFile>,
    aa: SelfCheck,
    skipped: Vec<Skipped>,
}

#[derive(serde::Deserialize)]
struct Run {
    seed: u64,
    profile: String,
    input: String,
    git: Option<String>,
    env: BTreeMap<String, String>,
    #[serde(default)]
    job: Option<String>,
}

#[derive(serde::Deserialize)]
struct CellFile {
    workload: String,
    cache: String,
    params: BTreeMap<String, u64>,
    cell: String,
    role: String,
    fs: String,
    mkfs: String,
    samples: Vec<Sample>,
    counts: Vec<BTreeMap<String, u64>>,
    incorrect: Option<String>,
}

#[derive(serde::Deserialize)]
struct Sample {
    block: u32,
    ns: u64,
    dev_write: Option<u64>,
    entries_walked: u64,
    #[serde(default)]
    phases: Vec<Phase>,
}

#[derive(serde::Deserialize)]
struct Phase {
    drain_ns: u64,
    counted: Counted,
}

impl Recorded {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Unfit`] for a file of another version, which says what to do.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs_err::read_to_string(path)?;
        let mut found = Self::parse(&text).with_context(|| format!("{}", path.display()))?;
        found.name = format!("{}{}", path.display(), found.name);
        Ok(found)
    }

    /// Reads the text of a file; the name is empty but for the revision.
    pub fn parse(text: &str) -> Result<Self> {
        let version: Version =
            serde_json::from_str(text).context("this is no result of `strata bench`")?;
        match version.schema.as_str() {
            SCHEMA => Ok(Self::from_run(serde_json::from_str(text)?)),
            baseline::SCHEMA => Ok(serde_json::from_str::<Baseline>(text)?.recorded()),
            other => Err(Unfit::new(format!(
                "the file has version `{other}`, and this program reads `{SCHEMA}` and `{}`; \
                 repeat the run with this program",
                baseline::SCHEMA
            ))
            .into()),
        }
    }

    fn from_run(file: RunFile) -> Self {
        let mut found = Self {
            name: file
                .run
                .git
                .map_or_else(String::new, |git| format!(" ({git})")),
            job: file.run.job,
            noisy: file.aa.is_unfit().then(|| {
                format!(
                    "{} of {} rows differ between a cell and its twin",
                    file.aa.significant, file.aa.pairs
                )
            }),
            ..Self::default()
        };
        found.facts = file.run.env;
        found.facts.retain(|name, _| {
            !FLEETING.contains(&name.as_str()) && !PROGRAM.contains(&name.as_str())
        });
        for (name, value) in [
            ("profile", file.run.profile),
            ("input", file.run.input),
            ("seed", file.run.seed.to_string()),
        ] {
            found.facts.insert(name.to_owned(), value);
        }
        for skip in file.skipped {
            found.skipped.insert(skip.what, skip.reason);
        }
        for cell in file.cells {
            if cell.role == "measured" {
                found.add(cell);
            } else if let Some(fault) = &cell.incorrect {
                // What others are held against was wrong.
                found.incorrect.push(format!(
                    "{} on {} ({}): {fault}",
                    cell.workload, cell.cell, cell.role
                ));
            }
        }
        found
    }

    fn add(&mut self, cell: CellFile) {
        let row = match cell.cache.as_str() {
            "warm" => cell.workload.clone(),
            cold => format!("{} ({cold})", cell.workload),
        };
        self.facts
            .insert(format!("mkfs of {}", cell.cell), cell.mkfs.clone());
        if let Some(fault) = &cell.incorrect {
            self.incorrect
                .push(format!("{row} on {}: {fault}", cell.cell));
            return;
        }
        let recorded = RecordedCell {
            counts: counts(&cell),
            times: cell
                .samples
                .iter()
                .map(|sample| (sample.block, sample.whole()))
                .collect(),
            fs: cell.fs,
            sizes: cell.params,
        };
        self.cells.insert((row, cell.cell), recorded);
    }

    /// In what `other` was made in another way.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let either_portable = self.portable || other.portable;
        let names: BTreeSet<&String> = self.facts.keys().chain(other.facts.keys()).collect();
        let mut found = Vec::new();
        for name in names {
            match (self.facts.get(name), other.facts.get(name)) {
                (Some(old), Some(new)) if old == new => {}
                // A cell that one of them has not is missing, no difference.
                (None, _) | (_, None) if either_portable || name.starts_with("mkfs") => {}
                (old, new) => {
                    let word = |value: Option<&String>| {
                        value.map_or_else(|| "unknown".to_owned(), |value| format!("`{value}`"))
                    };
                    found.push(format!("{name}: {}, now {}", word(old), word(new)));
                }
            }
        }
        found
    }
}

impl Sample {
    /// The phases that count and the writing back of what they left dirty: work that is moved
    /// from one to the other is none saved.
    fn whole(&self) -> f64 {
        let counted = self
            .phases
            .iter()
            .filter(|phase| phase.counted == Counted::Yes);
        (self.ns + counted.map(|phase| phase.drain_ns).sum::<u64>()) as f64
    }
}

/// The least of what was counted: what else happens on a machine adds and never takes away. Of
/// timed samples there are enough for a median.
fn counts(cell: &CellFile) -> BTreeMap<String, u64> {
    let mut least: BTreeMap<String, u64> = BTreeMap::new();
    for look in &cell.counts {
        for (name, count) in look {
            let known = least.entry(name.clone()).or_insert(*count);
            *known = (*known).min(*count);
        }
    }
    let bytes: Option<Vec<f64>> = cell
        .samples
        .iter()
        .map(|sample| sample.dev_write.map(|bytes| bytes as f64))
        .collect();
    let walked: Vec<f64> = cell
        .samples
        .iter()
        .map(|sample| sample.entries_walked as f64)
        .collect();
    for (name, values) in [
        ("device-bytes", bytes.unwrap_or_default()),
        ("entries-walked", walked),
    ] {
        if let Some(median) = median(&values) {
            least.insert(name.to_owned(), median as u64);
        }
    }
    least
}
