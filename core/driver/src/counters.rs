//! What a driver instance counts, for gates that times are too noisy for.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one driver instance, from its opening on.
#[derive(Debug, Default)]
pub struct Counters {
    entries_walked: AtomicU64,
    mounts: AtomicU64,
}

impl Counters {
    /// Directory entries looked at by `diff`, `changes` and `usage`; both trees of a comparison
    /// count.
    pub fn entries_walked(&self) -> u64 {
        self.entries_walked.load(Ordering::Relaxed)
    }

    /// Mounts that the driver made for itself.
    pub fn mounts(&self) -> u64 {
        self.mounts.load(Ordering::Relaxed)
    }

    /// Adds entries that were looked at.
    pub fn add_entries_walked(&self, entries: u64) {
        self.entries_walked.fetch_add(entries, Ordering::Relaxed);
    }

    /// Adds mounts.
    pub fn add_mounts(&self, mounts: u64) {
        self.mounts.fetch_add(mounts, Ordering::Relaxed);
    }
}
