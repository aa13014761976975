//! Holds the union of the aufs driver against what the kernel's aufs was recorded to do.

use std::process::ExitCode;
use std::sync::Arc;
use strata_driver::{DriverFactory, MountFlags, MountOption, MountStep};
use strata_harness::recorded::{self, Column, Document, Ground, HandMade, Run};

const DIFFERENCES: Document<'_> = Document {
    text: include_str!("../../../docs/drivers/aufs.md"),
    path: concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/drivers/aufs.md"),
};

/// What the driver's plans do not say (permissions, options and places of their own), what no
/// changeset brings (long names), and what its own ways change: it mounts with ACLs, and what is
/// kept at the root of a layer counts in `st_nlink`, and is there before a read-only mount.
const OF_THE_HAND: &[&str] = &[
    "lookup-lower-whiteout-ro-nowh",
    "lookup-lower-whiteout-rr",
    "chmod-root",
    "acl-through-copyup",
    "acl-default-dir-inherit-on-copyup",
    "hardlink-noplink",
    "name-len-250-in-lower",
    "nlink-dir",
    "mount-ro",
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
    "enospc-copyup-in-dir",
];

/// In the words that the recorded mounts were made with.
fn join(made: &HandMade<'_>) -> MountStep {
    let branches = made.branches.iter();
    let branches: Vec<_> = branches
        .map(|(path, permission)| format!("{}={permission}", path.display()))
        .collect();
    let mut options = vec![
        MountOption::pair("br", branches.join(":")),
        MountOption::flag("dirperm1"),
    ];
    if let Some(xino) = &made.xino {
        options.push(MountOption::pair("xino", xino.display().to_string()));
    }
    let words = made.options.iter().flat_map(|words| words.split(','));
    options.extend(words.map(|word| match word.split_once('=') {
        Some((key, value)) => MountOption::pair(key, value),
        None => MountOption::flag(word),
    }));
    MountStep {
        fs_type: "fuse.strata-union".into(),
        source: "recorded".into(),
        options,
        flags: MountFlags {
            read_only: made.read_only,
        },
    }
}

fn main() -> ExitCode {
    let factory: Arc<dyn DriverFactory> = Arc::new(strata_aufs::AufsFactory);
    let runs = [
        Run {
            column: Column::Aufs,
            ground: Ground::ByHand(join),
            differences: Some(DIFFERENCES),
            left_out: &[],
        },
        // Layers that the driver made itself, in place of those that are made by hand. Noticing
        // others' changes is aufs's default, and not the driver's.
        Run {
            column: Column::Aufs,
            ground: Ground::Contract(&[("engine", "fuse"), ("udba", "reval")]),
            differences: Some(DIFFERENCES),
            left_out: OF_THE_HAND,
        },
    ];
    recorded::main(&factory, &runs)
}
