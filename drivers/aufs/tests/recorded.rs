//! Holds the aufs driver against what the kernel's aufs was recorded to do.

use std::process::ExitCode;
use std::sync::Arc;
use strata_driver::DriverFactory;
use strata_harness::recorded::{self, Column, Run};

/// Its writable branch is a tmpfs that is too small.
const NOT_EXPRESSIBLE: &[&str] = &["enospc-copyup-in-dir"];

fn main() -> ExitCode {
    let factory: Arc<dyn DriverFactory> = Arc::new(strata_aufs::AufsFactory);
    let runs = [Run {
        column: Column::Aufs,
        settings: &[("engine", "fuse")],
        expected: &[],
        not_expressible: NOT_EXPRESSIBLE,
    }];
    recorded::main(&factory, &runs)
}
