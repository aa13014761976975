//! Recorded behaviour of kernels, as an oracle from outside.
//!
//! `data/semantics.json` holds what union file systems of the kernel did in some two hundred
//! scenarios, as measured on branches that were made by hand. Here each scenario runs on a
//! [`Ground`]: through a driver's contract, or on branches that are made as the recorded ones
//! were. Every errno, every answer, the merged tree before and after a remount, the writable
//! branch on disk and what changed in those below must be as recorded. What may differ stands in
//! a table of the driver's document, and a row of it that is no longer true fails too.
//!
//! Which recording describes a driver only its own crate knows: it passes a [`Column`].

mod attempt;
mod branches;
mod data;
mod ground;
mod judge;
mod listing;
mod perform;
mod table;
mod verb;

pub use data::Column;
pub use ground::{ByHand, Ground, HandMade};

use crate::case::{Group, Verdict};
use crate::conformance::{DriverSummary, Summary, say};
use crate::context::Setting;
use crate::fixture::{FileSystemKind, Fixture, clean_leftovers};
use crate::interrupt;
use crate::runner::Outcome;
use crate::seed::Seed;
use anyhow::{Context as _, Result};
use data::{ANY_KERNEL, Kernel, Scenario};
use ground::Ready;
use judge::{Difference, judge};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_driver::{Availability, DriverFactory, Host, OpenOptions};
use table::Table;

/// Bytes of the file system that a ground is given; sparse.
const FIXTURE_SIZE: u64 = 1 << 30;

/// Set, it has tables rewritten.
const UPDATE: &str = "STRATA_UPDATE";

/// A ground, held against one column.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// What describes it.
    pub column: Column,
    /// Where the scenarios run.
    pub ground: Ground<'a>,
    /// Where it is said what differs, and may; nothing may without.
    pub differences: Option<Document<'a>>,
    /// Scenarios that cannot be put to this ground, or mean something else on it. The run says
    /// why, and fails for one that runs as recorded.
    pub left_out: &'a [&'a str],
}

/// A document with a table of differences: `scenario | field | ours | recorded | why` under the
/// heading "Differences from the recordings", one row for each difference. With `STRATA_UPDATE`
/// set a run writes the rows anew and keeps the reasons; those that it has none for fail.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// Its text.
    pub text: &'a str,
    /// Where it is.
    pub path: &'a str,
}

/// What came of a run's scenarios.
struct Ran {
    summary: DriverSummary,
    /// What differed, by scenario, of each that ran.
    seen: BTreeMap<String, Vec<Difference>>,
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
    let mut tables = Vec::new();
    for run in runs {
        let table = run.table()?;
        let known = names(&scenarios, run.column);
        summary.failures.extend(run.unknown_names(&known));
        let faults = table.faults(|name| known.contains(name));
        summary.failures.extend(faults);
        tables.push(table);
    }
    // Of a document that several runs have.
    summary.failures.sort_unstable();
    summary.failures.dedup();
    scenarios.retain(|scenario| scenario.name.contains(filter));
    // Modes are recorded under this mask.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let missing = FileSystemKind::Ext4.missing();
    if let Some(missing) = &missing {
        say(&format!("skipped: no ext4 fixture: {missing}\n"));
    } else {
        clean_leftovers()?;
    }
    for (run, table) in runs.iter().zip(&tables) {
        if interrupt::interrupted() {
            break;
        }
        let started = Instant::now();
        let one = match &missing {
            Some(missing) => skip_all(factory, run, &scenarios, missing),
            None => run_column(factory, run, table, &scenarios)
                .with_context(|| format!("column {}", run.column.as_str()))?,
        };
        say(&tell(table, &scenarios, &one.summary, started.elapsed()));
        if let Some(document) = run.differences
            && std::env::var_os(UPDATE).is_some()
        {
            fs_err::write(document.path, table.with(&one.seen))?;
            say(&format!("written: {}\n", document.path));
        }
        summary.drivers.push(one.summary);
    }
    summary.interrupted = interrupt::interrupted();
    Ok(summary)
}

impl Run<'_> {
    fn table(&self) -> Result<Table> {
        let Some(document) = self.differences else {
            return Ok(Table::default());
        };
        Table::parse(document.text).with_context(|| format!("read `{}`", document.path))
    }

    /// A list that names what is not recorded is wrong.
    fn unknown_names(&self, known: &BTreeSet<String>) -> Vec<String> {
        let column = self.column.as_str();
        let listed = self.left_out.iter().copied();
        listed
            .filter(|name| !known.contains(*name))
            .map(|name| format!("{column} has no scenario `{name}`"))
            .collect()
    }

    fn title(&self, factory: &Arc<dyn DriverFactory>) -> String {
        let (column, ground) = (self.column.as_str(), self.ground.title());
        format!("{} ({column}{ground})", factory.name())
    }
}

fn names(scenarios: &[Scenario], column: Column) -> BTreeSet<String> {
    let recorded = recorded(scenarios, column, ANY_KERNEL);
    recorded.map(|scenario| scenario.name.clone()).collect()
}

fn tell(table: &Table, scenarios: &[Scenario], one: &DriverSummary, took: Duration) -> String {
    let counts = one.counts();
    let ran = one.outcomes.iter().map(|outcome| &*outcome.case);
    let expected = ran.filter(|name| !table.of(name).is_empty());
    format!(
        "{} on {}: {} of {} scenarios are recorded: {} as recorded ({} may differ, as the table \
         says), {} otherwise, {} cannot be run; {:.1} s\n",
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
) -> Ran {
    let recorded = recorded(scenarios, run.column, ANY_KERNEL);
    let outcomes = recorded.map(|scenario| outcome(scenario, Verdict::Skipped(reason.into())));
    Ran {
        summary: DriverSummary {
            driver: run.title(factory),
            backing: "none".into(),
            outcomes: outcomes.collect(),
        },
        seen: BTreeMap::new(),
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
    table: &Table,
    scenarios: &[Scenario],
) -> Result<Ran> {
    let runtime = interrupt::runtime()?;
    let fixture = Fixture::file_system(FileSystemKind::Ext4, FIXTURE_SIZE)?;
    let mut open = OpenOptions::new(fixture.path().join("root"));
    let settings = run.ground.settings().iter();
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
    let place: &Path = &fixture.path().join("recorded");
    let mut ground = run.ground.open(&setting, place)?;
    let mut ran = Ran {
        summary: DriverSummary {
            driver: run.title(factory),
            backing: fixture.backing(),
            outcomes: Vec::new(),
        },
        seen: BTreeMap::new(),
    };
    for scenario in recorded(scenarios, run.column, kernel) {
        if interrupt::interrupted() {
            break;
        }
        let started = Instant::now();
        let verdict = ran.verdict(&mut *ground, scenario, run, table, kernel);
        let mut outcome = outcome(scenario, verdict);
        outcome.elapsed = started.elapsed();
        ran.summary.outcomes.push(outcome);
    }
    ground.close()?;
    fixture.close()?;
    Ok(ran)
}

/// Major and minor number of a kernel's release.
fn version(release: &str) -> Result<Kernel> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next().and_then(|text| text.parse().ok());
    let numbers = next().zip(next());
    numbers.with_context(|| format!("the kernel's release is `{release}`"))
}

impl Ran {
    fn verdict(
        &mut self,
        ground: &mut dyn Ready,
        scenario: &Scenario,
        run: &Run<'_>,
        table: &Table,
        kernel: Kernel,
    ) -> Verdict {
        let listed = run.left_out.contains(&scenario.name.as_str());
        let observed = match attempt::observe(ground, scenario) {
            Ok(Ok(observed)) => observed,
            Ok(Err(lacking)) if listed => return Verdict::Skipped(lacking.to_string()),
            Ok(Err(lacking)) => return Verdict::Failed(format!("cannot be run: {lacking}")),
            Err(error) => return Verdict::Failed(format!("{error:#}")),
        };
        let mut told = Vec::new();
        for (name, recorded) in scenario.recordings(run.column, kernel) {
            let found = observed.differences(scenario, recorded);
            let judged = judge(&found, &table.of(&scenario.name));
            if !listed {
                self.seen.insert(scenario.name.clone(), found);
            }
            match judged {
                Ok(()) if listed => {
                    let text = "is said to be left out, and ran as recorded (take it off the list)";
                    return Verdict::Failed(text.to_owned());
                }
                Ok(()) => return Verdict::Passed,
                Err(text) => told.push(format!("against the recording of {name}: {text}")),
            }
        }
        let told = told.join("; ");
        if listed {
            let first = told.lines().next().unwrap_or_default();
            return Verdict::Skipped(format!("means something else here: {first}"));
        }
        Verdict::Failed(told)
    }
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
            ground: Ground::Contract(&[]),
            differences: None,
            left_out: &["mount-ro", "mount-rw"],
        };
        assert_eq!(
            run.unknown_names(&names(&scenarios, run.column)),
            ["aufs has no scenario `mount-rw`"]
        );
        let run = Run {
            column: Column::OverlayDefault,
            left_out: &["noxino-ino"],
            ..run
        };
        assert_eq!(
            run.unknown_names(&names(&scenarios, run.column)),
            ["overlay_default has no scenario `noxino-ino`"]
        );
    }
}
