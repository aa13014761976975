//! What a run is asked to do: cells, rows, blocks, input, budget.

use crate::bench::bed;
use crate::workload::UserWorkload;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use strata_driver::Durability;

/// Fewest blocks of a run: below that the intervals say nothing.
pub const MIN_BLOCKS: u32 = 10;

/// A driver on a file system with options and a durability class: what a column of the table is.
/// Never a driver alone, because the file system below decides as much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellSpec {
    /// Name of the driver, as the registry knows it.
    pub driver: String,
    /// Type of the backing file system, as `mkfs` and the kernel name it.
    pub file_system: String,
    /// The driver's own options.
    pub settings: BTreeMap<String, String>,
    /// Durability class of every operation.
    pub durability: Durability,
}

impl CellSpec {
    /// Short name for tables (`DRIVER:FILESYSTEM`, options and class where they are not default).
    pub fn label(&self) -> String {
        let mut label = format!("{}:{}", self.driver, self.file_system);
        for (key, value) in &self.settings {
            label.extend([",", key, "=", value]);
        }
        if self.durability != Durability::default() {
            label.extend([" (", self.durability.as_str(), ")"]);
        }
        label
    }

    /// Refuses cells that cannot be compared with one another: none at all, or twins.
    pub fn check_all(cells: &[Self]) -> Result<()> {
        ensure!(
            !cells.is_empty(),
            "no cell: name at least one DRIVER:FILESYSTEM"
        );
        for (index, cell) in cells.iter().enumerate() {
            ensure!(
                !cells[..index].contains(cell),
                "the cell {} is named twice",
                cell.label()
            );
        }
        Ok(())
    }
}

impl FromStr for CellSpec {
    type Err = anyhow::Error;

    /// Reads `DRIVER:FILESYSTEM[,KEY=VALUE...]`; the key `durability` sets the class. A file
    /// system that the bench cannot make is refused; which drivers there are is the registry's.
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',');
        let head = parts.next().unwrap_or_default();
        let Some((driver, file_system)) = head.split_once(':') else {
            bail!("`{text}` is no cell: write DRIVER:FILESYSTEM[,KEY=VALUE...]");
        };
        ensure!(
            !driver.is_empty() && !file_system.is_empty(),
            "`{text}` is no cell: the driver or the file system is missing"
        );
        bed::mkfs_options(file_system).with_context(|| format!("`{text}` is no cell"))?;
        let mut spec = Self {
            driver: driver.to_owned(),
            file_system: file_system.to_owned(),
            settings: BTreeMap::new(),
            durability: Durability::default(),
        };
        for part in parts {
            match part.split_once('=') {
                Some(("durability", "durable")) => spec.durability = Durability::Durable,
                Some(("durability", "volatile")) => spec.durability = Durability::Volatile,
                Some(("durability", other)) => {
                    bail!("`{other}` is no durability class: durable or volatile")
                }
                Some((key, value)) => {
                    spec.settings.insert(key.to_owned(), value.to_owned());
                }
                None => bail!("`{part}` in `{text}` is no option: write KEY=VALUE"),
            }
        }
        Ok(spec)
    }
}

/// How large the workloads are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Counts only, of two repetitions: the quick sizes on a small tree, no times and no blocks,
    /// within a minute.
    Smoke,
    /// Sizes that let ten blocks of seven cells end within minutes on two cores.
    #[default]
    Quick,
    /// The sizes of the literature.
    Full,
}

impl Profile {
    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }

    /// `quick` or `full`, whichever this is; the sizes of smoke are the quick ones.
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Smoke | Self::Quick => quick,
            Self::Full => full,
        }
    }

    /// Time after which no further block is begun.
    pub fn budget(self) -> Duration {
        Duration::from_secs(self.pick(390, 1800))
    }

    /// Refuses fewer `blocks` than [`MIN_BLOCKS`], unless none are run.
    pub fn check_blocks(self, blocks: u32) -> Result<()> {
        ensure!(
            blocks >= MIN_BLOCKS || self == Self::Smoke,
            "{blocks} blocks are too few for an interval: use at least {MIN_BLOCKS}"
        );
        Ok(())
    }
}

impl FromStr for Profile {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        [Self::Smoke, Self::Quick, Self::Full]
            .into_iter()
            .find(|profile| profile.as_str() == name)
            .with_context(|| format!("no profile `{name}`; there are `smoke`, `quick` and `full`"))
    }
}

/// Where the large tree of the run comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootfsSource {
    /// An uncompressed, gzip or zstd tar and changesets to stack on it, base first.
    Tar {
        /// The base.
        base: PathBuf,
        /// What goes on top.
        layers: Vec<PathBuf>,
    },
    /// A directory tree.
    Directory(PathBuf),
    /// No real input: a generated tree of the shape of a small distribution.
    SeededCorpus,
    /// A tenth of that, for counts.
    SmallCorpus,
}

impl fmt::Display for RootfsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tar { base, layers } if layers.is_empty() => write!(f, "{}", base.display()),
            Self::Tar { base, layers } => {
                write!(f, "{} and {} layers", base.display(), layers.len())
            }
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::SmallCorpus => f.write_str("small seeded corpus"),
            Self::SeededCorpus => f.write_str("seeded corpus (no real root file system was given)"),
        }
    }
}

/// Everything that a run is told.
#[derive(Clone, Debug)]
pub struct BenchPlan {
    /// The cells, in the order of the table's columns.
    pub cells: Vec<CellSpec>,
    /// Names of workloads; none means all.
    pub workloads: Vec<String>,
    /// The user's own workloads, run beside the suite's.
    pub own: Vec<UserWorkload>,
    /// Blocks to run, at least [`MIN_BLOCKS`]; the profile smoke runs none.
    pub blocks: u32,
    /// More blocks may follow, up to so many, while intervals are wide and the budget lasts.
    pub most_blocks: u32,
    /// Decides the order of samples and the content of generated files.
    pub seed: u64,
    /// The large tree.
    pub rootfs: RootfsSource,
    /// Sizes.
    pub profile: Profile,
    /// Time after which no block beyond `blocks` is begun.
    pub budget: Duration,
    /// Where `results.json` and `summary.md` go.
    pub output: PathBuf,
    /// Where loop files are made; none means the best place found.
    pub scratch: Option<PathBuf>,
    /// A block device to use instead of loop files; **its content is lost**.
    pub device: Option<PathBuf>,
    /// The command that repeats this run, for the report.
    pub command: String,
    /// Revision of the program, for the report.
    pub revision: Option<String>,
    /// A job in which this run takes turns with others: before its set-up and before each block
    /// it writes the line `turn` to standard output and reads a line from standard input.
    pub job: Option<String>,
}

impl BenchPlan {
    /// A quick run of `cells` on a generated tree, with results in `output`.
    pub fn new(cells: Vec<CellSpec>, output: impl Into<PathBuf>) -> Self {
        Self {
            cells,
            workloads: Vec::new(),
            own: Vec::new(),
            blocks: MIN_BLOCKS,
            most_blocks: MIN_BLOCKS,
            seed: 1,
            rootfs: RootfsSource::SeededCorpus,
            profile: Profile::Quick,
            budget: Profile::Quick.budget(),
            output: output.into(),
            scratch: None,
            device: None,
            command: String::new(),
            revision: None,
            job: None,
        }
    }

    /// Refuses what cannot be run, with the way out.
    pub fn check(&self) -> Result<()> {
        CellSpec::check_all(&self.cells)?;
        self.profile.check_blocks(self.blocks)?;
        ensure!(
            self.most_blocks >= self.blocks,
            "at most {} blocks contradicts at least {}",
            self.most_blocks,
            self.blocks
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_with_options_and_class() {
        let cell: CellSpec = "union:xfs,index=on,durability=volatile".parse().unwrap();
        assert_eq!(cell.label(), "union:xfs,index=on (volatile)");
        assert_eq!(cell.settings["index"], "on");
        for wrong in [
            "union",
            ":ext4",
            "union:",
            "union:ext4,index",
            "a:ext4,durability=x",
        ] {
            assert!(wrong.parse::<CellSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn cells_on_an_unknown_file_system_are_refused_with_what_there_is() {
        let error = "union:zfs2".parse::<CellSpec>().unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "`union:zfs2` is no cell: no such file system: `zfs2` (ext4, xfs, btrfs)"
        );
    }

    #[test]
    fn check_refuses_few_blocks_and_twin_cells() {
        let cell: CellSpec = "plain:ext4".parse().unwrap();
        let mut plan = BenchPlan::new(vec![cell.clone()], "/nowhere");
        plan.check().unwrap();
        plan.blocks = 9;
        assert!(
            plan.check()
                .unwrap_err()
                .to_string()
                .contains("at least 10")
        );
        let plan = BenchPlan::new(vec![cell.clone(), cell], "/nowhere");
        assert!(plan.check().unwrap_err().to_string().contains("twice"));
    }
}
