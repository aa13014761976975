//! Holds the overlay driver against what the kernel's overlay was recorded to do.

use std::process::ExitCode;
use std::sync::Arc;
use strata_driver::DriverFactory;
use strata_harness::recorded::{self, Column, Document, Ground, Run};

/// Its writable branch is a tmpfs that is too small.
const LEFT_OUT: &[&str] = &["enospc-copyup-in-dir"];

/// Of the run with an index; the other differs in nothing.
const DIFFERENCES: Document<'_> = Document {
    text: include_str!("../../../docs/drivers/overlay.md"),
    path: concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/drivers/overlay.md"),
};

fn main() -> ExitCode {
    let factory: Arc<dyn DriverFactory> = Arc::new(strata_overlay::OverlayFactory);
    let runs = [
        Run {
            column: Column::OverlayDefault,
            ground: Ground::Contract(&[]),
            differences: None,
            left_out: LEFT_OUT,
        },
        Run {
            column: Column::OverlayIndexRedirect,
            ground: Ground::Contract(&[("index", "on"), ("redirect_dir", "on")]),
            differences: Some(DIFFERENCES),
            left_out: LEFT_OUT,
        },
    ];
    recorded::main(&factory, &runs)
}
