//! `cargo xtask soak`: the stages of `cargo xtask test` with the long versions of the tests.

use crate::test::{AfterFailure, Place, Test};
use xshell::Shell;

#[derive(Debug)]
pub(crate) struct Soak {
    pub(crate) after_failure: AfterFailure,
}

impl Soak {
    pub(crate) fn run(&self, sh: &Shell) -> anyhow::Result<()> {
        // Tests read the variable and raise their counts; there is no other difference.
        let _long = sh.push_env("STRATA_SOAK", "1");
        Test {
            place: Place::Here,
            after_failure: self.after_failure,
        }
        .run(sh)
    }
}
