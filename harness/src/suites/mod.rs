//! Test suites of others, run on what each driver mounts.
//!
//! pjdfstest asks of each system call about files whether it does and refuses what POSIX says,
//! fsx of one file whether it holds what was written. Neither knows of layers: they run in a
//! directory that comes from layers with content, and afterwards the layers must be what they
//! were, a remount must show the same, and the diff must be the oracle's. What ends otherwise
//! than a suite's author thought is listed by name and bound to what causes it (`expected.rs`);
//! what is listed and does not show fails too.
//!
//! A plain directory of the same file system is the control: it runs the same first, is judged by
//! the same list, and every driver must run the same tests and come to the same file.

mod expected;
mod fsx;
mod ground;
mod pjdfstest;
mod tools;

use crate::case::{Group, Verdict};
use crate::conformance::{DriverSummary, Place, Progress, Summary, say};
use crate::context::Context;
use crate::edit::Dir;
use crate::fixture::{FileSystemKind, Fixture, clean_leftovers};
use crate::interrupt;
use crate::leaks::Belongings;
use crate::runner::{Outcome, remove_place};
use crate::seed::Seed;
use crate::stand::Stand;
use anyhow::{Context as _, Result, ensure};
use expected::Facts;
use ground::Ground;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_driver::process::Tool;
use strata_driver::{DriverFactory, Host, QuirkSet};
use tokio::runtime::Runtime;

/// Bytes of the file system that the control is given; sparse.
const SIZE: u64 = 1 << 30;

/// What the control is called.
const PLAIN: &str = "plain directory";

/// One suite, or one way to run it.
#[derive(Clone, Copy, Debug)]
enum Check {
    Pjdfstest,
    Fsx(fsx::File),
}

const CHECKS: &[(&str, Check)] = &[
    ("pjdfstest", Check::Pjdfstest),
    ("fsx_new_file", Check::Fsx(fsx::File::New)),
    ("fsx_truncated_lower_file", Check::Fsx(fsx::File::Truncated)),
    ("fsx_lower_file", Check::Fsx(fsx::File::Kept)),
];

impl Check {
    fn program(self) -> &'static str {
        match self {
            Self::Pjdfstest => "pjdfstest",
            Self::Fsx(_) => "fsx",
        }
    }

    fn run(self, tool: &Tool, subject: &Subject<'_>) -> Result<Ran> {
        match self {
            Self::Pjdfstest => pjdfstest::run(tool, subject),
            Self::Fsx(file) => fsx::run(file, tool, subject),
        }
    }
}

/// A directory with what the layers show, and what is known of it.
#[derive(Debug)]
struct Subject<'a> {
    dir: &'a Dir,
    /// Outside the file system that is tried.
    scratch: &'a Path,
    facts: Facts<'a>,
    seed: Seed,
}

impl<'a> Subject<'a> {
    fn new(dir: &'a Dir, fixture: &'a Fixture, quirks: &'a QuirkSet) -> Result<Self> {
        Ok(Self {
            dir,
            scratch: fixture.scratch(),
            facts: Facts {
                quirks,
                mounted: Host::file_system_of(dir.path())?,
                below: fixture.backing(),
            },
            seed: Seed::default(),
        })
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
struct Ran {
    /// The counts, in one line.
    text: String,
    evidence: Evidence,
}

/// What must be the same on every directory.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Evidence {
    /// The tests that there are.
    Tests(BTreeSet<String>),
    /// Digest of the file in the end.
    Content([u8; 32]),
}

/// What the control came to, by check.
type Controls = BTreeMap<&'static str, Evidence>;

/// The checks that this run is about, and the program of each, or why it cannot be had.
type Chosen = Vec<(&'static str, Check, Result<Tool, String>)>;

/// How the suites are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// On a fresh file system of each of these.
    pub kinds: Vec<FileSystemKind>,
    /// Only checks whose name holds this.
    pub filter: String,
    /// What is printed meanwhile.
    pub progress: Progress,
}

/// Runs the suites on each driver, for a program's `tests/suites.rs` (`harness = false`).
///
/// Takes a part of checks' names from the command line. What cannot be run here is skipped, and a
/// line says why.
pub fn main(factories: &[Arc<dyn DriverFactory>]) -> ExitCode {
    // Flags are those of the standard test runner, which `cargo test -- FLAG` passes to all.
    let filter = std::env::args().skip(1).find(|one| !one.starts_with('-'));
    let options = Options {
        kinds: vec![
            FileSystemKind::Ext4,
            FileSystemKind::Xfs,
            FileSystemKind::Btrfs,
        ],
        filter: filter.unwrap_or_default(),
        progress: Progress::Lines,
    };
    match run(factories, &options) {
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

/// Runs the suites on a plain directory and on every driver, on each kind of file system.
pub fn run(factories: &[Arc<dyn DriverFactory>], options: &Options) -> Result<Summary> {
    let runtime = interrupt::runtime()?;
    // Every user must reach the directories of the test, and modes depend on it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let chosen = CHECKS
        .iter()
        .filter(|(name, _)| name.contains(&options.filter));
    let chosen: Chosen = chosen
        .map(|(name, check)| (*name, *check, tools::find(check.program())))
        .collect();
    let mut summary = Summary {
        seed: Seed::default().0,
        ..Summary::default()
    };
    if FileSystemKind::Ext4.missing().is_none() {
        clean_leftovers()?;
    }
    for kind in &options.kinds {
        let mut cells = Cells {
            kind: *kind,
            chosen: &chosen,
            progress: options.progress,
            controls: Controls::new(),
        };
        summary.drivers.push(cells.control()?);
        for factory in factories {
            if interrupt::interrupted() {
                break;
            }
            summary.drivers.push(cells.driver(factory, &runtime)?);
        }
    }
    summary.interrupted = interrupt::interrupted();
    Ok(summary)
}

/// All runs on one kind of file system.
struct Cells<'a> {
    kind: FileSystemKind,
    chosen: &'a Chosen,
    progress: Progress,
    controls: Controls,
}

impl Cells<'_> {
    /// Why nothing can be run, if so.
    fn missing(&self) -> Option<String> {
        let lacking = |missing| format!("no {} fixture: {missing}", self.kind);
        let fixture = self.kind.missing().map(lacking);
        fixture.or_else(|| {
            let mut reasons = self.chosen.iter().map(|(_, _, tool)| tool.as_ref().err());
            let first = reasons.next()??;
            reasons.all(|one| one.is_some()).then(|| first.clone())
        })
    }

    fn control(&mut self) -> Result<DriverSummary> {
        if let Some(reason) = self.missing() {
            return Ok(self.skip(PLAIN, &reason));
        }
        let fixture = Fixture::file_system(self.kind, SIZE)?;
        let mut outcomes = Vec::new();
        for (name, check, tool) in self.chosen {
            if interrupt::interrupted() {
                break;
            }
            let started = Instant::now();
            let ran = tool
                .as_ref()
                .map_err(Clone::clone)
                .map(|tool| on_plain_directory((name, *check), tool, &fixture));
            if let Ok(Ok(ran)) = &ran {
                self.controls.insert(name, ran.evidence.clone());
            }
            outcomes.push(self.outcome((PLAIN, name), ran, started.elapsed()));
        }
        fixture.close()?;
        Ok(self.summary(PLAIN, outcomes))
    }

    fn driver(
        &self,
        factory: &Arc<dyn DriverFactory>,
        runtime: &Arc<Runtime>,
    ) -> Result<DriverSummary> {
        let driver = factory.name().to_string();
        if let Some(reason) = self.missing() {
            return Ok(self.skip(&driver, &reason));
        }
        let asked = (
            &Place::FileSystem(self.kind),
            &BTreeMap::new(),
            Seed::default(),
        );
        let stand = match Stand::take(factory, asked, runtime)? {
            Ok(stand) => stand,
            Err(reason) => return Ok(self.skip(&driver, &reason)),
        };
        let able = &stand.capabilities;
        if let Some(lacking) = ground::NEEDS.iter().find(|one| !able.has(**one)) {
            let reason = format!("{} absent: {}", lacking.as_str(), able.reason(*lacking));
            stand.fixture.close()?;
            return Ok(self.skip(&driver, &reason));
        }
        let mut outcomes = Vec::new();
        for (name, check, tool) in self.chosen {
            if interrupt::interrupted() {
                break;
            }
            let started = Instant::now();
            let ran = match tool {
                Err(reason) => Err(reason.clone()),
                Ok(tool) => Ok(self.compared(name, on_driver(*check, tool, &stand))),
            };
            outcomes.push(self.outcome((&driver, name), ran, started.elapsed()));
        }
        stand.fixture.close()?;
        Ok(self.summary(&driver, outcomes))
    }

    /// Demands what the control showed.
    fn compared(&self, name: &str, ran: Result<Ran>) -> Result<Ran> {
        let ran = ran?;
        let control = self.controls.get(name);
        let control = control.context("there is no plain directory's run to compare with")?;
        ensure!(
            ran.evidence == *control,
            "it ran other tests, or came to another file, than on a plain directory"
        );
        Ok(ran)
    }

    /// Says what came of a run; the inner text is why there was none.
    fn outcome(
        &self,
        (driver, name): (&str, &'static str),
        ran: Result<Result<Ran>, String>,
        elapsed: Duration,
    ) -> Outcome {
        let at = format!("{driver} on {}: {name}", self.kind);
        let seconds = elapsed.as_secs_f64();
        let (line, verdict) = match ran {
            Err(reason) => (
                format!("skipped: {at}: {reason}\n"),
                Verdict::Skipped(reason),
            ),
            Ok(Ok(Ran { text, .. })) => {
                (format!("{at}: {text}; {seconds:.1} s\n"), Verdict::Passed)
            }
            Ok(Err(error)) => (
                format!("{at}: FAILED; {seconds:.1} s\n"),
                Verdict::Failed(format!("{error:#}")),
            ),
        };
        if self.progress == Progress::Lines {
            say(&line);
        }
        Outcome {
            case: name.into(),
            group: Group::Suite,
            verdict,
            inverted: None,
            elapsed,
        }
    }

    fn skip(&self, driver: &str, reason: &str) -> DriverSummary {
        let outcomes = self.chosen.iter().map(|(name, _, tool)| {
            let lacking = tool.as_ref().err();
            let reason = lacking.map_or(reason, String::as_str).to_owned();
            self.outcome((driver, name), Err(reason), Duration::ZERO)
        });
        self.summary(driver, outcomes.collect())
    }

    fn summary(&self, driver: &str, outcomes: Vec<Outcome>) -> DriverSummary {
        DriverSummary {
            driver: driver.to_owned(),
            backing: self.kind.to_string(),
            outcomes,
        }
    }
}

fn on_plain_directory((name, check): (&str, Check), tool: &Tool, fixture: &Fixture) -> Result<Ran> {
    let dir = Dir::new(fixture.path().join(name));
    fs_err::create_dir(dir.path())?;
    ground::flat(&dir)?;
    let none = QuirkSet::new();
    check.run(tool, &Subject::new(&dir, fixture, &none)?)
}

/// As the runner of cases: what is left behind fails.
fn on_driver(check: Check, tool: &Tool, stand: &Stand) -> Result<Ran> {
    let before = Belongings::take(&stand.setting.place)?;
    let place = stand.setting.place.join("s");
    let mut context = Context::new(&stand.setting, place.clone()).context("open the driver")?;
    let ran = on_layers((stand, &mut context), |subject| check.run(tool, subject));
    let shut = context.shut().context("close the driver");
    drop(context);
    let clean = remove_place(&place).and_then(|()| before.expect_unchanged());
    match (ran, clean) {
        (Ok(ran), clean) => shut.and(clean).map(|()| ran),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(leak)) => Err(error.context(format!("and {leak:#}"))),
    }
}

fn on_layers(
    (stand, context): (&Stand, &mut Context),
    work: impl FnOnce(&Subject<'_>) -> Result<Ran>,
) -> Result<Ran> {
    let mut ground = Ground::build(context)?;
    let top = ground.top().clone();
    let key = context.active(Some(&top))?;
    let shown = context.tree(&key)?;
    ground.expect_unchanged(context, (&key, &shown))?;

    let live = context.mount(&key)?;
    let subject = Subject::new(&live, &stand.fixture, &stand.capabilities.quirks)?;
    let ran = work(&subject)?;
    let shown = live.tree()?;
    live.unmount()?;

    let again = context.tree(&key)?;
    again.expect_equal(&shown, "after a remount (again != before)")?;
    ground.expect_unchanged(context, (&key, &shown))?;
    context.checked_diff(Some(&top), &key)?;
    Ok(ran)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files_called(name: &str, below: &Path) -> Result<Vec<std::path::PathBuf>> {
        let mut found = Vec::new();
        for entry in fs_err::read_dir(below)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.extend(files_called(name, &entry.path())?);
            } else if entry.file_name() == name {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    #[test]
    fn layer_that_changes_meanwhile_is_found() -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
        let factory: Arc<dyn DriverFactory> = Arc::new(plain_copy::PlainCopyFactory);
        let place = Place::FileSystem(FileSystemKind::Ext4);
        let asked = (&place, &BTreeMap::new(), Seed::default());
        let stand = match Stand::take(&factory, asked, &Arc::new(runtime))? {
            Ok(stand) => stand,
            Err(reason) => {
                eprintln!("skipped: {reason}");
                return Ok(());
            }
        };
        let attempt = |name: &str, changed: Option<&str>| -> Result<Ran> {
            let place = stand.setting.place.join(name);
            let mut context = Context::new(&stand.setting, place.clone())?;
            let root = context.root().to_owned();
            let ran = on_layers((&stand, &mut context), |subject| {
                subject.dir.file("w/made", "by the suite")?;
                let files = changed.map_or(Ok(Vec::new()), |name| files_called(name, &root))?;
                for file in files {
                    fs_err::write(file, "?")?;
                }
                Ok(Ran {
                    text: String::new(),
                    evidence: Evidence::Content([0; 32]),
                })
            });
            context.shut()?;
            drop(context);
            remove_place(&place)?;
            ran
        };
        attempt("unchanged", None)?;
        let error = attempt("changed", Some("added")).unwrap_err().to_string();
        assert!(error.contains("layer 2 has changed"), "{error}");
        stand.fixture.close()
    }
}
