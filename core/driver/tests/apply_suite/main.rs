//! Applying changesets: every rule, hostile archives, full disks, and the same layers applied to a
//! whole tree and to an overlay.

#![expect(
    clippy::unwrap_used,
    reason = "the lint does not know the functions between the tests of a test crate"
)]

mod failures;
mod hiding;
mod hostile;
mod layer;
mod memory;
mod metadata;
mod overlay;
mod race;
mod rules;
mod tree;

/// Whether the test can go on: ownership, devices and mounts need root.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}
