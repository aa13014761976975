//! `strata bench`: drivers side by side on this host.

use crate::compare;
use crate::config::{Origin, Setting, Settings};
use crate::flags::BenchFlags;
use anyhow::{Context as _, bail};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use strata_driver::Registry;
use strata_harness::bench::compare::{Baseline, Recorded, show};
use strata_harness::bench::{
    self, BenchPlan, BenchReport, CellSpec, MIN_BLOCKS, Profile, RootfsSource,
};
use strata_harness::bench::{export, floors, progress};

/// What is compared when nothing else is asked for. A driver that this build lacks is skipped
/// with its reason.
const CELLS: &[&str] = &[
    "vfs:ext4",
    "vfs:xfs",
    "vfs:btrfs",
    "overlay:ext4",
    "overlay:xfs",
    "overlay:btrfs",
    "btrfs:btrfs",
];

/// Whether a build of this command may have a driver called `name`; any other name is a mistake.
fn is_known(name: &str) -> bool {
    let drivers = CELLS.iter().filter_map(|cell| cell.split(':').next());
    drivers.into_iter().any(|driver| driver == name)
}

/// What the configuration can say of a bench, and where it came from.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) profile: Setting<Profile>,
    pub(crate) blocks: Setting<u32>,
    pub(crate) seed: Setting<u64>,
    pub(crate) cells: Setting<Vec<CellSpec>>,
    pub(crate) output: Setting<PathBuf>,
}

impl Asked {
    /// Puts flags, if this is a bench, and the file together; refuses what no bench could run.
    pub(crate) fn load(
        flags: Option<&BenchFlags>,
        settings: &Settings,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let file = &settings.file.bench;
        let cells = flags.map(|flags| flags.cells.clone());
        let defaults = CELLS.iter().map(|cell| (*cell).to_owned()).collect();
        let profile = settings
            .first(
                ("--profile", flags.and_then(|flags| flags.profile.clone())),
                file.profile.clone(),
                Profile::default().as_str().to_owned(),
            )
            .read("bench.profile", |name| name.parse::<Profile>())?;
        Ok(Self {
            blocks: settings
                .first(
                    ("--blocks", flags.and_then(|flags| flags.blocks)),
                    file.blocks,
                    MIN_BLOCKS,
                )
                .read("bench.blocks", |blocks| {
                    profile.value.check_blocks(blocks).map(|()| blocks)
                })?,
            seed: settings.first(("--seed", flags.and_then(|flags| flags.seed)), file.seed, 1),
            cells: settings
                .first(
                    ("--cell", cells.filter(|cells| !cells.is_empty())),
                    file.cells.clone(),
                    defaults,
                )
                .read("bench.cells", |texts| read_cells(&texts, registry))?,
            output: settings.first(
                ("--output", flags.and_then(|flags| flags.output.clone())),
                file.output.clone(),
                PathBuf::from("strata-bench"),
            ),
            profile,
        })
    }
}

/// Reads cells of drivers that a build of this command may have.
fn read_cells(texts: &[String], registry: &Registry) -> anyhow::Result<Vec<CellSpec>> {
    let cells: Vec<CellSpec> = texts
        .iter()
        .map(|cell| cell.parse())
        .collect::<Result<_, _>>()?;
    for (cell, text) in cells.iter().zip(texts) {
        if !is_known(&cell.driver) {
            let known = registry.get(&cell.driver);
            known.with_context(|| format!("`{text}` is no cell"))?;
        }
    }
    CellSpec::check_all(&cells)?;
    Ok(cells)
}

/// The exit code of an interrupted run.
const INTERRUPTED: u8 = 130;

/// Flags that other commands take and a bench of several cells does not.
fn refuse_ignored(settings: &Settings) -> anyhow::Result<()> {
    let given = [
        settings.driver.as_ref().map(|driver| &driver.origin),
        Some(&settings.durability.origin),
    ];
    for origin in given.into_iter().flatten() {
        if let Origin::Flag(flag) = origin {
            anyhow::bail!(
                "`{flag}` means nothing to a bench of several cells; name what to compare by \
                 `--cell DRIVER:FILESYSTEM[,KEY=VALUE...]`, the durability class among the keys"
            );
        }
    }
    Ok(())
}

pub(crate) fn run(
    flags: &BenchFlags,
    settings: &Settings,
    registry: &Registry,
) -> anyhow::Result<ExitCode> {
    refuse_ignored(settings)?;
    if let Some(name) = &flags.floor {
        return floor(name, flags, registry);
    }
    let baseline = match flags.baseline.as_deref().map(Recorded::read).transpose() {
        Ok(baseline) => baseline,
        Err(error) => {
            crate::show_error(&error);
            return Ok(ExitCode::from(3));
        }
    };
    let plan = plan(flags, settings, registry)?;
    let output = plan.output.clone();
    let silent = plan.job.is_some(); // standard output is for turns
    let outcome = bench::run(plan, registry, progress::on_stderr().as_mut());
    let mut code = bench::exit_code(&outcome);
    match outcome {
        Ok(report) => {
            if report.run.profile == Profile::Smoke {
                say(&show::counts(&report))?;
            } else if !silent {
                say(&export::table::render(&report))?;
            }
            if code != INTERRUPTED {
                code = against(&report, baseline.as_ref(), (flags, &output))?.unwrap_or(code);
            }
            eprintln!(
                "results: {} and {}",
                output.join("results.json").display(),
                output.join("summary.md").display()
            );
        }
        Err(error) => crate::show_error(&error),
    }
    Ok(ExitCode::from(code))
}

/// Compares the run with `baseline` or makes one of it, if the flags want that.
fn against(
    report: &BenchReport,
    baseline: Option<&Recorded>,
    (flags, output): (&BenchFlags, &Path),
) -> anyhow::Result<Option<u8>> {
    let run = || Recorded::parse(&export::json::render(report)?);
    if let Some(path) = &flags.write_baseline {
        Baseline::of(&run()?)?.write(path)?;
        eprintln!("baseline: {}", path.display());
    }
    let Some(baseline) = baseline else {
        return Ok(None);
    };
    let mut new = run()?;
    new.name = format!("this run{}", new.name);
    let found = compare::hold(baseline, &new, &flags.gate);
    compare::report(&found, Some(&output.join("compare.md")))?;
    Ok(Some(found.exit_code()))
}

fn plan(flags: &BenchFlags, settings: &Settings, registry: &Registry) -> anyhow::Result<BenchPlan> {
    let asked = Asked::load(Some(flags), settings, registry)?;
    let mut plan = BenchPlan::new(asked.cells.value, asked.output.value);
    plan.workloads.clone_from(&flags.workloads);
    plan.own.clone_from(&settings.file.workloads);
    plan.profile = asked.profile.value;
    plan.budget = plan.profile.budget();
    plan.blocks = asked.blocks.value;
    plan.most_blocks = plan.blocks;
    plan.seed = asked.seed.value;
    plan.rootfs = match rootfs(flags)? {
        RootfsSource::SeededCorpus if plan.profile == Profile::Smoke => RootfsSource::SmallCorpus,
        source => source,
    };
    plan.device.clone_from(&flags.device);
    plan.scratch.clone_from(&flags.scratch);
    plan.job.clone_from(&flags.in_turn);
    plan.command = repeat(&plan);
    plan.revision = option_env!("STRATA_REVISION").map(str::to_owned);
    Ok(plan)
}

fn rootfs(flags: &BenchFlags) -> anyhow::Result<RootfsSource> {
    let Some(path) = &flags.rootfs else {
        return Ok(RootfsSource::SeededCorpus);
    };
    let present = |path: &Path| {
        fs_err::metadata(path)
            .context("the root file system cannot be read")
            .map(|meta| {
                (
                    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
                    meta.is_dir(),
                )
            })
    };
    let (base, is_directory) = present(path)?;
    if is_directory {
        if !flags.rootfs_layers.is_empty() {
            bail!("`--rootfs-layer` goes with a tar, not with a directory");
        }
        return Ok(RootfsSource::Directory(base));
    }
    let layers = flags
        .rootfs_layers
        .iter()
        .map(|layer| present(layer).map(|(path, _)| path))
        .collect::<Result<_, _>>()?;
    Ok(RootfsSource::Tar { base, layers })
}

/// A cell as it is written on the command line and in the file.
pub(crate) fn written(cell: &CellSpec) -> String {
    let mut parts = vec![format!("{}:{}", cell.driver, cell.file_system)];
    parts.extend(
        cell.settings
            .iter()
            .map(|(key, value)| format!("{key}={value}")),
    );
    if cell.durability != strata_driver::Durability::default() {
        parts.push(format!("durability={}", cell.durability.as_str()));
    }
    parts.join(",")
}

/// The command line that gives the same run again, with everything that defaults filled in.
fn repeat(plan: &BenchPlan) -> String {
    let mut words = vec!["strata bench".to_owned()];
    let cells = plan.cells.iter();
    words.extend(cells.map(|cell| format!("--cell {}", written(cell))));
    words.extend(
        plan.workloads
            .iter()
            .map(|name| format!("--workload {name}")),
    );
    words.push(format!("--blocks {} --seed {}", plan.blocks, plan.seed));
    words.push(format!("--profile {}", plan.profile.as_str()));
    match &plan.rootfs {
        RootfsSource::Tar { base, layers } => {
            words.push(format!("--rootfs {}", base.display()));
            words.extend(
                layers
                    .iter()
                    .map(|path| format!("--rootfs-layer {}", path.display())),
            );
        }
        RootfsSource::Directory(path) => words.push(format!("--rootfs {}", path.display())),
        RootfsSource::SeededCorpus | RootfsSource::SmallCorpus => {}
    }
    words.join(" ")
}

/// Measures a driver against what the kernel and the usual tools need for the same work.
fn floor(name: &str, flags: &BenchFlags, registry: &Registry) -> anyhow::Result<ExitCode> {
    if name == "list" {
        for name in floors::floor_names() {
            say(&format!("{name}\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut plan = floors::FloorPlan::new("overlay", "vfs");
    plan.snapshotting = registry.get("btrfs").is_ok().then(|| "btrfs".to_owned());
    if name != "all" {
        plan.floors = name.split(',').map(str::to_owned).collect();
    }
    plan.rootfs = rootfs(flags)?;
    if let Some(seed) = flags.seed {
        plan.seed = seed;
    }
    if let Some(rounds) = flags.blocks {
        plan.rounds = rounds;
    }
    plan.scratch.clone_from(&flags.scratch);
    let outcomes = floors::run_floors(&plan, registry, progress::on_stderr().as_mut())?;
    say(&floors::render(&outcomes))?;
    Ok(if outcomes.iter().all(floors::FloorOutcome::is_met) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

fn say(text: &str) -> anyhow::Result<()> {
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}
