//! What of a run does not depend on the machine, small enough to be committed.

use super::read::{Recorded, RecordedCell};
use super::rules::{CALLS, Portable, RULES};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;

/// Version of a baseline; changes when a reader would have to.
pub const SCHEMA: &str = "strata-baseline/1";

/// Counts that a run of the same profile, input and seed must reach on any machine.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// [`SCHEMA`].
    pub schema: String,
    /// Profile of the run.
    pub profile: String,
    /// Its large tree.
    pub input: String,
    /// Its seed.
    pub seed: String,
    /// Sizes of each row.
    pub rows: BTreeMap<String, BTreeMap<String, u64>>,
    /// Counts by cell, row and name, see [`crate::bench::Counts`].
    pub cells: BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>,
}

impl Baseline {
    /// The baseline of a run.
    ///
    /// # Errors
    /// A run that was wrong, or that counted nothing, is no baseline.
    pub fn of(run: &Recorded) -> Result<Self> {
        ensure!(
            run.incorrect.is_empty(),
            "a run with a wrong result is no baseline: {}",
            run.incorrect.join("; ")
        );
        let fact = |name: &str| run.facts.get(name).cloned().unwrap_or_default();
        let mut baseline = Self {
            schema: SCHEMA.to_owned(),
            profile: fact("profile"),
            input: fact("input"),
            seed: fact("seed"),
            rows: BTreeMap::new(),
            cells: BTreeMap::new(),
        };
        for ((row, cell), recorded) in &run.cells {
            let portable = RULES.iter().filter(|rule| rule.portable == Portable::Yes);
            let counts: BTreeMap<String, u64> = portable
                .filter_map(|rule| Some((rule.name.to_owned(), *recorded.counts.get(rule.name)?)))
                .collect();
            ensure!(
                counts.contains_key(CALLS),
                "system calls were not counted on {row} of {cell}, so this run is no baseline; \
                 repeat it where tracefs can be mounted or strace(1) may trace"
            );
            baseline.rows.insert(row.clone(), recorded.sizes.clone());
            let rows = baseline.cells.entry(cell.clone()).or_default();
            rows.insert(row.clone(), counts);
        }
        ensure!(
            !baseline.cells.is_empty(),
            "a run without cells is no baseline"
        );
        Ok(baseline)
    }

    /// The baseline as a run to compare with.
    pub(super) fn recorded(self) -> Recorded {
        let mut run = Recorded {
            portable: true,
            facts: BTreeMap::from([
                ("profile".to_owned(), self.profile),
                ("input".to_owned(), self.input),
                ("seed".to_owned(), self.seed),
            ]),
            ..Recorded::default()
        };
        for (cell, rows) in self.cells {
            for (row, counts) in rows {
                let recorded = RecordedCell {
                    sizes: self.rows.get(&row).cloned().unwrap_or_default(),
                    counts,
                    ..RecordedCell::default()
                };
                run.cells.insert((row, cell.clone()), recorded);
            }
        }
        run
    }

    /// Writes it to `path`, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut half = path.as_os_str().to_owned();
        half.push(".part");
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs_err::write(&half, text)?;
        Ok(fs_err::rename(half, path)?)
    }
}
