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

/// What a [`Figure`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Nanoseconds.
    Ns,
    /// One quantity over another of its kind.
    Ratio,
}

/// A number that a row gives besides its time.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Figure {
    /// The number.
    pub value: f64,
    /// What it counts.
    pub unit: Unit,
}

/// The room that the layers made by a sample take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Space {
    /// Bytes by which the used space of the cell's file system grew, statfs(2).
    pub used: i64,
    /// Bytes of content that were put into the layers, each counted once.
    pub logical: u64,
}

impl Space {
    /// Bytes taken per byte of content; none without content.
    pub fn amplification(&self) -> Option<f64> {
        (self.logical > 0).then(|| self.used as f64 / self.logical as f64)
    }
}

/// What was measured in one run of a workload.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Measured {
    /// The phases in order of first appearance.
    pub phases: Vec<PhaseSample>,
    /// Further numbers, by name.
    pub figures: BTreeMap<String, Figure>,
    /// Nanoseconds of every single operation, by the kind of operation.
    pub latencies: BTreeMap<String, Vec<u64>>,
    /// What the layers take; none where the row makes none to keep.
    pub space: Option<Space>,
}

impl Measured {
    fn counted(&self) -> impl Iterator<Item = &PhaseSample> {
        self.phases
            .iter()
            .filter(|phase| phase.counted == Counted::Yes)
    }

    /// Sum of the times of the phases that count.
    pub fn ns(&self) -> u64 {
        self.counted().map(|phase| phase.ns).sum()
    }

    /// Sum of the write-back times of the phases that count.
    pub fn drain_ns(&self) -> u64 {
        self.counted().map(|phase| phase.drain_ns).sum()
    }

    /// Sum of the device bytes of the phases that count, their write-back included.
    pub fn device_bytes(&self) -> Option<u64> {
        self.counted().map(|phase| phase.device_bytes).sum()
    }
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
    /// Everything measured, the phases first.
    #[serde(flatten)]
    pub measured: Measured,
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
