//! A conformance case and what may become of it.

use crate::context::Context;
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
