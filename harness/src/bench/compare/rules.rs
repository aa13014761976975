//! How far each count may be off before it counts as changed, and why so far.

/// How a count is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Any difference counts.
    Exact,
    /// A difference counts beyond this share of the old value and this much more.
    Within {
        /// Share of the old value.
        share: f64,
        /// Units of the count on top.
        slack: f64,
    },
    /// It is shown and judged by nobody.
    Shown,
}

/// Whether a count says the same on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portable {
    /// It goes into a baseline.
    Yes,
    /// It depends on kernel, processors or device, and stays out.
    No,
}

/// How one count is compared.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Name of the count, see [`crate::bench::Counts`].
    pub name: &'static str,
    /// What counts as a difference.
    pub limit: Limit,
    /// Whether it goes into a baseline.
    pub portable: Portable,
    /// Why.
    pub why: &'static str,
}

/// What became of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// More work than before.
    Worse,
    /// Less work than before.
    Better,
    /// The same, as far as can be told.
    Unchanged,
}

impl Rule {
    /// Judges `new` against `old`, counted on this file system.
    pub fn judge(&self, file_system: &str, old: u64, new: u64) -> Judged {
        // When btrfs writes its trees is a matter of moments: the spread is 30 %.
        if file_system == "btrfs" && self.name.starts_with("device") {
            return Judged::Unchanged;
        }
        let allowed = match self.limit {
            Limit::Exact => 0.0,
            Limit::Within { share, slack } => old as f64 * share + slack,
            Limit::Shown => return Judged::Unchanged,
        };
        if new as f64 > old as f64 + allowed {
            Judged::Worse
        } else if (new as f64) < old as f64 - allowed {
            Judged::Better
        } else {
            Judged::Unchanged
        }
    }
}

/// The catalogue fills its log with zeros ahead of use, a mebibyte by pages at a time; in which
/// repetition that falls depends on all that was done before.
const LOG_AHEAD_CALLS: f64 = 256.0;

/// The same in bytes, and what the file system writes for it.
const LOG_AHEAD_BYTES: f64 = 1.25 * 1024.0 * 1024.0;

/// The count that is there wherever calls were counted at all.
pub const CALLS: &str = "syncs";

/// All counts, those that say most first. The figures in the reasons are the spread over repeated
/// runs of one build, most of them on a machine with far more to do than processors.
pub const RULES: &[Rule] = &[
    Rule {
        name: CALLS,
        limit: Limit::Exact,
        portable: Portable::Yes,
        why: "decided by the driver and the workload alone; no spread",
    },
    Rule {
        name: "mounts",
        limit: Limit::Exact,
        portable: Portable::Yes,
        why: "decided by the driver and the workload alone; no spread",
    },
    Rule {
        name: "entries-walked",
        limit: Limit::Exact,
        portable: Portable::Yes,
        why: "counted by the driver; no spread",
    },
    Rule {
        name: "names",
        limit: Limit::Within {
            share: 0.01,
            slack: 2.0,
        },
        portable: Portable::Yes,
        why: "a large directory is listed in more or fewer pieces, as its hash order falls; 0.1 %",
    },
    Rule {
        name: "lookups",
        limit: Limit::Within {
            share: 0.01,
            slack: 2.0,
        },
        portable: Portable::Yes,
        why: "a large directory is listed in more or fewer pieces, as its hash order falls; 0.4 %",
    },
    Rule {
        name: "data",
        limit: Limit::Within {
            share: 0.02,
            slack: LOG_AHEAD_CALLS,
        },
        portable: Portable::No,
        why: "the kernel decides how many calls copy a file, and the catalogue's log is filled ahead \
              in one repetition or another; 256 calls",
    },
    Rule {
        name: "device-bytes",
        limit: Limit::Within {
            share: 0.02,
            slack: LOG_AHEAD_BYTES,
        },
        portable: Portable::No,
        why: "what a file system writes about itself depends on its version, its journal's place \
              and the moment, and the catalogue's log is filled ahead; 3 % beside that",
    },
    Rule {
        name: "device-flushes",
        limit: Limit::Within {
            share: 0.25,
            slack: 8.0,
        },
        portable: Portable::No,
        why: "the journal's timer flushes as well; 16 %",
    },
    Rule {
        name: "calls",
        limit: Limit::Shown,
        portable: Portable::No,
        why: "waiting is among them, and how often a thread waits is the scheduler's choice; 9 %",
    },
];
