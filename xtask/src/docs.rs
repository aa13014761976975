//! `cargo xtask docs`: writes what is observed into the documents.

use crate::btrfs;
use crate::setup::{self, Purpose};
use xshell::{Shell, cmd};

/// The table of quirks in `docs/semantics.md`; the test of the same name compares it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Docs;

impl Docs {
    pub(crate) fn run(self, sh: &Shell) -> anyhow::Result<()> {
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
}
