//! What the command line takes.

use crate::config::{self, Given};
use crate::image::flags::{ImageCommand, SystemCommand};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use strata_harness::bench::compare::Gate;

/// Storage drivers of container images behind one contract: probe, verify, measure, drive.
#[derive(Debug, Parser)]
#[command(name = "strata", version, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// How much is logged. `system df -v` asks for rows, not for a log.
    pub(crate) fn log_level(&self) -> u8 {
        let is_df = matches!(&self.command, Command::Image(ImageCommand::System(group))
            if matches!(group.command, SystemCommand::Df { .. }));
        self.global.verbose - u8::from(is_df && self.global.verbose > 0)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Directory of the driver
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Driver to use
    #[arg(long, global = true, value_name = "NAME")]
    driver: Option<String>,
    /// An option of that driver; may be given more than once
    #[arg(long = "option", global = true, value_name = "KEY=VALUE")]
    options: Vec<String>,
    // Not global: `save -o` is Docker's. Commands that drive drivers by hand have their own.
    /// The same
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    options_before: Vec<String>,
    /// What survives a power loss: durable or volatile
    #[arg(long, global = true, value_name = "CLASS")]
    durability: Option<String>,
    /// Configuration file [default: /etc/strata/config.yaml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say more on standard error; twice and thrice for more still
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    pub(crate) fn given(&self, options_after: &[String]) -> anyhow::Result<Given> {
        Ok(Given {
            config: self.config.clone(),
            root: self.root.clone(),
            driver: self.driver.clone(),
            durability: self
                .durability
                .as_deref()
                .map(config::parse_durability)
                .transpose()?,
            options: [&self.options[..], &self.options_before, options_after].concat(),
        })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say which drivers run here, what they can do, and why the others do not
    Probe(ProbeFlags),
    /// Hold drivers against the conformance suite
    Verify(VerifyFlags),
    /// Compare drivers on this host
    Bench(BenchFlags),
    /// Hold two runs of the bench against each other, for a gate in CI
    #[command(after_help = COMPARE_CODES)]
    Compare(CompareFlags),
    /// Drive one driver by hand
    Snapshot(SnapshotFlags),
    /// Show the configuration
    Config(ConfigFlags),
    /// Print completions for a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one for each command, into a directory
    Man {
        /// An existing directory
        directory: PathBuf,
    },
    #[command(flatten)]
    Image(ImageCommand),
}

impl Command {
    /// Options of the driver that were given after the command's name.
    pub(crate) fn driver_options(&self) -> &[String] {
        match self {
            Self::Probe(flags) => &flags.driver.options,
            Self::Verify(flags) => &flags.driver.options,
            Self::Bench(flags) => &flags.driver.options,
            Self::Snapshot(flags) => &flags.driver.options,
            Self::Config(flags) => &flags.driver.options,
            Self::Compare(_) | Self::Completions { .. } | Self::Man { .. } | Self::Image(_) => &[],
        }
    }
}

/// `-o` after the name of a command.
#[derive(Debug, Args)]
pub(crate) struct DriverOptions {
    /// An option of the driver; may be given more than once
    #[arg(
        short = 'o',
        global = true,
        id = "driver-option",
        value_name = "KEY=VALUE"
    )]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeFlags {
    #[command(flatten)]
    pub(crate) driver: DriverOptions,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag on the command line"
)]
pub(crate) struct VerifyFlags {
    #[command(flatten)]
    pub(crate) driver: DriverOptions,
    /// Drivers that must be available here, with equal case lists
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) require: Vec<String>,
    /// Only cases whose name holds this
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// File system to work on: ext4, xfs or btrfs, made fresh in a loop file
    #[arg(long, default_value = "ext4", value_name = "TYPE")]
    pub(crate) file_system: String,
    /// Work in this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "file_system")]
    pub(crate) directory: Option<PathBuf>,
    /// Seed of everything generated
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Write `JUnit` XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Run one seeded edit script on all drivers over ext4, xfs and btrfs instead, and compare
    /// the layers
    #[arg(long, conflicts_with_all = [
        "filter", "file_system", "directory", "junit", "json", "list", "rootless", "seconds", "cases", "replay",
    ])]
    pub(crate) cross: bool,
    /// Run random scripts against the model instead, for so long on each driver
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["cases", "filter", "list"],
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) seconds: Option<u64>,
    /// Run so many random scripts against the model instead, on each driver
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["filter", "list"],
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) cases: Option<u64>,
    /// Run this script (docs/scripts.md) against the model instead; may be given more than once
    #[arg(long, value_name = "FILE", conflicts_with_all = ["filter", "list"])]
    pub(crate) replay: Vec<PathBuf>,
    /// Run in a user namespace with subordinate ids
    #[arg(long, conflicts_with_all = ["junit", "json", "seconds", "cases", "replay"])]
    pub(crate) rootless: bool,
    /// List the cases and end
    #[arg(long)]
    pub(crate) list: bool,
    /// Print failures and the summary only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchFlags {
    #[command(flatten)]
    pub(crate) driver: DriverOptions,
    /// What to compare: DRIVER:FILESYSTEM[,KEY=VALUE...]; may be given more than once
    #[arg(long = "cell", value_name = "CELL")]
    pub(crate) cells: Vec<String>,
    /// Only these workloads
    #[arg(long = "workload", value_name = "NAME")]
    pub(crate) workloads: Vec<String>,
    /// Blocks of the run, at least 10
    #[arg(long, value_name = "N")]
    pub(crate) blocks: Option<u32>,
    /// Seed of order and contents
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Sizes: quick or full; smoke counts and times nothing
    #[arg(long, value_name = "PROFILE")]
    pub(crate) profile: Option<String>,
    /// A root file system: a directory, or a tar as it is, gzipped or zstd-compressed
    #[arg(long, value_name = "PATH")]
    pub(crate) rootfs: Option<PathBuf>,
    /// A layer on it; may be given more than once
    #[arg(long = "rootfs-layer", value_name = "FILE", requires = "rootfs")]
    pub(crate) rootfs_layers: Vec<PathBuf>,
    /// Where results.json and summary.md go
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Where loop files are made, for a disk to be measured [default: /dev/shm, if it has room]
    #[arg(long, value_name = "DIR", conflicts_with = "device")]
    pub(crate) scratch: Option<PathBuf>,
    /// Block device to use instead of loop files; ITS CONTENT IS LOST
    #[arg(long, value_name = "PATH")]
    pub(crate) device: Option<PathBuf>,
    /// Measure against the floor of the kernel instead: a name, or `all`; `list` lists them
    #[arg(long, value_name = "NAME")]
    pub(crate) floor: Option<String>,
    /// Compare the run with this earlier one, or with a baseline, as `strata compare` does
    #[arg(long, value_name = "FILE", conflicts_with = "floor")]
    pub(crate) baseline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) gate: GateFlags,
    /// Write the counts that do not depend on the machine to this file, as a baseline
    #[arg(long, value_name = "FILE", conflicts_with_all = ["floor", "baseline"])]
    pub(crate) write_baseline: Option<PathBuf>,
    /// Take turns with another version: before each block write `turn` and read a line
    #[arg(long, hide = true, value_name = "JOB")]
    pub(crate) in_turn: Option<String>,
}

const COMPARE_CODES: &str = "Exit codes: 0 fine, 1 a run was incorrect, 2 regression (or a wrong \
                             command line), 3 no verdict: the runs cannot be compared here.";

#[derive(Debug, Args)]
pub(crate) struct CompareFlags {
    /// results.json of the first run, or a baseline
    pub(crate) old: PathBuf,
    /// results.json of the second run
    pub(crate) new: PathBuf,
    #[command(flatten)]
    pub(crate) gate: GateFlags,
    /// Write a summary for a pull request: at most 40 lines of markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct GateFlags {
    /// What to fail on: counts, times or none
    #[arg(long, value_name = "WHAT", default_value = "counts")]
    pub(crate) gate: Gate,
    /// Compare runs that were not made alike, and those that lack rows
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigFlags {
    #[command(flatten)]
    pub(crate) driver: DriverOptions,
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print what holds and where each value came from
    Show,
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotFlags {
    #[command(flatten)]
    pub(crate) driver: DriverOptions,
    #[command(subcommand)]
    pub(crate) command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Start a writable snapshot
    Prepare {
        /// Its key
        key: OsString,
        /// The committed snapshot that it stands on
        #[arg(long, value_name = "NAME")]
        parent: Option<OsString>,
        /// Most bytes that may be written
        #[arg(long, value_name = "BYTES")]
        size_limit: Option<u64>,
        /// A label; may be given more than once
        #[arg(long = "label", value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// Start a read-only view
    View {
        /// Its key
        key: OsString,
        /// The committed snapshot that it shows
        #[arg(long, value_name = "NAME")]
        parent: Option<OsString>,
    },
    /// Freeze a writable snapshot under a name
    Commit {
        /// Its key
        key: OsString,
        /// Its name from then on
        name: OsString,
        /// A parent for a snapshot that was prepared without one
        #[arg(long, value_name = "NAME")]
        late_parent: Option<OsString>,
        /// A label; may be given more than once
        #[arg(long = "label", value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// Print how a snapshot would be mounted
    Mounts {
        /// Its key
        key: OsString,
    },
    /// Mount a snapshot on a directory; it stays until `unmount`
    Mount {
        /// Its key
        key: OsString,
        /// An existing directory
        target: PathBuf,
    },
    /// Unmount what `mount` mounted
    Unmount {
        /// The directory
        target: PathBuf,
    },
    /// Delete a snapshot and what it held
    Rm {
        /// Its key or name
        name: OsString,
    },
    /// List all snapshots
    Ls,
    /// Tell about one snapshot
    Stat {
        /// Its key or name
        name: OsString,
    },
    /// Tell the space that a snapshot holds, its parents left out
    Usage {
        /// Its key or name
        name: OsString,
    },
    /// List the paths that changed
    Changes {
        /// Its key or name
        name: OsString,
        #[command(flatten)]
        lower: Lower,
    },
    /// Write the changes as a canonical layer tar
    Diff {
        /// Its key or name
        name: OsString,
        #[command(flatten)]
        lower: Lower,
        /// File to write, instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Lower later times to this (seconds since 1970)
        #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS")]
        clamp_mtime: Option<i64>,
    },
    /// Apply a layer tar to a writable snapshot
    Apply {
        /// Its key
        key: OsString,
        /// The uncompressed tar; `-` or nothing for standard input
        file: Option<PathBuf>,
    },
    /// Replace the labels of a snapshot
    Label {
        /// Its key or name
        name: OsString,
        /// The labels; none removes all
        #[arg(value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// Delete what removed and half-made snapshots left
    Reclaim,
}

#[derive(Debug, Args)]
pub(crate) struct Lower {
    /// Compare with this snapshot instead of the parent
    #[arg(long, value_name = "NAME")]
    pub(crate) lower: Option<OsString>,
    /// Compare with nothing
    #[arg(long, conflicts_with = "lower")]
    pub(crate) whole: bool,
}
