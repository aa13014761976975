//! The suite as a whole: for a driver crate's own test, and for `strata verify`.

use crate::case::{Check, Verdict};
use crate::cases;
use crate::context::Setting;
use crate::fixture::{FileSystemKind, Fixture, clean_leftovers};
use crate::interrupt;
use crate::report::junit;
use crate::runner::{self, Outcome};
use crate::seed::Seed;
use crate::workload::UserWorkload;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use strata_driver::{Availability, DriverFactory, Host, OpenOptions};

/// Bytes of the file system that a run is given; sparse, so only what is written counts.
const FIXTURE_SIZE: u64 = 4 << 30;
/// The variable by which a child is told what to do until it is killed.
const CHILD_VARIABLE: &str = "STRATA_CONFORMANCE_CHILD";

/// Where the suite works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a fresh file system of this kind.
    FileSystem(FileSystemKind),
    /// In a plain directory below this one.
    Directory(PathBuf),
}

/// Whether lines are printed while cases run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// One line a case.
    #[default]
    Lines,
    /// Failures and the summary only.
    Quiet,
    /// Nothing; the caller reads the [`Summary`].
    Silent,
}

/// How the suite is run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Drivers that must be available; without them the run fails.
    pub require: Vec<String>,
    /// Only cases whose name holds this.
    pub filter: Option<String>,
    /// Where to work.
    pub place: Place,
    /// Where everything generated comes from.
    pub seed: Seed,
    /// Where to write `JUnit` XML.
    pub junit: Option<PathBuf>,
    /// Where to write JSON.
    pub json: Option<PathBuf>,
    /// What is printed meanwhile.
    pub progress: Progress,
    /// Settings for every opening of a driver.
    pub settings: BTreeMap<String, String>,
    /// A program that calls [`child`] first of all, for cases that kill one.
    pub child: Option<PathBuf>,
    /// Workloads of the user's own, each a case `workload_NAME` after the others.
    pub workloads: Vec<UserWorkload>,
}

impl Options {
    /// The whole suite on a fresh ext4, with a line a case.
    pub fn new() -> Self {
        Self {
            require: Vec::new(),
            filter: None,
            place: Place::FileSystem(FileSystemKind::Ext4),
            seed: Seed::default(),
            junit: None,
            json: None,
            progress: Progress::default(),
            settings: BTreeMap::new(),
            child: None,
            workloads: Vec::new(),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// Verdicts counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases that could not be checked.
    pub skipped: usize,
}

/// One driver's results.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DriverSummary {
    /// The driver.
    pub driver: String,
    /// The file system that it stood on.
    pub backing: String,
    /// What came of each case, in order.
    pub outcomes: Vec<Outcome>,
}

impl DriverSummary {
    /// Verdicts counted.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in &self.outcomes {
            match outcome.verdict {
                Verdict::Passed => counts.passed += 1,
                Verdict::Skipped(_) => counts.skipped += 1,
                Verdict::Failed(_) => counts.failed += 1,
            }
        }
        counts
    }

    /// Names of the cases that failed.
    pub fn failed(&self) -> Vec<&str> {
        let failed = |outcome: &&Outcome| matches!(outcome.verdict, Verdict::Failed(_));
        self.outcomes
            .iter()
            .filter(failed)
            .map(|outcome| &*outcome.case)
            .collect()
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Summary {
    /// Seed of the run.
    pub seed: u64,
    /// Each driver's results.
    pub drivers: Vec<DriverSummary>,
    /// Failures that are no case's: a required driver that is not there, unequal lists of cases.
    pub failures: Vec<String>,
    /// Whether a signal ended the run early.
    pub interrupted: bool,
}

impl Summary {
    /// Verdicts of all drivers counted; failures that are no case's count as failed.
    pub fn counts(&self) -> Counts {
        let mut total = Counts {
            failed: self.failures.len(),
            ..Counts::default()
        };
        for counts in self.drivers.iter().map(DriverSummary::counts) {
            total.passed += counts.passed;
            total.failed += counts.failed;
            total.skipped += counts.skipped;
        }
        total
    }

    /// Success if nothing failed and nothing cut the run short.
    pub fn exit_code(&self) -> ExitCode {
        if self.interrupted {
            return ExitCode::from(130);
        }
        if self.counts().failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// Skips by reason, failures, and the counts alone on the last line.
    pub fn render(&self) -> String {
        let mut lines = Vec::new();
        let mut skips: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for driver in &self.drivers {
            for outcome in &driver.outcomes {
                match &outcome.verdict {
                    Verdict::Skipped(reason) => {
                        skips
                            .entry((&driver.driver, reason))
                            .or_default()
                            .push(&outcome.case);
                    }
                    Verdict::Failed(reason) => lines.push(format!(
                        "FAILED {} on {}: {}: {reason}",
                        driver.driver, driver.backing, outcome.case
                    )),
                    Verdict::Passed => {}
                }
            }
        }
        for ((driver, reason), cases) in skips {
            let shown = if cases.len() > 8 {
                format!("{} and {} more", cases[..6].join(", "), cases.len() - 6)
            } else {
                cases.join(", ")
            };
            lines.push(format!(
                "skipped {driver}: {reason}: {} ({shown})",
                cases.len()
            ));
        }
        lines.extend(
            self.failures
                .iter()
                .map(|failure| format!("FAILED {failure}")),
        );
        if self.counts().failed > 0 {
            lines.push(format!("seed {}", self.seed));
        }
        if self.interrupted {
            lines.push("interrupted: the remaining cases did not run".into());
        }
        let counts = self.counts();
        lines.push(format!(
            "{} passed, {} failed, {} skipped",
            counts.passed, counts.failed, counts.skipped
        ));
        lines.join("\n") + "\n"
    }
}

/// Runs the suite for a driver crate's `tests/conformance.rs` (`harness = false`).
///
/// Takes a part of case names, `--list`, `--seed N` and `--fixture KIND` from the command line.
/// Without what a fresh file system needs it says what is lacking, counts every case as skipped
/// for that, and succeeds.
pub fn main(factory: Arc<dyn DriverFactory>) -> ExitCode {
    let factories = [factory];
    if let Some(code) = child(&factories) {
        return code;
    }
    match main_with(&factories, std::env::args().skip(1)) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn main_with(
    factories: &[Arc<dyn DriverFactory>],
    mut arguments: impl Iterator<Item = String>,
) -> Result<ExitCode> {
    let mut options = Options {
        child: Some(std::env::current_exe()?),
        ..Options::new()
    };
    while let Some(argument) = arguments.next() {
        let mut value = |what: &str| {
            arguments
                .next()
                .with_context(|| format!("{what} needs a value"))
        };
        match argument.as_str() {
            "--list" => {
                for check in Check::all(&options.workloads) {
                    say(&format!("{}: test\n", check.name()));
                }
                return Ok(ExitCode::SUCCESS);
            }
            "--seed" => options.seed = Seed(value("--seed")?.parse().context("--seed")?),
            "--fixture" => options.place = Place::FileSystem(value("--fixture")?.parse()?),
            // Flags of the standard test runner, which `cargo test -- FLAG` passes to all.
            flag if flag.starts_with('-') => {}
            filter => options.filter = Some(filter.to_owned()),
        }
    }
    Ok(run(factories, &options)?.exit_code())
}

/// Runs the suite on each factory in turn, prints the summary, writes the reports.
pub fn run(factories: &[Arc<dyn DriverFactory>], options: &Options) -> Result<Summary> {
    for workload in &options.workloads {
        workload
            .check()
            .with_context(|| format!("workload `{}`", workload.name))?;
    }
    let runtime = interrupt::runtime()?;
    let mut summary = Summary {
        seed: options.seed.0,
        ..Summary::default()
    };
    for required in &options.require {
        if !factories
            .iter()
            .any(|factory| factory.name().as_str() == required)
        {
            summary
                .failures
                .push(format!("required driver `{required}` is not known"));
        }
    }
    let missing = match &options.place {
        Place::FileSystem(kind) => kind
            .missing()
            .map(|missing| format!("no {kind} fixture: {missing}")),
        Place::Directory(_) => None,
    };
    if missing.is_none() {
        for path in clean_leftovers()? {
            say(&format!(
                "removed what a dead run left: {}\n",
                path.display()
            ));
        }
    }
    for factory in factories {
        if interrupt::interrupted() {
            break;
        }
        let required = options
            .require
            .iter()
            .any(|name| name == factory.name().as_str());
        let one = match &missing {
            Some(reason) => skip_all(factory, reason, options),
            None => run_driver(factory, options, &runtime)?,
        };
        let unchecked = one
            .outcomes
            .iter()
            .find_map(|outcome| match &outcome.verdict {
                Verdict::Skipped(reason) if one.counts().passed + one.counts().failed == 0 => {
                    Some(reason)
                }
                _ => None,
            });
        if let (true, Some(reason)) = (required, unchecked) {
            summary
                .failures
                .push(format!("required driver `{}`: {reason}", factory.name()));
        }
        summary.drivers.push(one);
    }
    summary.interrupted = interrupt::interrupted();
    if !summary.interrupted {
        summary.failures.extend(unequal_lists(&summary.drivers));
    }
    if options.progress != Progress::Silent {
        say(&summary.render());
    }
    if let Some(path) = &options.junit {
        fs_err::write(path, junit::render(&summary))?;
    }
    if let Some(path) = &options.json {
        fs_err::write(path, serde_json::to_vec_pretty(&summary)?)?;
    }
    Ok(summary)
}

/// Every driver must have been asked the same.
fn unequal_lists(drivers: &[DriverSummary]) -> Vec<String> {
    let cases = |driver: &DriverSummary| -> Vec<_> {
        driver
            .outcomes
            .iter()
            .map(|outcome| outcome.case.clone())
            .collect()
    };
    let Some((first, others)) = drivers.split_first() else {
        return Vec::new();
    };
    let differs = others.iter().filter(|other| cases(other) != cases(first));
    differs
        .map(|other| {
            format!(
                "`{}` and `{}` ran different cases",
                first.driver, other.driver
            )
        })
        .collect()
}

fn selected(options: &Options) -> impl Iterator<Item = Check<'_>> {
    let filter = options.filter.as_deref().unwrap_or_default();
    Check::all(&options.workloads).filter(move |check| check.name().contains(filter))
}

fn skip_all(factory: &Arc<dyn DriverFactory>, reason: &str, options: &Options) -> DriverSummary {
    let outcome = |check: Check<'_>| Outcome {
        case: check.name(),
        group: check.group(),
        verdict: Verdict::Skipped(reason.to_owned()),
        inverted: None,
        elapsed: std::time::Duration::ZERO,
    };
    DriverSummary {
        driver: factory.name().to_string(),
        backing: "none".into(),
        outcomes: selected(options).map(outcome).collect(),
    }
}

fn run_driver(
    factory: &Arc<dyn DriverFactory>,
    options: &Options,
    runtime: &Arc<tokio::runtime::Runtime>,
) -> Result<DriverSummary> {
    let fixture = match &options.place {
        Place::FileSystem(kind) => Fixture::file_system(*kind, FIXTURE_SIZE)?,
        Place::Directory(path) => Fixture::directory_in(path)?,
    };
    let host = Host::probe();
    if let Availability::Unavailable(why) = factory.probe(&host, &fixture.path().join("root")) {
        return Ok(skip_all(
            factory,
            &format!("{} ({})", why.missing, why.hint),
            options,
        ));
    }
    let mut open = OpenOptions::new(fixture.path().join("root"));
    open.settings.clone_from(&options.settings);
    let setting = Setting {
        factory: factory.clone(),
        host,
        runtime: runtime.clone(),
        place: fixture.path().to_owned(),
        kind: fixture.kind(),
        seed: options.seed,
        child: options.child.clone(),
        open,
    };
    let backing = fixture.backing();
    let mut outcomes = Vec::new();
    for check in selected(options) {
        if interrupt::interrupted() {
            break;
        }
        let outcome = runner::run(check, &setting);
        show(
            &factory.name().to_string(),
            &backing,
            &outcome,
            options.progress,
        );
        outcomes.push(outcome);
    }
    fixture.close()?;
    Ok(DriverSummary {
        driver: factory.name().to_string(),
        backing,
        outcomes,
    })
}

fn show(driver: &str, backing: &str, outcome: &Outcome, progress: Progress) {
    if progress != Progress::Lines {
        return;
    }
    let verdict = match &outcome.verdict {
        Verdict::Passed if outcome.inverted.is_some() => "ok (inverted)",
        Verdict::Passed => "ok",
        Verdict::Skipped(_) => "skipped",
        Verdict::Failed(_) => "FAILED",
    };
    let seconds = outcome.elapsed.as_secs_f64();
    say(&format!(
        "{driver}:{backing} {} ... {verdict} ({seconds:.2} s)\n",
        outcome.case
    ));
    if let Verdict::Failed(reason) = &outcome.verdict {
        say(&format!("  {reason}\n"));
    }
}

pub(crate) fn say(text: &str) {
    // A reader that went away has seen what it wanted.
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
}

/// What a child is asked to do until it is killed.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct ChildOrder {
    pub(crate) driver: String,
    pub(crate) root: PathBuf,
    pub(crate) step: String,
    pub(crate) settings: BTreeMap<String, String>,
}

/// Plays the part of a process that a case kills, if this process was started as one.
///
/// A program whose path is given as [`Options::child`] calls this before anything else and ends
/// with the code that it returns, if it returns one.
pub fn child(factories: &[Arc<dyn DriverFactory>]) -> Option<ExitCode> {
    let order = std::env::var(CHILD_VARIABLE).ok()?;
    let outcome = serde_json::from_str::<ChildOrder>(&order)
        .context("read the order")
        .and_then(|order| cases::obey(factories, &order));
    Some(match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    })
}

/// A command that starts `program` as a child with `order`.
pub(crate) fn child_command(program: &Path, order: &std::ffi::OsStr) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.env(CHILD_VARIABLE, order);
    command
}
