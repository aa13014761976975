//! Holds the overlay driver against what the kernel's overlay was recorded to do.

use std::process::ExitCode;
use std::sync::Arc;
use strata_driver::DriverFactory;
use strata_harness::recorded::{self, Column, Expected, Run};

/// Its writable branch is a tmpfs that is too small.
const NOT_EXPRESSIBLE: &[&str] = &["enospc-copyup-in-dir"];

const WITH_INDEX: &[Expected] = &[Expected {
    scenario: "udba-create-on-lower",
    differences: &[
        r#"changed in L1 `.`: xattrs {"trusted.overlay.origin":"<handle>"}, recorded none"#,
    ],
    reason: "a layer that was mounted with an index while it was active keeps the kernel's note of \
             what its root lay on; recorded layers never were",
}];

fn main() -> ExitCode {
    let factory: Arc<dyn DriverFactory> = Arc::new(strata_overlay::OverlayFactory);
    let runs = [
        Run {
            column: Column::OverlayDefault,
            settings: &[],
            expected: &[],
            not_expressible: NOT_EXPRESSIBLE,
        },
        Run {
            column: Column::OverlayIndexRedirect,
            settings: &[("index", "on"), ("redirect_dir", "on")],
            expected: WITH_INDEX,
            not_expressible: NOT_EXPRESSIBLE,
        },
    ];
    recorded::main(&factory, &runs)
}
