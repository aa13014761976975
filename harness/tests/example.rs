//! Runs every conformance case against the example driver of the documents, which is no part of
//! the workspace and uses public API alone.

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    strata_harness::conformance::main(Arc::new(plain_copy::PlainCopyFactory))
}
