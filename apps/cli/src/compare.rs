//! `strata compare`: two runs of the bench side by side, and the exit code of a gate.

use crate::flags::{CompareFlags, GateFlags};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use strata_harness::bench::compare::{Comparison, Recorded, Unlike, compare, show};

/// No verdict can be given.
const UNFIT: u8 = 3;

pub(crate) fn run(flags: &CompareFlags) -> anyhow::Result<ExitCode> {
    let (old, new) =
        match Recorded::read(&flags.old).and_then(|old| Ok((old, Recorded::read(&flags.new)?))) {
            Ok(both) => both,
            Err(error) => {
                crate::show_error(&error);
                return Ok(ExitCode::from(UNFIT));
            }
        };
    let found = hold(&old, &new, &flags.gate);
    report(&found, flags.summary.as_deref())?;
    Ok(ExitCode::from(found.exit_code()))
}

/// Compares as the flags want it.
pub(crate) fn hold(old: &Recorded, new: &Recorded, flags: &GateFlags) -> Comparison {
    let unlike = if flags.force {
        Unlike::Force
    } else {
        Unlike::Refuse
    };
    compare(old, new, flags.gate, unlike)
}

/// The table on standard output, the summary where it was asked for.
pub(crate) fn report(found: &Comparison, summary: Option<&Path>) -> anyhow::Result<()> {
    if let Some(path) = summary {
        fs_err::write(path, show::summary(found))?;
    }
    Ok(std::io::stdout()
        .lock()
        .write_all(show::table(found).as_bytes())?)
}
