//! What declared quirks do to an operation.

use rustix::io::Errno;
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

    /// Which names there can be.
    pub(super) fn names(&self) -> NameRules {
        let reserved = Quirk::ReservedNames;
        if self.avoided.contains(&reserved) {
            NameRules::Avoid
        } else if self.declared.contains(&reserved) {
            NameRules::Reserve
        } else {
            NameRules::All
        }
    }

    /// Notes that `quirk` was met.
    pub(super) fn meet(&mut self, quirk: Quirk) {
        self.met.insert(quirk);
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

/// Bytes of a name before it is `ENAMETOOLONG`.
const LONGEST_NAME: usize = 255;
/// Likewise, where marks are names.
const LONGEST_BESIDE_MARKS: usize = 242;
/// What a look-up gives on whose account an operation is left out; no file system answers it.
pub(super) const LEFT_OUT: Errno = Errno::NOTRECOVERABLE;

/// Which names there can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum NameRules {
    /// All that a file system takes.
    #[default]
    All,
    /// None that marks are made of ([`Quirk::ReservedNames`]).
    Reserve,
    /// What meets one of those is left out.
    Avoid,
}

impl NameRules {
    /// Refuses a name that cannot be.
    pub(super) fn check(self, name: &[u8]) -> Result<(), Errno> {
        if name.len() > LONGEST_NAME {
            return Err(Errno::NAMETOOLONG);
        }
        let long = name.len() > LONGEST_BESIDE_MARKS;
        let reserved = long || name.starts_with(b".wh.");
        match self {
            Self::Avoid if reserved => Err(LEFT_OUT),
            Self::Reserve if long => Err(Errno::NAMETOOLONG),
            Self::Reserve if reserved => Err(Errno::PERM),
            _ => Ok(()),
        }
    }
}
