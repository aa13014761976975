//! Runs every conformance case against the overlay driver.

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    strata_harness::conformance::main(Arc::new(strata_overlay::OverlayFactory))
}
