//! The bench: drivers side by side on the host in front of you.
//!
//! [`run`] takes a [`BenchPlan`] and a registry, and returns a [`BenchReport`]. Four things stay
//! apart: *measuring* (`measure`, `syscalls`, `bed`, `cell`, `workloads`), *judging* (`judge`,
//! [`stats`], [`verdict`]), *showing* ([`progress`], [`export::table`]) and *exporting*
//! ([`export::json`], [`export::markdown`]). [`floors`] measures drivers against what the kernel
//! and the usual tools need for the same work.
//!
//! The method: randomised complete blocks; a hidden twin of one cell shows how far chance goes;
//! a plain directory is the control; verdicts rest on bootstrap intervals of the ratios within
//! blocks; what comes out of every sample is compared with what the plain directory gives, and a
//! cell that is wrong has no speed.

mod bed;
mod cell;
mod command;
pub mod compare;
mod corpus;
mod counts;
mod environment;
pub mod export;
pub mod floors;
mod ground;
mod judge;
mod measure;
mod outcome;
mod plan;
pub mod progress;
mod report;
mod residency;
mod run;
mod sample;
mod scheduler;
pub mod stats;
mod subject;
mod syscalls;
mod unfit;
pub mod verdict;
mod workloads;

pub use counts::Counts;
pub use environment::Environment;
pub use plan::{BenchPlan, CellSpec, MIN_BLOCKS, Profile, RootfsSource};
pub use progress::Progress;
pub use report::{
    BenchReport, CellReport, Role, RunFacts, SCHEMA, SelfCheck, Skipped, Stopped, Summary,
};
pub use run::run;
pub use sample::{Counted, Figure, Measured, PhaseSample, Sample, Space, SyscallCounts, Unit};
pub use unfit::Unfit;
pub use workloads::{Cache, workload_names};

/// The exit code of a run: that of its report, 3 where the environment is unfit, 130 where it was
/// interrupted before it measured anything, else 1.
pub fn exit_code(outcome: &anyhow::Result<BenchReport>) -> u8 {
    match outcome {
        Ok(report) => report.exit_code(),
        Err(error) if error.is::<Unfit>() => 3,
        Err(_) if crate::interrupt::interrupted() => 130,
        Err(_) => 1,
    }
}
