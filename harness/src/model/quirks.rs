//! What declared quirks do to an operation.

use std::collections::BTreeSet;
use strata_driver::{Quirk, QuirkSet};

/// The quirks of a run, and those that an operation met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bent {
    /// Declared: they change what is predicted.
    declared: QuirkSet,
    /// To be avoided: an operation that meets one is left out.
    avoided: QuirkSet,
    met: BTreeSet<Quirk>,
}

impl Bent {
    /// For a driver that declares these.
    pub fn declared(quirks: QuirkSet) -> Self {
        Self {
            declared: quirks,
            ..Self::default()
        }
    }

    /// For drivers of which some declare these: what they would bend is not done.
    pub fn avoided(quirks: QuirkSet) -> Self {
        Self {
            avoided: quirks,
            ..Self::default()
        }
    }

    /// Whether `quirk` changes what happens here.
    pub(super) fn by(&mut self, quirk: Quirk) -> bool {
        if self.avoided.contains(&quirk) {
            self.met.insert(quirk);
        }
        self.declared.contains(&quirk)
    }

    /// Whether any quirk is avoided.
    pub(super) fn avoids(&self) -> bool {
        !self.avoided.is_empty()
    }

    /// Whether names of one inode below are separate.
    pub(super) fn splits(&self) -> bool {
        self.declared.contains(&Quirk::HardLinkSplits)
    }

    /// The quirk that the last operation met and that is avoided, if any.
    pub(super) fn take_met(&mut self) -> Option<Quirk> {
        let met = std::mem::take(&mut self.met);
        met.first().copied()
    }
}
