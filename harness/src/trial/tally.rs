//! What was done and looked at, counted.

use super::laws::Law;
use std::collections::BTreeMap;
use strata_driver::Quirk;

/// Counts of one script, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Operations by kind, those left out among them.
    pub operations: BTreeMap<&'static str, u64>,
    /// Operations left out, by the quirk that would bend them.
    pub left_out: BTreeMap<Quirk, u64>,
    /// How often each law was held.
    pub laws: BTreeMap<Law, u64>,
    /// How often everything was held.
    pub full_checks: u64,
    /// Layers that no changeset can carry.
    pub not_carried: u64,
}

impl Tally {
    pub(super) fn operation(&mut self, kind: &'static str) {
        *self.operations.entry(kind).or_default() += 1;
    }

    pub(super) fn left_out(&mut self, quirk: Quirk) {
        *self.left_out.entry(quirk).or_default() += 1;
    }

    pub(super) fn held(&mut self, law: Law) {
        *self.laws.entry(law).or_default() += 1;
    }

    /// All operations.
    pub fn total(&self) -> u64 {
        self.operations.values().sum()
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (kind, count) in &other.operations {
            *self.operations.entry(kind).or_default() += count;
        }
        for (quirk, count) in &other.left_out {
            *self.left_out.entry(*quirk).or_default() += count;
        }
        for (law, count) in &other.laws {
            *self.laws.entry(*law).or_default() += count;
        }
        self.full_checks += other.full_checks;
        self.not_carried += other.not_carried;
    }
}
