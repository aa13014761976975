//! Counts of one untimed repetition: what a gate can rely on where times cannot be trusted.

use crate::bench::bed::DeviceCounts;
use crate::bench::sample::SyscallCounts;
use std::collections::BTreeMap;

/// Counts of one repetition, by name.
///
/// | name | unit | what |
/// |---|---|---|
/// | `syncs` | calls | that wait for the disk: fsync, fdatasync, syncfs, sync, `sync_file_range`, msync |
/// | `mounts` | calls | that make a mount: mount, fsmount, `open_tree` |
/// | `names` | calls | that open, make, change, rename or remove a name |
/// | `lookups` | calls | that ask for attributes or list a directory |
/// | `data` | calls | that read, write or copy contents |
/// | `calls` | calls | all of them, waiting included |
/// | `device-bytes` | bytes | written to the block device, the sync at each phase's end included |
/// | `device-flushes` | flushes | of the device's cache |
/// | `entries-walked` | entries | of directories that the driver looked at |
///
/// Calls are those of all threads and child processes in the phases that count; without a counter
/// their names are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Counts(pub BTreeMap<String, u64>);

impl Counts {
    pub(crate) fn new(
        device: DeviceCounts,
        entries_walked: u64,
        syscalls: Option<&SyscallCounts>,
    ) -> Self {
        let mut counts = BTreeMap::from([
            ("device-bytes".to_owned(), device.bytes),
            ("entries-walked".to_owned(), entries_walked),
        ]);
        if let Some(flushes) = device.flushes {
            counts.insert("device-flushes".to_owned(), flushes);
        }
        if let Some(calls) = syscalls {
            counts.insert("calls".to_owned(), calls.all);
            counts.insert("syncs".to_owned(), calls.sync_total());
            counts.extend(calls.classes.clone());
        }
        Self(counts)
    }
}
