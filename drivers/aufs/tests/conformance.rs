//! Runs every conformance case against the aufs driver.

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    strata_harness::conformance::main(Arc::new(strata_aufs::AufsFactory))
}
