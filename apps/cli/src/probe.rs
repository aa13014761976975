//! `strata probe`: which drivers run here, what they can do, and why the others do not.

use crate::config::Settings;
use crate::flags::ProbeFlags;
use serde_json::json;
use std::io::Write as _;
use std::process::ExitCode;
use strata_driver::{Availability, Capability, Host, Registry};

pub(crate) fn run(
    flags: &ProbeFlags,
    settings: &Settings,
    registry: &Registry,
) -> anyhow::Result<ExitCode> {
    let host = Host::probe();
    let root = &settings.root.value;
    let backing = Host::file_system_of(root)?;
    let mut out = std::io::stdout().lock();
    let probes: Vec<_> = registry
        .factories()
        .iter()
        .map(|factory| (factory, factory.probe(&host, root)))
        .collect();
    if flags.json {
        let drivers: Vec<_> = probes
            .iter()
            .map(|(factory, availability)| match availability {
                Availability::Available(capabilities) => json!({
                    "driver": factory.name().to_string(),
                    "available": true,
                    "capabilities": capabilities,
                }),
                Availability::Unavailable(missing) => json!({
                    "driver": factory.name().to_string(),
                    "available": false,
                    "missing": missing.missing,
                    "hint": missing.hint,
                }),
            })
            .collect();
        let report = json!({
            "kernel": host.kernel,
            "root": root,
            "backing": backing,
            "user_namespace": host.user_namespace,
            "drivers": drivers,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "kernel {}, root {} on {backing}",
        host.kernel,
        root.display()
    )?;
    for (factory, availability) in probes {
        writeln!(out)?;
        match availability {
            Availability::Available(capabilities) => {
                writeln!(out, "{}: available: {}", factory.name(), factory.summary())?;
                for capability in Capability::ALL {
                    if capabilities.has(*capability) {
                        writeln!(out, "  {:<16} yes", capability.as_str())?;
                    } else {
                        let reason = capabilities.reason(*capability);
                        writeln!(out, "  {:<16} no: {reason}", capability.as_str())?;
                    }
                }
                let quirks: Vec<_> = capabilities.quirks.iter().map(|q| q.as_str()).collect();
                writeln!(out, "  {:<16} {}", "quirks", quirks.join(", "))?;
                if let Some(depth) = capabilities.limits.max_depth {
                    writeln!(out, "  {:<16} {depth} layers", "depth")?;
                }
            }
            Availability::Unavailable(missing) => {
                writeln!(
                    out,
                    "{}: not available: {}",
                    factory.name(),
                    missing.missing
                )?;
                writeln!(out, "  hint: {}", missing.hint)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
