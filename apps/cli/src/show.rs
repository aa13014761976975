//! `strata config show`: what holds and where each value came from.

use crate::bench::{self, Asked};
use crate::config::{Origin, Setting, Settings};
use crate::flags::{ConfigCommand, ConfigFlags};
use crate::opening;
use std::io::Write as _;
use std::process::ExitCode;
use strata_driver::{Host, Registry};

pub(crate) fn run(
    flags: &ConfigFlags,
    settings: &Settings,
    registry: &Registry,
) -> anyhow::Result<ExitCode> {
    let ConfigCommand::Show = flags.command;
    let bench = Asked::load(None, settings, registry)?;
    let mut out = std::io::stdout().lock();
    let mut line =
        |key: &str, value: &str, origin: &str| writeln!(out, "{key}: {value}  # {origin}");
    match &settings.file_path {
        Some(path) => line("config", &path.display().to_string(), "read")?,
        None => line("config", "~", "no configuration file")?,
    }
    let root = &settings.root;
    line(
        "root",
        &root.value.display().to_string(),
        &root.origin.to_string(),
    )?;
    match opening::choose(
        &opening::driver_root(settings)?,
        settings,
        registry,
        &Host::probe(),
    ) {
        Ok(Setting { value, origin }) => line("driver", &value, &origin.to_string())?,
        Err(error) => line("driver", "~", &format!("{error:#}"))?,
    }
    let durability = &settings.durability;
    line(
        "durability",
        durability.value.as_str(),
        &durability.origin.to_string(),
    )?;
    for factory in registry.factories() {
        let name = factory.name().to_string();
        for option in factory.options() {
            let given = settings
                .options
                .get(&name)
                .and_then(|options| options.get(option.key));
            let key = format!("drivers.{name}.{}", option.key);
            match given {
                Some(setting) => line(&key, &setting.value, &setting.origin.to_string())?,
                None => line(&key, option.default, "default")?,
            }
        }
    }
    for (key, value, origin) in bench_lines(&bench) {
        line(key, &value, &origin.to_string())?;
    }
    let workloads: Vec<_> = settings
        .file
        .workloads
        .iter()
        .map(|workload| workload.name.as_str())
        .collect();
    if !workloads.is_empty() {
        line("workloads", &workloads.join(", "), "configuration file")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The keys of a bench as the file has them.
fn bench_lines(asked: &Asked) -> [(&'static str, String, &Origin); 5] {
    let cells: Vec<_> = asked.cells.value.iter().map(bench::written).collect();
    let Asked {
        profile,
        blocks,
        seed,
        cells: Setting { origin, .. },
        output,
    } = asked;
    [
        (
            "bench.profile",
            profile.value.as_str().to_owned(),
            &profile.origin,
        ),
        ("bench.blocks", blocks.value.to_string(), &blocks.origin),
        ("bench.seed", seed.value.to_string(), &seed.origin),
        ("bench.cells", format!("{cells:?}"), origin),
        (
            "bench.output",
            output.value.display().to_string(),
            &output.origin,
        ),
    ]
}
