//! `cargo xtask smoke`: the counts of the bench against the committed baseline.

use crate::btrfs;
use crate::exit::Stop;
use crate::setup::{self, Purpose};
use crate::tally::Tally;
use anyhow::Context;
use xshell::{Shell, cmd};

/// Counts that must be reached on every machine.
const BASELINE: &str = "benches/smoke-baseline.json";

/// What to do with what was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Smoke {
    /// Compare it with the baseline.
    Compare,
    /// Make it the baseline.
    Bless,
}

impl Smoke {
    pub(crate) fn run(self, sh: &Shell) -> anyhow::Result<()> {
        setup::ensure(sh, &[Purpose::Fixtures, Purpose::BtrfsDriver])?;
        match self.code(sh)? {
            0 => Ok(()),
            code => Err(Stop::Code(code).into()),
        }
    }

    /// The exit code of `strata bench`. The build is that of the tests: counts do not depend on it.
    fn code(self, sh: &Shell) -> anyhow::Result<u8> {
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let output = std::path::PathBuf::from(target).join("smoke");
        let flag = match self {
            Self::Compare => "--baseline",
            Self::Bless => "--write-baseline",
        };
        let features = btrfs::feature_alone(sh);
        let mut command: std::process::Command = cmd!(
            sh,
            "cargo run --quiet --locked --package strata {features...} --
             bench --profile smoke --output {output} {flag} {BASELINE}"
        )
        .into();
        let status = command.status().context("cannot run `strata bench`")?;
        // A command that a signal ended has no code.
        Ok(status.code().map_or(1, |code| code as u8))
    }
}

/// The stage of `cargo xtask test`: one check, skipped where this host cannot give a verdict.
pub(crate) fn stage(sh: &Shell) -> anyhow::Result<Tally> {
    if !setup::is_root() {
        eprintln!("skipped: the bench needs root");
        return Ok(Tally::ONE_SKIPPED);
    }
    Ok(match Smoke::Compare.code(sh)? {
        0 => Tally::ONE_PASSED,
        3 => Tally::ONE_SKIPPED,
        2 => {
            eprintln!(
                "counts are worse than in {BASELINE}; if that is meant, run `cargo xtask smoke --bless` \
                 and say why in the commit"
            );
            Tally::ONE_FAILED
        }
        _ => Tally::ONE_FAILED,
    })
}
