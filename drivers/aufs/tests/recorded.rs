//! Holds the aufs driver against what the kernel's aufs was recorded to do.

use std::process::ExitCode;
use std::sync::Arc;
use strata_driver::DriverFactory;
use strata_harness::recorded::{self, Column, Run};

/// What no plan of the driver says: a writable branch on a tmpfs that is too small, two writable
/// branches, other permissions, options and places than its own, names that no changeset brings.
const NOT_EXPRESSIBLE: &[&str] = &[
    "enospc-copyup-in-dir",
    "lookup-lower-whiteout-ro-nowh",
    "lookup-lower-whiteout-rr",
    "hardlink-noplink",
    "name-len-250-in-lower",
    "diropq-a-mkdir",
    "coo-reg-open-rdonly",
    "coo-all-open-dir",
    "nolwh-unlink",
    "two-rw-write-second",
    "two-rw-unlink-second",
    "two-rw-create-in-dir-of-second",
    "two-rw-unlink-upper-shadow",
    "xino-default-uls",
    "noxino-ino",
];

fn main() -> ExitCode {
    let factory: Arc<dyn DriverFactory> = Arc::new(strata_aufs::AufsFactory);
    let runs = [Run {
        column: Column::Aufs,
        // The default of aufs, which the recordings were made with.
        settings: &[("engine", "fuse"), ("udba", "reval")],
        expected: &[],
        not_expressible: NOT_EXPRESSIBLE,
    }];
    recorded::main(&factory, &runs)
}
