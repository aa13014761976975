//! What was measured, as Markdown.

use super::measure::Cost;
use super::registry::Layer;
use super::subject::{FLOOR, STORED, Strata, Subject};
use super::tree::direct;
use crate::spread::Spread;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use xshell::{Shell, cmd};

/// What the numbers are true of.
pub(super) fn facts(
    sh: &Shell,
    tools: &Path,
    image: &str,
    layers: &[Layer],
) -> anyhow::Result<String> {
    let kernel = cmd!(sh, "uname -sr").quiet().read()?;
    let processors = std::thread::available_parallelism()?;
    let bytes: u64 = layers.iter().map(|layer| layer.size).sum();
    let count = layers.len();
    let mut text = format!(
        "`{image}`: {count} layers, {} MB gzip, from a registry on this host; {kernel}, \
         {processors} processors. CPU is of client and daemon; wall of what is no daemon has the \
         tenth of a second in it that entering its tree takes. \
         *kept* is the floor with the blobs kept and everything synced.\n",
        bytes / 1_000_000
    );
    for program in ["skopeo", "podman", "containerd", "docker"] {
        // Not all say their version in the same way; none is an error.
        let said = direct(tools, program)?.arg("--version").output()?;
        let said = String::from_utf8_lossy(&said.stdout);
        if let Some(line) = said.lines().next() {
            writeln!(text, "- {line}").expect("a string takes all that is written");
        }
    }
    Ok(text)
}

/// One line for each peer, in their order.
pub(super) fn markdown(
    subjects: &[(&Subject, Option<Strata>)],
    costs: &BTreeMap<String, Vec<Option<Cost>>>,
) -> String {
    let mut text = String::from(
        "| peer | n | wall s | cpu s | wall/floor | cpu/floor | wall/kept | cpu/kept | MiB |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let nothing = Vec::new();
    let [floor, kept] = [FLOOR, STORED].map(|name| costs.get(name).unwrap_or(&nothing));
    for (subject, strata) in subjects {
        let name = strata.as_ref().map_or_else(
            || subject.name.to_owned(),
            |strata| format!("{} {}", subject.name, strata.driver),
        );
        let own = costs.get(&name).unwrap_or(&nothing);
        let of = |part: fn(&Cost) -> f64| Spread::of(own.iter().flatten().map(part).collect());
        let ratio = |part: fn(&Cost) -> f64, floor: &[Option<Cost>]| {
            let pairs = own.iter().zip(floor);
            let both = pairs.filter_map(|(own, floor)| Some((own.as_ref()?, floor.as_ref()?)));
            Spread::of(both.map(|(own, floor)| part(own) / part(floor)).collect())
        };
        let count = own.iter().flatten().count();
        let [wall, cpu] = [of(|cost| cost.wall), of(|cost| cost.cpu)];
        let ratios = [floor, kept].map(|floor| {
            [
                ratio(|cost| cost.wall, floor),
                ratio(|cost| cost.cpu, floor),
            ]
        });
        let disk = of(|cost| cost.mebibytes as f64)
            .map_or_else(String::new, |spread| format!("{:.0}", spread.median));
        let show = |spread: Option<Spread>| {
            spread.map_or_else(
                || "failed".to_owned(),
                |Spread {
                     median,
                     least,
                     most,
                 }| format!("{median:.2} [{least:.2}-{most:.2}]"),
            )
        };
        let [[wall_ratio, cpu_ratio], [wall_kept, cpu_kept]] = ratios;
        let columns = [wall, cpu, wall_ratio, cpu_ratio, wall_kept, cpu_kept]
            .map(show)
            .join(" | ");
        writeln!(text, "| {name} | {count} | {columns} | {disk} |")
            .expect("a string takes all that is written");
    }
    text
}
