//! A conformance case, what else a driver is held against, and what may become of it.

use crate::context::Context;
use crate::workload::UserWorkload;
use std::borrow::Cow;
use std::fmt;
use strata_driver::Capability;

/// Which part of the contract a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Keys, kinds, parents, labels.
    Lifecycle,
    /// What a stack of layers shows.
    Union,
    /// Owners, modes, times, attributes.
    Metadata,
    /// Changesets out.
    Diff,
    /// Many layers, long names, deep directories.
    Depth,
    /// Changesets in, and their confinement.
    Apply,
    /// Several callers at once.
    Concurrency,
    /// Bytes used and given back.
    Space,
    /// Killed processes and reopening.
    Crash,
    /// Declared deviations, observed both ways.
    Quirk,
    /// What is refused.
    Input,
    /// Workloads of the user's own.
    Workload,
    /// Laws held by random scripts; see [`crate::trial`].
    Law,
    /// Recorded behaviour of kernels; see [`crate::recorded`].
    Recorded,
    /// Test suites of others; see [`crate::suites`].
    Suite,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{self:?}");
        f.write_str(&name.to_lowercase())
    }
}

/// What a case does; an error is a failure.
pub type Run = fn(&mut Context) -> anyhow::Result<()>;

/// One property of the contract.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The property, in snake case.
    pub name: &'static str,
    /// Its group.
    pub group: Group,
    /// What the driver must be capable of; without it the case runs inverted.
    pub needs: &'static [Capability],
    /// What checks the property.
    pub run: Run,
}

/// What every driver of a run is held against: a case, or a workload of the user's own as one.
#[derive(Clone, Copy, Debug)]
pub enum Check<'a> {
    /// A property of the contract.
    Case(&'static Case),
    /// The workload gives the tree that it gives in a plain directory, and its layers travel.
    Workload(&'a UserWorkload),
}

impl<'a> Check<'a> {
    /// All cases, and `workloads` after them.
    pub fn all(workloads: &'a [UserWorkload]) -> impl Iterator<Item = Self> {
        let cases = crate::cases::ALL.iter().map(Self::Case);
        cases.chain(workloads.iter().map(Self::Workload))
    }

    /// The case's name, or `workload_` and the workload's.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Case(case) => case.name.into(),
            Self::Workload(workload) => format!("workload_{}", workload.name).into(),
        }
    }

    /// Its group.
    pub fn group(self) -> Group {
        match self {
            Self::Case(case) => case.group,
            Self::Workload(_) => Group::Workload,
        }
    }

    /// What the driver must be capable of.
    pub(crate) fn needs(self) -> Cow<'static, [Capability]> {
        match self {
            Self::Case(case) => case.needs.into(),
            Self::Workload(workload) => workload.needs().into(),
        }
    }

    /// Runs it; a text is the reason why it cannot be checked with this driver.
    pub(crate) fn run(self, context: &mut Context) -> anyhow::Result<Option<String>> {
        match self {
            Self::Case(case) => (case.run)(context).map(|()| None),
            Self::Workload(workload) => workload.verify(context),
        }
    }
}

/// What became of a case; given by the runner only.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The property holds, or the driver refuses what it says it cannot do.
    Passed,
    /// It could not be checked, for this reason.
    Skipped(String),
    /// It does not hold.
    Failed(String),
}
