//! Recorded behaviour of kernels, as an oracle from outside.
//!
//! `data/semantics.json` holds what union file systems of the kernel did in some two hundred
//! scenarios, as measured on branches that were made by hand. Here each scenario runs on a
//! driver, through the contract: layers are applied and committed, the writable branch is an
//! active snapshot, and its plan is mounted. Every errno, every answer, the merged tree before
//! and after a remount, the writable branch on disk and what changed in those below must be as
//! recorded. What may differ stands in a list, and a line of it that is no longer true fails too.
//!
//! Which recording describes a driver only its own crate knows: it passes a [`Column`]. Where the
//! branches are the plan tells, in the options that `branches.rs` reads.

mod branches;
mod build;
mod data;
mod judge;
mod listing;
mod perform;
mod verb;

pub use data::Column;
pub use judge::Expected;

use crate::case::{Group, Verdict};
use crate::conformance::{DriverSummary, Summary, say};
use crate::context::{Context, Setting};
use crate::fixture::{FileSystemKind, Fixture, clean_leftovers};
use crate::interrupt;
use crate::live::Live;
use crate::runner::{Outcome, remove_place};
use crate::seed::Seed;
use anyhow::{Context as _, Result};
use branches::{Branches, NoBranch};
use data::{EntryKind, Kernel, Scenario};
use judge::{Observed, judge};
use listing::Lister;
use perform::{Paths, Performer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_driver::{Availability, DriverFactory, Host, MountPlan, OpenOptions, SnapshotName};
use verb::Verb;

/// Every scenario that has a column has it for the oldest kernels.
const ANY_KERNEL: Kernel = (0, 0);

/// Bytes of the file system that a driver is given; sparse.
const FIXTURE_SIZE: u64 = 1 << 30;

/// A driver with these settings, held against one column.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// What describes it.
    pub column: Column,
    /// Settings for every opening of the driver.
    pub settings: &'a [(&'a str, &'a str)],
    /// What differs, and may.
    pub expected: &'a [Expected],
    /// Scenarios that cannot be put to this driver; the run says why.
    pub not_expressible: &'a [&'a str],
}

/// Holds a driver against recordings, for a driver crate's `tests/recorded.rs`
/// (`harness = false`).
///
/// Takes a part of scenarios' names from the command line. Without what a fresh ext4 needs it says
/// what is lacking, counts every scenario as skipped for that, and succeeds.
pub fn main(factory: &Arc<dyn DriverFactory>, runs: &[Run<'_>]) -> ExitCode {
    // Flags are those of the standard test runner, which `cargo test -- FLAG` passes to all.
    let filter = std::env::args().skip(1).find(|one| !one.starts_with('-'));
    match run(factory, runs, filter.as_deref().unwrap_or_default()) {
        Ok(summary) => {
            say(&summary.render());
            summary.exit_code()
        }
        Err(error) => {
            say(&format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(factory: &Arc<dyn DriverFactory>, runs: &[Run<'_>], filter: &str) -> Result<Summary> {
    let mut scenarios = data::load()?;
    let mut summary = Summary::default();
    for run in runs {
        summary.failures.extend(unknown_names(run, &scenarios));
    }
    scenarios.retain(|scenario| scenario.name.contains(filter));
    // Modes are recorded under this mask.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let missing = FileSystemKind::Ext4.missing();
    if let Some(missing) = &missing {
        say(&format!("skipped: no ext4 fixture: {missing}\n"));
    } else {
        clean_leftovers()?;
    }
    for run in runs {
        if interrupt::interrupted() {
            break;
        }
        let started = Instant::now();
        let one = match &missing {
            Some(missing) => skip_all(factory, run, &scenarios, missing),
            None => run_column(factory, run, &scenarios)
                .with_context(|| format!("column {}", run.column.as_str()))?,
        };
        say(&tell(run, &scenarios, &one, started.elapsed()));
        summary.drivers.push(one);
    }
    summary.interrupted = interrupt::interrupted();
    Ok(summary)
}

/// A list that names what is not recorded is wrong.
fn unknown_names(run: &Run<'_>, scenarios: &[Scenario]) -> Vec<String> {
    let expected = run.expected.iter().map(|one| one.scenario);
    let listed = expected.chain(run.not_expressible.iter().copied());
    let column = run.column.as_str();
    let known: BTreeSet<_> = recorded(scenarios, run.column, ANY_KERNEL)
        .map(|scenario| scenario.name.as_str())
        .collect();
    listed
        .filter(|name| !known.contains(name))
        .map(|name| format!("{column} has no scenario `{name}`"))
        .collect()
}

fn tell(run: &Run<'_>, scenarios: &[Scenario], one: &DriverSummary, took: Duration) -> String {
    let counts = one.counts();
    let ran: BTreeSet<_> = one.outcomes.iter().map(|outcome| &*outcome.case).collect();
    let expected = run.expected.iter().filter(|one| ran.contains(one.scenario));
    format!(
        "{} on {}: {} of {} scenarios are recorded: {} as recorded ({} but for expected \
         differences), {} otherwise, {} cannot be run; {:.1} s\n",
        one.driver,
        one.backing,
        one.outcomes.len(),
        scenarios.len(),
        counts.passed,
        expected.count(),
        counts.failed,
        counts.skipped,
        took.as_secs_f64(),
    )
}

fn skip_all(
    factory: &Arc<dyn DriverFactory>,
    run: &Run<'_>,
    scenarios: &[Scenario],
    reason: &str,
) -> DriverSummary {
    let recorded = recorded(scenarios, run.column, ANY_KERNEL);
    let outcomes = recorded.map(|scenario| outcome(scenario, Verdict::Skipped(reason.into())));
    DriverSummary {
        driver: title(factory, run),
        backing: "none".into(),
        outcomes: outcomes.collect(),
    }
}

/// The scenarios that have this column.
fn recorded(
    scenarios: &[Scenario],
    column: Column,
    kernel: Kernel,
) -> impl Iterator<Item = &Scenario> {
    let has_column = move |scenario: &&Scenario| !scenario.recordings(column, kernel).is_empty();
    scenarios.iter().filter(has_column)
}

fn title(factory: &Arc<dyn DriverFactory>, run: &Run<'_>) -> String {
    format!("{} ({})", factory.name(), run.column.as_str())
}

fn outcome(scenario: &Scenario, verdict: Verdict) -> Outcome {
    Outcome {
        case: scenario.name.clone().into(),
        group: Group::Recorded,
        verdict,
        inverted: None,
        elapsed: Duration::ZERO,
    }
}

fn run_column(
    factory: &Arc<dyn DriverFactory>,
    run: &Run<'_>,
    scenarios: &[Scenario],
) -> Result<DriverSummary> {
    let runtime = interrupt::runtime()?;
    let fixture = Fixture::file_system(FileSystemKind::Ext4, FIXTURE_SIZE)?;
    let mut open = OpenOptions::new(fixture.path().join("root"));
    let settings = run.settings.iter();
    open.settings = settings
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect::<BTreeMap<_, _>>();
    let host = Host::probe();
    if let Availability::Unavailable(why) = factory.probe(&host, &open.root) {
        fixture.close()?;
        let reason = format!("{} ({})", why.missing, why.hint);
        say(&format!("skipped: {reason}\n"));
        return Ok(skip_all(factory, run, scenarios, &reason));
    }
    let kernel = version(&host.kernel)?;
    let setting = Setting {
        factory: factory.clone(),
        host,
        runtime,
        place: fixture.path().to_owned(),
        kind: fixture.kind(),
        seed: Seed::default(),
        child: None,
        open,
    };
    let place = fixture.path().join("recorded");
    let mut context = Context::new(&setting, place.clone()).context("open the driver")?;
    let mut outcomes = Vec::new();
    for scenario in recorded(scenarios, run.column, kernel) {
        if interrupt::interrupted() {
            break;
        }
        let started = Instant::now();
        let verdict = verdict(&mut context, scenario, run, kernel);
        let mut outcome = outcome(scenario, verdict);
        outcome.elapsed = started.elapsed();
        outcomes.push(outcome);
    }
    context.shut().context("close the driver")?;
    drop(context);
    remove_place(&place)?;
    let backing = fixture.backing();
    fixture.close()?;
    Ok(DriverSummary {
        driver: title(factory, run),
        backing,
        outcomes,
    })
}

/// Major and minor number of a kernel's release.
fn version(release: &str) -> Result<Kernel> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next().and_then(|text| text.parse().ok());
    let numbers = next().zip(next());
    numbers.with_context(|| format!("the kernel's release is `{release}`"))
}

fn verdict(context: &mut Context, scenario: &Scenario, run: &Run<'_>, kernel: Kernel) -> Verdict {
    let listed = run.not_expressible.contains(&scenario.name.as_str());
    let observed = match observe(context, scenario) {
        Ok(observed) => observed,
        Err(error) => return Verdict::Failed(format!("{error:#}")),
    };
    match observed {
        Err(reason) if listed => Verdict::Skipped(reason),
        Err(reason) => Verdict::Failed(format!("cannot be run: {reason}")),
        Ok(_) if listed => {
            let text = "is said not to be expressible, and ran (take it off the list)";
            Verdict::Failed(text.to_owned())
        }
        Ok(observed) => {
            let expected = run
                .expected
                .iter()
                .find(|one| one.scenario == scenario.name);
            let recordings = scenario.recordings(run.column, kernel);
            let mut told = Vec::new();
            for (name, recorded) in recordings {
                match judge(&observed.differences(scenario, recorded), expected) {
                    Ok(()) => return Verdict::Passed,
                    Err(text) => told.push(format!("against the recording of {name}: {text}")),
                }
            }
            Verdict::Failed(told.join("; "))
        }
    }
}

/// What a driver lacks for a scenario.
type NotExpressible = String;

/// Why a scenario cannot be put to any driver here, if so.
fn not_expressible(scenario: &Scenario) -> Option<NotExpressible> {
    let mount = &scenario.mount;
    let asks = [
        (
            "permissions of lower branches",
            mount.aufs_lower_perm.is_some(),
        ),
        (
            "permissions of the writable branch",
            mount.aufs_upper_perm.is_some(),
        ),
        ("a mount option", mount.aufs_opts.is_some()),
        ("another place for inode numbers", mount.aufs_xino.is_some()),
    ];
    if let Some((what, _)) = asks.iter().find(|(_, asked)| *asked) {
        return Some(format!("no driver is told {what}"));
    }
    if let Some(bytes) = mount.upper_tmpfs_bytes {
        return Some(format!(
            "no driver puts its writable branch on a tmpfs of {bytes} bytes"
        ));
    }
    let entries = scenario.layers.iter().flatten();
    let mut programs = entries.filter_map(|entry| entry.data_from.as_deref());
    let absent = programs.find(|program| !Path::new(program).is_file())?;
    Some(format!("this host has no `{absent}`"))
}

fn observe(context: &mut Context, scenario: &Scenario) -> Result<Result<Observed, NotExpressible>> {
    if let Some(reason) = not_expressible(scenario) {
        return Ok(Err(reason));
    }
    match attempt(context, scenario) {
        Ok(observed) => Ok(Ok(observed)),
        Err(error) => match error.downcast_ref::<NoBranch>() {
            Some(branch) => Ok(Err(branch.to_string())),
            None => Err(error),
        },
    }
}

fn attempt(context: &mut Context, scenario: &Scenario) -> Result<Observed> {
    let lister = Lister {
        began: build::seconds_now()?,
        programs: programs(scenario),
    };
    let key = build::branches(context, scenario).context("make the branches")?;
    let plan = plan_of(context, &key, scenario)?;
    let branches = Branches::of(&plan);
    branches.demand(scenario.layers.len())?;
    let live = Live::new(&plan, context.path("live"))?;
    let paths = Paths {
        merged: live.path().to_owned(),
        branches,
    };
    let mut stage = Stage {
        performer: Performer::new(paths, lister.clone())?,
        live: Some(live),
    };
    let mut observed = Observed::default();
    for operation in &scenario.ops {
        let (errno, answer) = match operation.verb {
            Verb::Remount {} => {
                stage.clear()?;
                let plan = plan_of(context, &key, scenario)?;
                stage.show(Live::new(&plan, context.path("live"))?);
                (0.into(), serde_json::Value::Null)
            }
            _ => stage.performer.perform(operation)?,
        };
        observed.errno.push(errno);
        observed.ret.push(answer);
    }
    observed.merged = lister.list(stage.path()?)?;
    stage.clear()?;
    let branches = stage.performer.branches();
    observed.upper = lister.list(branches.upper()?)?;
    observed.index_entries = branches.index_entries()?;
    observed.lower_changed = stage.performer.lowers_changed()?;
    let plan = plan_of(context, &key, scenario)?;
    let live = Live::new(&plan, context.path("live"))?;
    observed.merged_remount = lister.list(live.path())?;
    live.unmount()?;
    Ok(observed)
}

/// What is mounted and what is held in it; dropped in this order.
struct Stage {
    performer: Performer,
    live: Option<Live>,
}

impl Stage {
    fn path(&self) -> Result<&Path> {
        let live = self.live.as_ref().context("nothing is mounted")?;
        Ok(live.path())
    }

    fn show(&mut self, live: Live) {
        self.performer.remounted(live.path().to_owned());
        self.live = Some(live);
    }

    /// Lets go of everything, and unmounts.
    fn clear(&mut self) -> Result<()> {
        self.performer.release()?;
        self.live.take().map_or(Ok(()), Live::unmount)
    }
}

fn plan_of(context: &Context, key: &SnapshotName, scenario: &Scenario) -> Result<MountPlan> {
    let mut plan = context.wait(context.driver().mounts(key))?;
    if let (Some(data::ReadOnly::Yes), Some(step)) = (scenario.mount.flags, plan.steps.last_mut()) {
        step.flags.read_only = true;
    }
    Ok(plan)
}

/// Paths of files that are copies of programs.
fn programs(scenario: &Scenario) -> BTreeSet<String> {
    let entries = scenario.layers.iter().flatten();
    entries
        .filter(|entry| entry.kind == EntryKind::File && entry.data_from.is_some())
        .map(|entry| entry.path.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_a_release() {
        assert_eq!(version("6.18.44-rc1").unwrap(), (6, 18));
        assert_eq!(version("7.0").unwrap(), (7, 0));
        assert!(version("unknown").is_err());
    }

    #[test]
    fn lists_must_name_scenarios() {
        let scenarios = data::load().unwrap();
        let run = Run {
            column: Column::Aufs,
            settings: &[],
            expected: &[],
            not_expressible: &["mount-ro", "mount-rw"],
        };
        assert_eq!(
            unknown_names(&run, &scenarios),
            ["aufs has no scenario `mount-rw`"]
        );
        let run = Run {
            column: Column::OverlayDefault,
            not_expressible: &["noxino-ino"],
            ..run
        };
        assert_eq!(
            unknown_names(&run, &scenarios),
            ["overlay_default has no scenario `noxino-ino`"]
        );
    }
}
