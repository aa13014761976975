//! A run from its plan to its report.

use crate::bench::cell::{Cell, Making};
use crate::bench::corpus::{Base, Corpora};
use crate::bench::counts::Counts;
use crate::bench::environment::Environment;
use crate::bench::ground::Ground;
use crate::bench::judge::judge;
use crate::bench::measure::Recorder;
use crate::bench::outcome::Outcome;
use crate::bench::plan::{BenchPlan, Profile};
use crate::bench::progress::{Progress, Step};
use crate::bench::report::{
    BenchReport, CellReport, Role, RunFacts, SCHEMA, SelfCheck, Skipped, Stopped,
};
use crate::bench::sample::Sample;
use crate::bench::scheduler::{Schedule, Slot};
use crate::bench::subject::bare_walk;
use crate::bench::syscalls::{SyscallCounter, counter};
use crate::bench::unfit::Unfit;
use crate::bench::workloads::{self, Cache, Run, Workload};
use crate::fixture::clean_leftovers;
use crate::interrupt;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, Write as _};
use std::time::{Duration, Instant, SystemTime};
use strata_driver::{Host, Registry};

/// Widest interval, as half-width over median, that asks for no further block.
const NARROW: f64 = 0.05;

/// Measures what `plan` asks for with the drivers of `registry`.
///
/// Blocks, and must be called outside an async runtime. Called on a program's main thread it
/// gives the program a mount namespace of its own, so that mounts vanish even if it is killed.
/// Results are written to `plan.output` after every block; Ctrl-C ends the run in good order.
///
/// # Errors
/// [`Unfit`] where nothing can be measured; anything else is a failure of the bench itself. What
/// a driver does wrong is no error but part of the report.
pub fn run(
    plan: BenchPlan,
    registry: &Registry,
    progress: &mut dyn Progress,
) -> Result<BenchReport> {
    plan.check()?;
    if !rustix::process::geteuid().is_root() {
        return Err(Unfit::new("loop devices and mounts need root; run it as root").into());
    }
    // In the namespace that has their mounts: a mount that goes with its directory only keeps its
    // loop device, and that the mount.
    for path in clean_leftovers()? {
        tracing::info!(path = %path.display(), "removed what a dead run left");
    }
    if rustix::thread::gettid() == rustix::process::getpid() {
        strata_sys::namespace::unshare_mounts()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    interrupt::listen(&runtime);
    if plan.job.is_some() {
        take_turn()?;
    }
    let mut runner = Runner::set_up(plan, registry, (runtime.handle(), progress))?;
    let stopped = runner.sample_all(progress)?;
    let report = runner.report(stopped);
    report.write(&runner.plan.output)?;
    progress.finish();
    Ok(report)
}

#[derive(Debug)]
struct Runner {
    plan: BenchPlan,
    rows: Vec<Box<dyn Workload>>,
    corpora: Corpora,
    counter: Result<Box<dyn SyscallCounter>, String>,
    environment: Environment,
    skipped: Vec<Skipped>,
    /// By row, then by cell.
    reports: Vec<CellReport>,
    /// By row: what the plain directory gave.
    expected: Vec<Outcome>,
    order: u64,
    blocks: u32,
    start: Instant,
    started_ms: u64,
    sampling: Option<Instant>,
    // Cells before the ground that they stand on.
    cells: Vec<Cell>,
    _ground: Ground,
}

impl Runner {
    fn set_up(
        plan: BenchPlan,
        registry: &Registry,
        (runtime, progress): (&tokio::runtime::Handle, &mut dyn Progress),
    ) -> Result<Self> {
        let start = Instant::now();
        let ground = Ground::take(&plan)?;
        let mut environment = Environment::capture(ground.path());
        progress.note(&format!(
            "seed {}, scratch {}",
            plan.seed,
            ground.path().display()
        ));
        progress.note(&format!("input: {}", plan.rootfs));
        let corpora =
            Corpora::make(&plan.rootfs, ground.path(), plan.seed)?.with_depth(plan.profile);
        let mut rows = workloads::rows(&plan.workloads, plan.profile, corpora.depth, &plan.own)?;
        let mut skipped = Vec::new();
        leave_out_cold_rows(&mut rows, &mut skipped);
        let host = Host::probe();
        let making = Making {
            registry,
            host: &host,
            ground: ground.path(),
            runtime,
        };
        let cells = open_cells(&plan, &making, &mut skipped)?;
        for cell in &cells {
            environment.add(
                "loop-direct-io",
                if cell.bed.direct_io() { "yes" } else { "no" },
            );
            environment.add(format!("mkfs.{}", cell.bed.kind()), cell.bed.mkfs());
            for kind in &cell.mount_types {
                environment.add_module(kind);
            }
        }
        for skip in &skipped {
            progress.note(&format!("skipped: {}: {}", skip.what, skip.reason));
        }
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let mut runner = Self {
            counter: counter(ground.path()),
            expected: vec![Outcome::Nothing; rows.len()],
            reports: empty_reports(&rows, &cells),
            plan,
            rows,
            corpora,
            environment,
            skipped,
            order: 0,
            blocks: 0,
            start,
            started_ms: started.as_millis() as u64,
            sampling: None,
            cells,
            _ground: ground,
        };
        runner.set_up_cells(progress)?;
        Ok(runner)
    }

    /// Makes what the rows stand on, in every cell.
    fn set_up_cells(&mut self, progress: &mut dyn Progress) -> Result<()> {
        let bases: BTreeSet<Base> = self
            .rows
            .iter()
            .flat_map(|row| row.bases())
            .copied()
            .collect();
        for index in 0..self.cells.len() {
            let now = format!("setting up {}", self.shown(index));
            self.tell(progress, &now);
            let cell = &self.cells[index];
            for base in &bases {
                interrupt::check()?;
                self.corpora
                    .set_up(*base, &*cell.subject)
                    .with_context(|| format!("{} cannot be set up", cell.label))?;
            }
            for row in &self.rows {
                interrupt::check()?;
                row.set_up(&*cell.subject).with_context(|| {
                    format!("{} cannot be set up for {}", cell.label, row.label())
                })?;
            }
            cell.bed.drain()?;
        }
        Ok(())
    }

    /// The name of a cell in progress: the twin does not give itself away.
    fn shown(&self, cell: usize) -> String {
        match self.cells[cell].role {
            Role::Twin => "a cell".to_owned(),
            Role::Measured | Role::Control => self.cells[cell].label.clone(),
        }
    }

    fn tell(&self, progress: &mut dyn Progress, now: &str) {
        let per_block = (self.cells.len() * self.rows.len()) as u64;
        let rounds = match self.plan.profile {
            Profile::Smoke => 1,
            Profile::Quick | Profile::Full => self.plan.blocks.max(self.blocks),
        };
        let total = per_block * (1 + u64::from(rounds));
        let left = self.sampling.filter(|_| self.order > 0).map(|since| {
            since
                .elapsed()
                .div_f64(self.order as f64)
                .mul_f64(total.saturating_sub(self.order) as f64)
        });
        progress.step(&Step {
            done: self.order,
            total,
            elapsed: self.start.elapsed(),
            left,
            now,
        });
    }

    fn sample_all(&mut self, progress: &mut dyn Progress) -> Result<Stopped> {
        self.sampling = Some(Instant::now());
        if let Err(reason) = &self.counter {
            progress.note(&format!("system calls are not counted: {reason}"));
        }
        if !self.first_round(progress)? {
            return Ok(Stopped::Interrupted);
        }
        if self.plan.profile == Profile::Smoke {
            return Ok(Stopped::CountsDone);
        }
        let cold = (0..self.rows.len()).filter(|row| self.rows[*row].cache() != Cache::Warm);
        let schedule =
            Schedule::new(self.plan.seed, self.cells.len(), self.rows.len()).keep_together(cold);
        loop {
            if self.plan.job.is_some() {
                take_turn()?;
            }
            for slot in schedule.block(self.blocks) {
                if interrupt::interrupted() {
                    return Ok(Stopped::Interrupted);
                }
                self.timed(slot, progress)?;
            }
            self.blocks += 1;
            if self.environment.get("scratch-file-system") == Some("tmpfs") {
                for cell in &self.cells {
                    cell.bed.trim()?;
                }
            }
            if let Some(stopped) = self.enough() {
                return Ok(stopped);
            }
            self.report(Stopped::Running).write(&self.plan.output)?;
        }
    }

    /// The untimed repetition: counts calls, warms caches, and learns what is right. The control
    /// goes first. False if it was interrupted.
    fn first_round(&mut self, progress: &mut dyn Progress) -> Result<bool> {
        for row in 0..self.rows.len() {
            for cell in (0..self.cells.len()).rev() {
                if interrupt::interrupted() {
                    return Ok(false);
                }
                let now = format!(
                    "counting {} on {}",
                    self.rows[row].label(),
                    self.shown(cell)
                );
                self.tell(progress, &now);
                let slot = Slot { cell, row };
                self.counted(slot)?;
                if self.plan.profile == Profile::Smoke {
                    // A second look: what else happens adds to a count and never takes away.
                    self.counted(slot)?;
                }
            }
        }
        Ok(true)
    }

    fn report_index(&self, slot: Slot) -> usize {
        slot.row * self.cells.len() + slot.cell
    }

    fn counted(&mut self, slot: Slot) -> Result<()> {
        let index = self.report_index(slot);
        let order = self.order;
        self.order += 1;
        let cell = &self.cells[slot.cell];
        let walked = cell.subject.entries_walked();
        let counter = self.counter.as_deref_mut().ok();
        let mut recorder = Recorder::counting(&cell.bed, counter)?;
        let mut run = Run {
            subject: &*cell.subject,
            corpora: &self.corpora,
            recorder: &mut recorder,
            index: order,
            dropped_caches: false,
        };
        let outcome = self.rows[slot.row].sample(&mut run);
        let dropped = run.dropped_caches;
        let device = recorder.device();
        let walked = cell.subject.entries_walked() - walked;
        let syscalls = recorder.syscalls()?;
        let report = &mut self.reports[index];
        report
            .counts
            .push(Counts::new(device, walked, syscalls.as_ref()));
        report.syscalls = syscalls;
        self.after(slot, outcome, dropped).map(drop)
    }

    fn timed(&mut self, slot: Slot, progress: &mut dyn Progress) -> Result<()> {
        let index = self.report_index(slot);
        let now = format!(
            "block {} of {}: {} on {}",
            self.blocks + 1,
            self.plan.blocks.max(self.blocks + 1),
            self.rows[slot.row].label(),
            self.shown(slot.cell)
        );
        self.tell(progress, &now);
        let order = self.order;
        self.order += 1;
        if self.reports[index].incorrect.is_some() {
            return Ok(()); // it has no speed
        }
        self.warm(slot)?;
        let cell = &self.cells[slot.cell];
        let t0_ns = self.start.elapsed().as_nanos() as u64;
        let walked = cell.subject.entries_walked();
        let mut recorder = Recorder::timed(&cell.bed);
        let mut run = Run {
            subject: &*cell.subject,
            corpora: &self.corpora,
            recorder: &mut recorder,
            index: order,
            dropped_caches: false,
        };
        let outcome = self.rows[slot.row].sample(&mut run);
        let dropped = run.dropped_caches;
        let measured = recorder.measured();
        let entries_walked = cell.subject.entries_walked() - walked;
        let Some(digest) = self.after(slot, outcome, dropped)? else {
            return Ok(());
        };
        self.reports[index].samples.push(Sample {
            block: self.blocks,
            order,
            t0_ns,
            ns: measured.ns(),
            dev_write: measured.device_bytes(),
            entries_walked,
            digest,
            measured,
        });
        Ok(())
    }

    /// Fills caches that a sample of another cell emptied.
    fn warm(&mut self, slot: Slot) -> Result<()> {
        let cell = &mut self.cells[slot.cell];
        if cell.cold && self.rows[slot.row].cache() == Cache::Warm {
            bare_walk(cell.bed.path(), &mut 0)?;
            cell.cold = false;
        }
        Ok(())
    }

    /// Judges what came out. Its digest, or nothing if it was wrong.
    fn after(
        &mut self,
        slot: Slot,
        outcome: Result<Outcome>,
        dropped: bool,
    ) -> Result<Option<String>> {
        if dropped {
            for cell in &mut self.cells {
                cell.cold = true;
            }
        }
        let expected = &mut self.expected[slot.row];
        let fault = match &outcome {
            Ok(outcome) => outcome.fault(expected),
            Err(error) => Some(format!("it failed: {error:#}")),
        };
        if let Some(fault) = fault {
            ensure!(
                self.cells[slot.cell].role != Role::Control,
                "the control itself is wrong on {}: {fault}",
                self.rows[slot.row].label()
            );
            let index = self.report_index(slot);
            self.reports[index].incorrect = Some(fault);
            return Ok(None);
        }
        let outcome = outcome?;
        let digest = outcome.digest();
        if matches!(expected, Outcome::Nothing) {
            *expected = outcome;
        }
        Ok(Some(digest))
    }

    /// Whether the run may end, and why.
    fn enough(&mut self) -> Option<Stopped> {
        if self.blocks < self.plan.blocks {
            return None;
        }
        if self.blocks >= self.plan.most_blocks {
            return Some(Stopped::BlocksDone);
        }
        judge(&mut self.reports, self.plan.seed);
        let narrow = self.reports.iter().all(|report| {
            let ratio = report
                .summary
                .as_ref()
                .and_then(|summary| summary.ratio_control);
            ratio.is_none_or(|ratio| ratio.half_width() < NARROW)
        });
        if narrow {
            return Some(Stopped::IntervalsNarrow);
        }
        let since = self
            .sampling
            .map_or(Duration::ZERO, |since| since.elapsed());
        let block = since / (self.blocks + 1);
        (self.start.elapsed() + block > self.plan.budget).then_some(Stopped::BudgetSpent)
    }

    fn report(&mut self, stopped: Stopped) -> BenchReport {
        let aa: SelfCheck = judge(&mut self.reports, self.plan.seed);
        let syscalls = match &self.counter {
            Ok(counter) => format!("counted by {}", counter.method()),
            Err(reason) => format!("not counted: {reason}"),
        };
        BenchReport {
            schema: SCHEMA,
            run: RunFacts {
                seed: self.plan.seed,
                started_ms: self.started_ms,
                seconds: self.start.elapsed().as_secs_f64(),
                blocks: self.blocks,
                stopped,
                profile: self.plan.profile,
                input: self.corpora.description.clone(),
                command: self.plan.command.clone(),
                git: self.plan.revision.clone(),
                job: self.plan.job.clone(),
                syscalls,
                fingerprint: self.environment.fingerprint(),
                env: self.environment.clone(),
            },
            cells: self.reports.clone(),
            aa,
            skipped: self.skipped.clone(),
        }
    }
}

/// Waits until whoever runs several versions says that it is this one's turn.
fn take_turn() -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(b"turn\n")?;
    stdout.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    ensure!(!line.is_empty(), "whoever gave the turns is gone");
    Ok(())
}

/// Rows that need what only the owner of the machine may do.
fn leave_out_cold_rows(rows: &mut Vec<Box<dyn Workload>>, skipped: &mut Vec<Skipped>) {
    let switch = "/proc/sys/vm/drop_caches";
    let Err(error) = fs_err::OpenOptions::new().write(true).open(switch) else {
        return;
    };
    rows.retain(|row| {
        let warm = row.cache() == Cache::Warm;
        if !warm {
            skipped.push(Skipped {
                what: row.label(),
                reason: format!("caches cannot be emptied here: {error}"),
            });
        }
        warm
    });
}

/// The measured cells, the twin of one of them, and the control last.
fn open_cells(
    plan: &BenchPlan,
    making: &Making<'_>,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for spec in &plan.cells {
        interrupt::check()?;
        match Cell::open(making, spec, Role::Measured) {
            Ok(cell) => cells.push(cell),
            Err(error) if error.is::<Unfit>() => return Err(error),
            Err(error) => skipped.push(Skipped {
                what: spec.label(),
                reason: format!("{error:#}"),
            }),
        }
    }
    if cells.is_empty() {
        let reasons: Vec<_> = skipped
            .iter()
            .map(|skip| format!("{}: {}", skip.what, skip.reason))
            .collect();
        return Err(Unfit::new(format!("no cell can run here: {}", reasons.join("; "))).into());
    }
    if plan.profile == Profile::Smoke {
        cells.push(Cell::control(making)?);
        return Ok(cells); // counts need no twin
    }
    // The middle one: which it is does not depend on who is fast.
    let middle = cells[cells.len() / 2].spec.clone();
    if let Some(spec) = middle {
        cells.push(Cell::open(making, &spec, Role::Twin)?);
    }
    cells.push(Cell::control(making)?);
    Ok(cells)
}

fn empty_reports(rows: &[Box<dyn Workload>], cells: &[Cell]) -> Vec<CellReport> {
    let one = |row: &dyn Workload, cell: &Cell| CellReport {
        workload: row.name().to_owned(),
        cache: row.cache(),
        params: row
            .parameters()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        cell: cell.label.clone(),
        role: cell.role,
        driver: cell.spec.as_ref().map(|spec| spec.driver.clone()),
        fs: cell.bed.kind().to_owned(),
        mkfs: cell.bed.mkfs().to_owned(),
        opts: cell
            .spec
            .as_ref()
            .map_or_else(BTreeMap::new, |spec| spec.settings.clone()),
        durability: cell.spec.as_ref().map(|spec| spec.durability),
        samples: Vec::new(),
        syscalls: None,
        counts: Vec::new(),
        summary: None,
        incorrect: None,
    };
    rows.iter()
        .flat_map(|row| cells.iter().map(|cell| one(&**row, cell)))
        .collect()
}
