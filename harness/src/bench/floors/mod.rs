//! Floors: drivers held against what the kernel and the usual tools need for the same work.
//!
//! Each floor has a name, a limit, and a file of its own. Both sides run alternately in one
//! process on one fresh file system, and what is printed is the median of the ratios of
//! neighbouring runs with its interval. `docs/performance.md` names the command of each.

mod alternate;
mod apply;
mod copy;
mod diff;
mod held;
mod lifecycle;
mod reflink;
mod snapshots;
mod stage;
mod walk;

use crate::bench::plan::RootfsSource;
use crate::bench::progress::{Progress, Step};
use crate::bench::stats::Interval;
use crate::bench::unfit::Unfit;
use crate::interrupt;
use anyhow::{Result, bail};
use stage::Stage;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;
use strata_driver::{Durability, Registry};

/// Most memory that the process may have held at any time during a floor.
pub const MEMORY_LIMIT: u64 = 256 << 20;

/// What is measured, and with which drivers: their names are the caller's to know.
#[derive(Clone, Debug)]
pub struct FloorPlan {
    /// Names of floors; none means all.
    pub floors: Vec<String>,
    /// Name of the driver that stacks layers.
    pub stacking: String,
    /// Name of the driver that copies layers.
    pub copying: String,
    /// Name of the driver that keeps a subvolume per layer; its floors are left out without one.
    pub snapshotting: Option<String>,
    /// Pairs of runs per floor.
    pub rounds: u32,
    /// The large tree.
    pub rootfs: RootfsSource,
    /// Decides generated content.
    pub seed: u64,
    /// Where loop files are made; none means the best place found.
    pub scratch: Option<PathBuf>,
}

impl FloorPlan {
    /// All floors with twelve pairs of runs each.
    pub fn new(stacking: impl Into<String>, copying: impl Into<String>) -> Self {
        Self {
            floors: Vec::new(),
            stacking: stacking.into(),
            copying: copying.into(),
            snapshotting: None,
            rounds: 12,
            rootfs: RootfsSource::SeededCorpus,
            seed: 1,
            scratch: None,
        }
    }
}

/// One figure against its limit.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Figure {
    /// What it is (`wall ratio`, `device bytes per entry`).
    pub what: String,
    /// The figure with its interval; the same three times for a count.
    pub value: Interval,
    /// The most that it may be.
    pub limit: f64,
    /// Median of our side, as text.
    pub ours: String,
    /// Median of the other side, as text.
    pub floor: String,
}

impl Figure {
    /// Whether the median keeps within the limit.
    pub fn is_met(&self) -> bool {
        self.value.median <= self.limit
    }

    /// A count, which has no interval.
    fn count(what: &str, value: f64, limit: f64) -> Self {
        Self {
            what: what.to_owned(),
            value: Interval {
                low: value,
                median: value,
                high: value,
            },
            limit,
            ours: String::new(),
            floor: String::new(),
        }
    }
}

/// The outcome of one floor.
#[derive(Clone, Debug, serde::Serialize)]
pub struct FloorOutcome {
    /// Its name.
    pub name: String,
    /// What is compared.
    pub about: String,
    /// The figures.
    pub figures: Vec<Figure>,
    /// Most memory held meanwhile, in bytes.
    pub peak_memory: u64,
}

impl FloorOutcome {
    /// Whether every figure and the memory keep within their limits.
    pub fn is_met(&self) -> bool {
        self.peak_memory <= MEMORY_LIMIT && self.figures.iter().all(Figure::is_met)
    }
}

/// One floor: a name, a line about it, and how it is measured.
#[derive(Debug)]
struct Floor {
    name: String,
    about: String,
    measure: Measure,
}

#[derive(Debug)]
enum Measure {
    Lifecycle(lifecycle::Lifecycle),
    Held,
    Copy,
    Reflink(&'static str),
    Apply(apply::Input),
    Diff(u32),
    DiffWalked,
    DiffNative,
    Walk,
    Snapshots(Durability),
    SnapshotsHeld,
}

impl Measure {
    fn is_possible(&self, plan: &FloorPlan) -> bool {
        let takes_subvolumes = matches!(
            self,
            Self::Snapshots(_) | Self::SnapshotsHeld | Self::DiffNative
        );
        !takes_subvolumes || plan.snapshotting.is_some()
    }
}

fn floors() -> Vec<Floor> {
    let mut all = Vec::new();
    let mut add = |name: String, about: String, measure| {
        all.push(Floor {
            name,
            about,
            measure,
        });
    };
    for lifecycle in lifecycle::Lifecycle::all() {
        add(
            lifecycle.name(),
            lifecycle.about(),
            Measure::Lifecycle(lifecycle),
        );
    }
    add(
        "held-10000".into(),
        "prepare, mount, unmount, remove with 10,000 snapshots held against 10".into(),
        Measure::Held,
    );
    add(
        "copy".into(),
        "prepare of a copying driver against `cp -a --reflink=never` on ext4".into(),
        Measure::Copy,
    );
    for kind in ["xfs", "btrfs"] {
        add(
            format!("reflink-{kind}"),
            format!("device bytes per entry of a copying driver's prepare on {kind}"),
            Measure::Reflink(kind),
        );
    }
    for input in [apply::Input::Rootfs, apply::Input::SmallFiles] {
        add(
            format!("apply-{}", input.as_str()),
            "apply against `tar -x` (wall) and `tar -x` with one sha256 pass (CPU)".into(),
            Measure::Apply(input),
        );
    }
    for files in [1_000, 10_000] {
        add(
            format!("diff-{files}"),
            format!("diff of {files} new files against `tar -c` of the same into a pipe"),
            Measure::Diff(files),
        );
    }
    add(
        "diff-walked".into(),
        "entries walked for one change on a base of 40,000 files".into(),
        Measure::DiffWalked,
    );
    add(
        "walk".into(),
        "the naive walk: two threads against one, and one against a bare fstatat loop".into(),
        Measure::Walk,
    );
    for durability in [Durability::Volatile, Durability::Durable] {
        add(
            format!("btrfs-lifecycle-{}", durability.as_str()),
            "prepare and remove against the bare ioctls: snapshot and destroy of a subvolume"
                .into(),
            Measure::Snapshots(durability),
        );
    }
    add(
        "btrfs-diff-walked".into(),
        "diff of one change on a base of 40,000 files against the walk over both trees".into(),
        Measure::DiffNative,
    );
    add(
        "btrfs-held-10000".into(),
        "operations with 10,000 subvolumes held against 10, and the bare ioctls' growth".into(),
        Measure::SnapshotsHeld,
    );
    all
}

/// Names of all floors.
pub fn floor_names() -> Vec<String> {
    floors().into_iter().map(|floor| floor.name).collect()
}

/// Measures the floors that `plan` asks for.
///
/// Blocks, needs root, and must be called outside an async runtime.
pub fn run_floors(
    plan: &FloorPlan,
    registry: &Registry,
    progress: &mut dyn Progress,
) -> Result<Vec<FloorOutcome>> {
    if !rustix::process::geteuid().is_root() {
        return Err(Unfit::new("loop devices and mounts need root; run it as root").into());
    }
    for name in &plan.floors {
        if !floor_names().contains(name) {
            bail!(
                "no floor is called {name}; there are {}",
                floor_names().join(", ")
            );
        }
    }
    let wanted: Vec<_> = floors()
        .into_iter()
        .filter(|floor| {
            if plan.floors.is_empty() {
                floor.measure.is_possible(plan)
            } else {
                plan.floors.contains(&floor.name)
            }
        })
        .collect();
    let start = Instant::now();
    let mut outcomes = Vec::new();
    for (done, floor) in wanted.iter().enumerate() {
        interrupt::check()?;
        progress.step(&Step {
            done: done as u64,
            total: wanted.len() as u64,
            elapsed: start.elapsed(),
            left: None,
            now: &floor.name,
        });
        let stage = Stage::new(plan, registry)?;
        let figures = match &floor.measure {
            Measure::Lifecycle(lifecycle) => lifecycle.measure(&stage)?,
            Measure::Held => held::measure(&stage)?,
            Measure::Copy => copy::measure(&stage)?,
            Measure::Reflink(kind) => reflink::measure(&stage, kind)?,
            Measure::Apply(input) => apply::measure(&stage, *input)?,
            Measure::Diff(files) => diff::measure(&stage, *files)?,
            Measure::DiffWalked => diff::measure_walked(&stage)?,
            Measure::DiffNative => diff::measure_native(&stage)?,
            Measure::Walk => walk::measure(&stage)?,
            Measure::Snapshots(durability) => snapshots::measure(&stage, *durability)?,
            Measure::SnapshotsHeld => snapshots::measure_held(&stage)?,
        };
        outcomes.push(FloorOutcome {
            name: floor.name.clone(),
            about: floor.about.clone(),
            figures,
            peak_memory: Stage::peak_memory()?,
        });
    }
    progress.finish();
    Ok(outcomes)
}

/// The outcomes as a table.
pub fn render(outcomes: &[FloorOutcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        line(
            &mut text,
            format_args!("{}: {}", outcome.name, outcome.about),
        );
        for figure in &outcome.figures {
            let mark = if figure.is_met() { "met" } else { "MISSED" };
            let Interval { low, median, high } = figure.value;
            line(
                &mut text,
                format_args!(
                    "  {:<28} {median:.3} [{low:.3}-{high:.3}], limit {}: {mark}   {} / {}",
                    figure.what, figure.limit, figure.ours, figure.floor
                ),
            );
        }
        let mark = if outcome.peak_memory <= MEMORY_LIMIT {
            "met"
        } else {
            "MISSED"
        };
        line(
            &mut text,
            format_args!(
                "  {:<28} {} MiB, limit {} MiB: {mark}",
                "peak memory",
                outcome.peak_memory >> 20,
                MEMORY_LIMIT >> 20
            ),
        );
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("writing into a string cannot fail");
}

#[cfg(test)]
mod tests;
