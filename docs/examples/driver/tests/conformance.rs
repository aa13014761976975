//! Runs every conformance case against the example driver.

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    strata_harness::conformance::main(Arc::new(plain_copy::PlainCopyFactory))
}
