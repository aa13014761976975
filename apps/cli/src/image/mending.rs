//! `check`, `migrate`.

use super::flags::{CheckFlags, MigrateFlags};
use super::list::put;
use super::opened::Context;
use crate::docker::units::fine_size;
use anyhow::bail;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use strata_image::mend::repair;
use strata_store::MigrationStep;
use strata_store::check::{CheckOptions, CheckReport, Level, Outcome};

/// Ends with 0 if nothing is wrong, with 2 if something is.
pub(super) fn check(flags: &CheckFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    if context.look()?.is_none() {
        bail!("no store is at `{}`", context.settings.root.value.display());
    }
    let layers = context.open()?;
    let level = if flags.full {
        Level::Full
    } else {
        Level::Quick
    };
    let mut options = CheckOptions::default().with_level(level);
    if flags.repair {
        options = options.with_repair(repair());
    }
    if std::io::stderr().is_terminal() {
        options = options.with_progress(Arc::new(|done, of, subject| {
            // With standard error gone there is nobody left to tell.
            drop(write!(std::io::stderr(), "\x1b[2K\r{done}/{of} {subject}"));
        }));
    }
    let report = context.runtime.block_on(layers.check(&options));
    if std::io::stderr().is_terminal() {
        drop(write!(std::io::stderr(), "\x1b[2K\r")); // as above
    }
    let report = context.close(&layers, report.map_err(Into::into))?;
    if flags.json {
        put(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        put(&told(&report))?;
    }
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

fn told(report: &CheckReport) -> String {
    let mut lines = Vec::new();
    for one in &report.repaired {
        let came = match &one.outcome {
            Outcome::Removed => "removed".to_owned(),
            Outcome::TakenIn => "taken in".to_owned(),
            Outcome::MadeAgain => "made again".to_owned(),
            Outcome::Refused(why) => format!("not repaired: {why}"),
        };
        lines.push(format!("repair: {}: {came}", one.subject));
    }
    for finding in &report.findings {
        lines.push(finding.to_string());
        lines.push(format!("  {}", finding.mend));
    }
    let checked = &report.checked;
    let state = if report.is_clean() {
        "clean"
    } else {
        "NOT CLEAN"
    };
    lines.push(format!(
        "{state}: {}, {}, {}, {}, {}, {} hashed",
        counted(checked.images, "image", "images"),
        counted(checked.references, "name", "names"),
        counted(checked.layers, "layer", "layers"),
        counted(checked.entries, "entry", "entries"),
        counted(checked.blobs, "blob", "blobs"),
        fine_size(checked.hashed.0 as i64),
    ));
    if !report.is_quiet {
        lines.push(
            "somebody is at work in the store: what belongs to nothing was not looked for"
                .to_owned(),
        );
    }
    lines.join("\n") + "\n"
}

fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

pub(super) fn migrate(flags: &MigrateFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    if context.look()?.is_none() {
        bail!("no store is at `{}`", context.settings.root.value.display());
    }
    context.registry.get(&flags.to)?;
    let layers = context.open()?;
    let from = layers.driver().info().name.to_string();
    if from == flags.to {
        bail!("the store's driver is `{from}` already");
    }
    let open_next = context.opener(&flags.to);
    let work = layers.migrate(open_next, |step| {
        let line = match step {
            MigrationStep::Copied { layer, done, of } => {
                format!("{done}/{of} {}: the same on both", layer.chain)
            }
            MigrationStep::Closed => "both drivers are closed".to_owned(),
            MigrationStep::Exchanged => format!("the store's driver is `{}` now", flags.to),
            MigrationStep::Removed => format!("what `{from}` held is removed"),
        };
        drop(put(&format!("{line}\n")));
    });
    let migrated = context.runtime.block_on(work)?;
    put(&format!(
        "Migrated {} layers, {}, from {from} to {}: every DiffID is the same\n",
        migrated.layers,
        fine_size(migrated.bytes.0 as i64),
        flags.to
    ))?;
    if let Some(why) = migrated.left {
        put(&format!("What {from} held is not removed yet: {why}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
