//! What was done and looked at, counted.

use super::laws::Law;
use crate::model::operation::KINDS;
use std::collections::BTreeMap;
use strata_driver::Quirk;

/// Operations left out for quirks, at most, in hundredths of all.
const MOST_LEFT_OUT: u64 = 3;
/// Operations of each kind, at least, in hundredths of all.
const LEAST_OF_A_KIND: u64 = 1;
/// Operations from which on shares mean something.
const ENOUGH: u64 = 10_000;

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

    /// What there is too little of for a verdict, once there is much: kinds of operation that hardly
    /// came, or operations that quirks left out.
    pub fn shortfall(&self) -> Option<String> {
        let total = self.total();
        if total < ENOUGH {
            return None;
        }
        let left_out: u64 = self.left_out.values().sum();
        if left_out * 100 > total * MOST_LEFT_OUT {
            return Some(format!(
                "{left_out} of {total} operations are left out for quirks, more than {MOST_LEFT_OUT} %"
            ));
        }
        let (kind, count) = self.least()?;
        (count * 100 < total * LEAST_OF_A_KIND).then(|| {
            format!("{count} of {total} operations are `{kind}`, less than {LEAST_OF_A_KIND} %")
        })
    }

    /// The kind that came least, with its count.
    pub fn least(&self) -> Option<(&'static str, u64)> {
        let counts = KINDS
            .iter()
            .map(|kind| (*kind, self.operations.get(kind).copied().unwrap_or(0)));
        counts.min_by_key(|(_, count)| *count)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// So many operations of every kind.
    fn even(each: u64) -> Tally {
        Tally {
            operations: KINDS.iter().map(|kind| (*kind, each)).collect(),
            ..Tally::default()
        }
    }

    #[test]
    fn a_kind_that_hardly_comes_is_told() {
        let mut tally = even(1000);
        assert_eq!(tally.shortfall(), None);
        tally.operations.insert("punch", 100);
        assert!(tally.shortfall().unwrap().contains("`punch`"));
        // Of few operations nothing is demanded.
        let mut few = even(10);
        few.operations.remove("punch");
        assert_eq!(few.shortfall(), None);
    }

    #[test]
    fn quirks_leave_out_little() {
        let mut tally = even(1000);
        tally.left_out.insert(Quirk::HardLinkSplits, 1000);
        assert_eq!(tally.shortfall(), None);
        tally.left_out.insert(Quirk::DirectoryRenameExdev, 1000);
        assert!(tally.shortfall().unwrap().contains("left out"));
    }
}
