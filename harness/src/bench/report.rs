//! The data of a finished run, before it is shown in any form. Version [`SCHEMA`].

use crate::bench::counts::Counts;
use crate::bench::environment::Environment;
use crate::bench::plan::Profile;
use crate::bench::sample::{Figure, Sample, SyscallCounts};
use crate::bench::stats::{Interval, Quantiles, binomial_tail};
use crate::bench::verdict::Verdict;
use crate::bench::workloads::Cache;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use strata_driver::Durability;

/// Version of `results.json`; changes when a reader would have to, or gains what it may want.
/// What each version holds stands in `docs/performance.md`.
pub const SCHEMA: &str = "strata-bench/2";

/// A finished run.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BenchReport {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The run as a whole.
    pub run: RunFacts,
    /// One element per cell and row.
    pub cells: Vec<CellReport>,
    /// The self-check.
    pub aa: SelfCheck,
    /// Cells and rows that were not run, with reasons.
    pub skipped: Vec<Skipped>,
}

/// Facts about the run.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RunFacts {
    /// Seed of order and content.
    pub seed: u64,
    /// Start, in milliseconds since 1970.
    pub started_ms: u64,
    /// Length so far.
    pub seconds: f64,
    /// Blocks completed.
    pub blocks: u32,
    /// Why it ended.
    pub stopped: Stopped,
    /// Sizes.
    pub profile: Profile,
    /// What the large tree is.
    pub input: String,
    /// The command that repeats it.
    pub command: String,
    /// Revision of the program.
    pub git: Option<String>,
    /// The job in which this version took turns with another, if it did.
    pub job: Option<String>,
    /// How calls into the kernel were counted, or why they were not.
    pub syscalls: String,
    /// The host.
    pub env: Environment,
    /// [`Environment::fingerprint`].
    pub fingerprint: String,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// It has not: the report was written between blocks.
    Running,
    /// All blocks are done.
    BlocksDone,
    /// All intervals are narrow.
    IntervalsNarrow,
    /// The time is spent.
    BudgetSpent,
    /// Ctrl-C.
    Interrupted,
    /// Everything is counted, and nothing was to be timed.
    CountsDone,
}

impl Stopped {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "still running",
            Self::BlocksDone => "all blocks done",
            Self::IntervalsNarrow => "all intervals narrow enough",
            Self::BudgetSpent => "time budget spent",
            Self::Interrupted => "interrupted",
            Self::CountsDone => "all counts taken, nothing timed",
        }
    }
}

/// What a cell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It is compared.
    Measured,
    /// The plain directory that the others are compared with.
    Control,
    /// The same as another cell, to see how far chance goes.
    Twin,
}

/// One cell on one row.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CellReport {
    /// Workload.
    pub workload: String,
    /// Cache state of the samples.
    pub cache: Cache,
    /// Sizes of the workload.
    pub params: BTreeMap<String, u64>,
    /// Short name of the cell.
    pub cell: String,
    /// What the cell is for.
    pub role: Role,
    /// Name of the driver; none for the control.
    pub driver: Option<String>,
    /// Backing file system.
    pub fs: String,
    /// How it was made.
    pub mkfs: String,
    /// Options of the driver.
    pub opts: BTreeMap<String, String>,
    /// Durability class; none for the control, which promises nothing.
    pub durability: Option<Durability>,
    /// Every sample.
    pub samples: Vec<Sample>,
    /// Calls into the kernel of one repetition.
    pub syscalls: Option<SyscallCounts>,
    /// Counts of each untimed repetition.
    pub counts: Vec<Counts>,
    /// What the samples amount to; none for too few of them, and for a cell that was wrong.
    pub summary: Option<Summary>,
    /// What was wrong with a result of this cell: such a cell has no speed.
    pub incorrect: Option<String>,
}

impl CellReport {
    /// Name of the row.
    pub fn row(&self) -> String {
        match self.cache {
            Cache::Warm => self.workload.clone(),
            cold @ Cache::DentryCold => format!("{} ({})", self.workload, cold.as_str()),
        }
    }
}

/// What samples amount to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Summary {
    /// Median and its 95 % interval in nanoseconds.
    pub time_ns: Interval,
    /// Median absolute deviation in nanoseconds.
    pub mad_ns: f64,
    /// Ratio to the control within blocks.
    pub ratio_control: Option<Interval>,
    /// Level at which the ratio's interval begins to hold 1.
    pub p: Option<f64>,
    /// What may be said of the ratio.
    pub verdict: Option<Verdict>,
    /// Median of device bytes.
    pub dev_write: Option<f64>,
    /// Median time of writing back after the phases.
    pub drain_ns: f64,
    /// Median of entries walked.
    pub entries_walked: f64,
    /// Median nanoseconds per phase.
    pub phases_ns: BTreeMap<String, f64>,
    /// Median of each further number.
    pub figures: BTreeMap<String, Figure>,
    /// Single operations of all samples together.
    pub latencies_ns: BTreeMap<String, Quantiles>,
    /// Median of bytes taken per byte of content put into layers.
    pub space_amplification: Option<f64>,
}

/// The comparison of a cell with its twin: how often chance alone would have been reported.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SelfCheck {
    /// Cell that has a twin.
    pub of: Option<String>,
    /// Comparisons.
    pub pairs: u32,
    /// Those whose 95 % interval does not hold 1.
    pub significant: u32,
    /// Rows on which that happened.
    pub rows: Vec<String>,
}

impl SelfCheck {
    /// Comparisons that chance alone makes significant, on average.
    pub fn expected(&self) -> f64 {
        f64::from(self.pairs) * 0.05
    }

    /// More than twice the expected: differences of this size mean little.
    pub fn is_noisy(&self) -> bool {
        f64::from(self.significant) > 2.0 * self.expected()
    }

    /// Noisy beyond what chance does once in a hundred runs.
    pub fn is_unfit(&self) -> bool {
        self.is_noisy() && binomial_tail(self.pairs, self.significant, 0.05) < 0.01
    }
}

/// Something that was not run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Skipped {
    /// The cell, or the cell and the row.
    pub what: String,
    /// Why, and the way out.
    pub reason: String,
}

impl BenchReport {
    /// Names of the rows, in the order in which they were planned.
    pub fn rows(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for cell in &self.cells {
            if !rows.contains(&cell.row()) {
                rows.push(cell.row());
            }
        }
        rows
    }

    /// Names of the measured cells, in the order in which they were planned.
    pub fn columns(&self) -> Vec<String> {
        let mut columns = Vec::new();
        for cell in &self.cells {
            if cell.role == Role::Measured && !columns.contains(&cell.cell) {
                columns.push(cell.cell.clone());
            }
        }
        columns
    }

    /// The report of one cell on one row.
    pub fn cell(&self, row: &str, cell: &str) -> Option<&CellReport> {
        self.cells
            .iter()
            .find(|report| report.cell == cell && report.row() == row)
    }

    /// Results that were wrong.
    pub fn incorrect(&self) -> impl Iterator<Item = &CellReport> {
        self.cells.iter().filter(|cell| cell.incorrect.is_some())
    }

    /// 0 right, 1 a wrong result, 3 the machine is unfit, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        if self.incorrect().next().is_some() {
            1
        } else if self.run.stopped == Stopped::Interrupted {
            130
        } else if self.aa.is_unfit() {
            3
        } else {
            0
        }
    }

    /// Writes `results.json` and `summary.md` into `directory`, each whole or not at all.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        fs_err::create_dir_all(directory)?;
        for (name, text) in [
            ("results.json", super::export::json::render(self)?),
            ("summary.md", super::export::markdown::render(self)),
        ] {
            let half = directory.join(format!("{name}.part"));
            fs_err::write(&half, text)?;
            fs_err::rename(half, directory.join(name))?;
        }
        Ok(())
    }

    /// Length of the run.
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.run.seconds.max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn self_check_is_noisy_above_twice_and_unfit_beyond_chance() {
        let check = |significant| SelfCheck {
            pairs: 12,
            significant,
            ..SelfCheck::default()
        };
        assert!(!check(1).is_noisy());
        assert!(check(2).is_noisy() && !check(2).is_unfit());
        assert!(!check(3).is_unfit());
        assert!(check(4).is_unfit());
        assert!(!SelfCheck::default().is_unfit());
    }
}
