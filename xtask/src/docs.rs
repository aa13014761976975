//! `cargo xtask docs`: writes what is observed into the documents.

use crate::btrfs;
use crate::setup::{self, Purpose};
use xshell::{Shell, cmd};

/// Writes the table of quirks in `docs/semantics.md`, which the test of that name compares.
pub(crate) fn write(sh: &Shell) -> anyhow::Result<()> {
    setup::ensure(sh, &[Purpose::Fixtures, Purpose::BtrfsDriver])?;
    let features = btrfs::feature_alone(sh);
    let _writes = sh.push_env("STRATA_WRITE_DOCS", "1");
    cmd!(
        sh,
        "cargo test --quiet --locked --package strata-drivers {features...} --test semantics"
    )
    .run()?;
    Ok(())
}
