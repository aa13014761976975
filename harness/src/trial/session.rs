//! Property tests as people run them: every driver alone, then one script on all of them.

use super::campaign::{self, Campaign, Extent, Found};
use super::laws::Law;
use super::run::{Report, run as run_script};
use super::tally::Tally;
use super::{Failure, table};
use crate::case::{Group, Verdict};
use crate::conformance::{DriverSummary, Place, Progress, Summary, say};
use crate::fixture::{FileSystemKind, clean_leftovers};
use crate::interrupt;
use crate::model::operation::Operation;
use crate::model::quirks::Bent;
use crate::model::text::render_script;
use crate::report::junit;
use crate::runner;
use crate::seed::Seed;
use crate::stand::Stand;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_driver::{DriverFactory, QuirkSet};

/// What all drivers together are called in output.
const ALL: &str = "all";

/// What is run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Scripts drawn, for each driver and then for all together; none for replays only.
    pub extent: Option<Extent>,
    /// Scripts to run first, with their names.
    pub replays: Vec<(String, Vec<Operation>)>,
    /// Drivers that must be available.
    pub require: Vec<String>,
    /// Where to work.
    pub place: Place,
    /// Where scripts come from.
    pub seed: Seed,
    /// Settings for every opening of a driver.
    pub settings: BTreeMap<String, String>,
    /// Where a script that fails is put; none for nowhere.
    pub scripts: Option<PathBuf>,
    /// Where to write `JUnit` XML.
    pub junit: Option<PathBuf>,
    /// Where to write JSON.
    pub json: Option<PathBuf>,
    /// What is printed meanwhile.
    pub progress: Progress,
    /// How long a failing script is made smaller.
    pub patience: Duration,
}

impl Options {
    /// Nothing yet, on a fresh ext4.
    pub fn new(place: Place) -> Self {
        Self {
            extent: None,
            replays: Vec::new(),
            require: Vec::new(),
            place,
            seed: Seed::default(),
            settings: BTreeMap::new(),
            scripts: None,
            junit: None,
            json: None,
            progress: Progress::default(),
            patience: Duration::from_mins(2),
        }
    }
}

/// What became of one driver, or of all together.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Line {
    /// The driver; `all` for one script on all of them.
    pub driver: String,
    /// The file system that it stood on.
    pub backing: String,
    /// Why nothing was run.
    pub skipped: Option<String>,
    /// Scripts that ran.
    pub cases: u64,
    /// What was done and looked at.
    pub tally: Tally,
    /// Digest over all operations and verdicts: the same seed gives the same.
    pub digest: String,
    /// The laws that were broken, and how.
    pub failures: BTreeMap<Law, Vec<String>>,
    /// Why too little was done for a verdict.
    pub shortfall: Option<String>,
    /// Wall time in seconds.
    pub seconds: f64,
}

impl Line {
    fn new(driver: &str, backing: &str) -> Self {
        Self {
            driver: driver.to_owned(),
            backing: backing.to_owned(),
            skipped: None,
            cases: 0,
            tally: Tally::default(),
            digest: String::new(),
            failures: BTreeMap::new(),
            shortfall: None,
            seconds: 0.0,
        }
    }
}

/// Runs everything, prints a table of laws by driver, writes the reports.
pub fn run(factories: &[Arc<dyn DriverFactory>], options: &Options) -> Result<Summary> {
    let runtime = interrupt::runtime()?;
    let mut session = Session {
        options,
        lines: Vec::new(),
    };
    let missing = match &options.place {
        Place::FileSystem(kind) => kind
            .missing()
            .map(|missing| format!("no {kind} fixture: {missing}")),
        Place::Directory(_) => None,
    };
    if missing.is_none() {
        clean_leftovers()?;
    }
    let mut ready = Vec::new();
    for factory in factories {
        let made = match &missing {
            Some(reason) => Err(reason.clone()),
            None => Stand::take(
                factory,
                (&options.place, &options.settings, options.seed),
                &runtime,
            )?,
        };
        match made {
            Ok(subject) => ready.push(subject),
            Err(reason) => session.skip(factory.name().as_str(), reason),
        }
    }
    for subject in &ready {
        if !interrupt::interrupted() {
            session.alone(subject)?;
        }
    }
    if ready.len() > 1 && !interrupt::interrupted() {
        session.together(&ready)?;
    }
    for subject in ready {
        subject.fixture.close()?;
    }
    session.end()
}

struct Session<'a> {
    options: &'a Options,
    lines: Vec<Line>,
}

impl Session<'_> {
    fn skip(&mut self, driver: &str, reason: String) {
        let mut line = Line::new(driver, "none");
        line.skipped = Some(reason);
        self.lines.push(line);
    }

    fn say(&self, text: &str) {
        if self.options.progress != Progress::Silent {
            say(text);
        }
    }

    fn alone(&mut self, subject: &Stand) -> Result<()> {
        let bent = Bent::declared(subject.capabilities.quirks.clone());
        let driver = subject.setting.factory.name().to_string();
        let mut line = Line::new(&driver, &subject.backing);
        let started = Instant::now();
        for (name, operations) in &self.options.replays {
            let place = subject.setting.place.join("trial");
            let report = match run_script(operations, &subject.setting, &bent, &place) {
                Err(_) if interrupt::interrupted() => break,
                report => report?,
            };
            self.count_replay(&mut line, (name, operations), report);
        }
        if let (Some(extent), true) = (self.options.extent, line.failures.is_empty()) {
            let campaign = Campaign {
                seed: self.options.seed,
                extent,
                bent,
                patience: self.options.patience,
            };
            let mut told = Instant::now();
            let outcome = campaign::run(&campaign, &subject.setting, |cases, tally, elapsed| {
                self.progress(&mut told, &table::progress(&driver, cases, tally, elapsed));
            })?;
            self.count(&mut line, outcome)?;
        }
        line.seconds = started.elapsed().as_secs_f64();
        self.lines.push(line);
        Ok(())
    }

    /// One script on every driver: equal layers, whatever stores them.
    fn together(&mut self, subjects: &[Stand]) -> Result<()> {
        let quirks: QuirkSet = subjects
            .iter()
            .flat_map(|one| one.capabilities.quirks.clone())
            .collect();
        let bent = Bent::avoided(quirks);
        let mut line = Line::new(ALL, &subjects[0].backing);
        let started = Instant::now();
        for (name, operations) in &self.options.replays {
            let report = match on_all(operations, subjects, &bent) {
                Err(_) if interrupt::interrupted() => break,
                report => report?,
            };
            self.count_replay(&mut line, (name, operations), report);
        }
        if let (Some(extent), true) = (self.options.extent, line.failures.is_empty()) {
            let campaign = Campaign {
                // Other scripts than the drivers had alone.
                seed: Seed(self.options.seed.0 ^ 0x5eed),
                // Each costs as much as one of every driver's own.
                extent: match extent {
                    Extent::Cases(cases) => Extent::Cases(cases.div_ceil(4)),
                    Extent::Time(time) => Extent::Time(time / 4),
                },
                bent: bent.clone(),
                patience: self.options.patience,
            };
            let attempt = |operations: &[Operation]| on_all(operations, subjects, &bent);
            let mut told = Instant::now();
            let outcome = campaign::run_by(&campaign, attempt, |cases, tally, elapsed| {
                self.progress(&mut told, &table::progress(ALL, cases, tally, elapsed));
            })?;
            self.count(&mut line, outcome)?;
        }
        line.seconds = started.elapsed().as_secs_f64();
        self.lines.push(line);
        Ok(())
    }

    /// Takes in what came of a script of a file.
    fn count_replay(
        &self,
        line: &mut Line,
        (name, operations): (&str, &[Operation]),
        report: Report,
    ) {
        line.cases += 1;
        line.tally.add(&report.tally);
        let verdict = if report.failure.is_some() {
            "FAILED"
        } else {
            "ok"
        };
        self.say(&format!(
            "{}:{} {name} ... {verdict}\n",
            line.driver, line.backing
        ));
        if let Some(failure) = report.failure {
            let text = format!(
                "{name}, operation {} (`{}`): {}",
                failure.line + 1,
                operations[failure.line],
                failure.text
            );
            line.failures.entry(failure.law).or_default().push(text);
        }
    }

    /// Takes in what came of a campaign.
    fn count(&self, line: &mut Line, outcome: campaign::Outcome) -> Result<()> {
        line.cases += outcome.cases;
        line.tally.add(&outcome.tally);
        line.digest = outcome.digest;
        if let Some(found) = outcome.found {
            let text = self.tell(&line.driver, &found)?;
            line.failures
                .entry(found.failure.law)
                .or_default()
                .push(text);
        } else {
            line.shortfall = line.tally.shortfall();
        }
        Ok(())
    }

    fn progress(&self, told: &mut Instant, text: &str) {
        if self.options.progress == Progress::Lines && told.elapsed().as_secs() >= 10 {
            *told = Instant::now();
            say(text);
        }
    }

    /// A failing script for people, and where it was put.
    fn tell(&self, driver: &str, found: &Found) -> Result<String> {
        let seed = self.options.seed;
        let text = format!(
            "# {driver}, seed {seed}, script {}: operation {} breaks the law `{}`\n# {}\n{}",
            found.case,
            found.failure.line + 1,
            found.failure.law.as_str(),
            found.failure.text.replace('\n', "\n# "),
            render_script(&found.script)
        );
        let mut told = format!(
            "script {} of seed {seed}, after {:.1} s, cut to {} lines, at line {}: {}\n{text}",
            found.case,
            found.after.as_secs_f64(),
            found.script.len(),
            found.failure.line + 1,
            found.failure.text
        );
        if let Some(directory) = &self.options.scripts {
            fs_err::create_dir_all(directory)?;
            let path = directory.join(format!("{driver}-{seed}-{}.script", found.case));
            fs_err::write(&path, text)?;
            let path = path.display();
            let how = self.how(driver);
            writeln!(told, "repeat: strata verify{how} --replay {path}")?;
        }
        Ok(told)
    }

    /// The flags that say where and how this ran.
    fn how(&self, driver: &str) -> String {
        let mut flags = Vec::new();
        if driver != ALL {
            flags.push(format!(" --driver {driver}"));
        }
        match &self.options.place {
            Place::FileSystem(FileSystemKind::Ext4) => {}
            Place::FileSystem(kind) => flags.push(format!(" --file-system {kind}")),
            Place::Directory(path) => flags.push(format!(" --directory {}", path.display())),
        }
        let settings = self.options.settings.iter();
        flags.extend(settings.map(|(key, value)| format!(" -o {key}={value}")));
        flags.concat()
    }

    fn end(self) -> Result<Summary> {
        let summary = self.summary();
        if self.options.progress != Progress::Silent {
            say(&table::render(&self.lines));
            say(&summary.render());
        }
        if let Some(path) = &self.options.junit {
            fs_err::write(path, junit::render(&summary))?;
        }
        if let Some(path) = &self.options.json {
            fs_err::write(path, serde_json::to_vec_pretty(&self.lines)?)?;
        }
        Ok(summary)
    }

    /// Each law of each driver as a case.
    fn summary(&self) -> Summary {
        let mut summary = Summary {
            seed: self.options.seed.0,
            interrupted: interrupt::interrupted(),
            ..Summary::default()
        };
        for line in &self.lines {
            let verdict = |law: Law| match (line.failures.get(&law), &line.skipped) {
                (Some(texts), _) => Verdict::Failed(texts.join("\n")),
                (_, Some(reason)) => Verdict::Skipped(reason.clone()),
                _ if line.tally.laws.contains_key(&law) => Verdict::Passed,
                _ => Verdict::Skipped("not held: nothing of the kind was run".to_owned()),
            };
            let outcomes = Law::ALL.iter().map(|law| runner::Outcome {
                case: format!("law_{}", law.as_str()).into(),
                group: Group::Law,
                verdict: verdict(*law),
                inverted: None,
                elapsed: Duration::from_secs_f64(line.seconds / Law::ALL.len() as f64),
            });
            let required = self.options.require.contains(&line.driver);
            if let (true, Some(reason)) = (required, &line.skipped) {
                let text = format!("required driver `{}`: {reason}", line.driver);
                summary.failures.push(text);
            }
            if let Some(shortfall) = &line.shortfall {
                let text = format!("`{}`: {shortfall}", line.driver);
                summary.failures.push(text);
            }
            summary.drivers.push(DriverSummary {
                driver: line.driver.clone(),
                backing: line.backing.clone(),
                outcomes: outcomes.collect(),
            });
        }
        summary
    }
}

/// Runs a script on every driver. Where one fails, or gives other layers than the first, that is
/// what came of it.
fn on_all(operations: &[Operation], subjects: &[Stand], bent: &Bent) -> Result<Report> {
    let mut all = Report::default();
    let mut first = None;
    for subject in subjects {
        let driver = subject.setting.factory.name();
        let place = subject.setting.place.join("trial");
        let report = run_script(operations, &subject.setting, bent, &place)?;
        all.tally.add(&report.tally);
        if let Some(mut failure) = report.failure {
            failure.text = format!("on {driver}: {}", failure.text);
            all.failure = Some(failure);
            break;
        }
        let Some(other) = &first else {
            (first, all.diffs) = (Some(driver), report.diffs);
            continue;
        };
        if report.diffs != all.diffs {
            let text = format!(
                "{driver} gives the layers {:?}, {other} {:?}",
                report.diffs, all.diffs
            );
            all.failure = Some(Failure {
                line: operations.len().saturating_sub(1),
                law: Law::Diff,
                text,
            });
            break;
        }
    }
    Ok(all)
}
