//! What one timed run of one workload on one cell leaves behind.

use std::collections::BTreeMap;

/// One phase of one sample.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PhaseSample {
    /// Its name (`prepare`, `mount`, `append-16M`, ...).
    pub name: String,
    /// Wall time of the phase.
    pub ns: u64,
    /// Wall time of writing back what the phase left dirty, after it ended.
    pub drain_ns: u64,
    /// Bytes that reached the device in the phase and its drain; none where the backing file
    /// system shares its device.
    pub device_bytes: Option<u64>,
    /// Whether the phase belongs to the row's time.
    pub counted: Counted,
}

/// Whether a phase belongs to the time that a row is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counted {
    /// It does.
    #[default]
    Yes,
    /// It is shown, no more.
    Aside,
}

/// One sample.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Sample {
    /// Block number, from 0.
    pub block: u32,
    /// Place in the run, from 0.
    pub order: u64,
    /// Start, since the start of the run.
    pub t0_ns: u64,
    /// Sum of the phases that count.
    pub ns: u64,
    /// Sum of the device bytes of the phases that count, their drains included.
    pub dev_write: Option<u64>,
    /// The phases in order of first appearance.
    pub phases: Vec<PhaseSample>,
    /// Directory entries that the driver looked at.
    pub entries_walked: u64,
    /// Digest of the tree or stream that came out.
    pub digest: String,
}

/// Calls into the kernel of one repetition, counted outside the timed ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SyscallCounts {
    /// All of them, on all threads and child processes.
    pub all: u64,
    /// Those that wait for the disk, by name (`fsync`, `fdatasync`, `syncfs`, `sync`, ...).
    pub syncs: BTreeMap<String, u64>,
    /// Calls by class: `mounts`, `names`, `lookups`, `data`.
    pub classes: BTreeMap<String, u64>,
}

impl SyscallCounts {
    /// Sum of [`SyscallCounts::syncs`].
    pub fn sync_total(&self) -> u64 {
        self.syncs.values().sum()
    }

    /// Adds the counts of another stretch.
    pub fn add(&mut self, other: &Self) {
        self.all += other.all;
        for (name, count) in &other.syncs {
            *self.syncs.entry(name.clone()).or_default() += count;
        }
        for (class, count) in &other.classes {
            *self.classes.entry(class.clone()).or_default() += count;
        }
    }
}
