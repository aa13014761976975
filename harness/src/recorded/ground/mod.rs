//! Where scenarios run: who makes their branches, and who joins them.

mod by_hand;
mod contract;

pub use by_hand::{ByHand, HandMade};

use super::branches::Branches;
use super::data::Scenario;
use crate::context::Setting;
use crate::live::Live;
use anyhow::Result;
use rustix::time::ClockId;
use std::fmt;
use std::path::Path;

/// Times that everything in a branch has at first.
const MTIME: i64 = 1_000_000_000;
const ATIME: i64 = 1_000_000_001;
const NANOSECONDS: i64 = 1_000_000_000;

/// Where the scenarios of a run stand.
#[derive(Clone, Copy, Debug)]
pub enum Ground<'a> {
    /// The contract: layers are applied and committed by the driver, the writable branch is an
    /// active snapshot, and its plan is mounted. With these settings for every opening.
    Contract(&'a [(&'a str, &'a str)]),
    /// Directories made by hand, as they were for the recordings.
    ByHand(ByHand),
}

impl Ground<'_> {
    /// Ready for scenarios in `place`, which does not exist yet.
    pub(super) fn open(&self, setting: &Setting, place: &Path) -> Result<Box<dyn Ready>> {
        Ok(match self {
            Self::Contract(_) => Box::new(contract::Contract::open(setting, place)?),
            Self::ByHand(join) => Box::new(by_hand::Rig::open(*join, place)?),
        })
    }

    /// Settings of the driver.
    pub(super) fn settings(&self) -> &[(&str, &str)] {
        match self {
            Self::Contract(settings) => settings,
            Self::ByHand(_) => &[],
        }
    }

    /// What to call it beside a driver's name.
    pub(super) fn title(&self) -> &'static str {
        match self {
            Self::Contract(_) => "",
            Self::ByHand(_) => ", by hand",
        }
    }
}

/// A ground that scenarios are laid on, one after the other.
pub(super) trait Ready {
    /// Makes the branches of a scenario; [`NotExpressible`] where that cannot be.
    fn lay<'a>(&'a mut self, scenario: &'a Scenario) -> Result<Box<dyn Laid + 'a>>;

    /// Takes everything away.
    fn close(self: Box<Self>) -> Result<()>;
}

/// The branches of one scenario.
pub(super) trait Laid {
    /// Where they are.
    fn branches(&self) -> Result<Branches>;

    /// Joins them on a fresh directory.
    fn mount(&mut self) -> Result<Live>;
}

/// What a ground or this host lacks for a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotExpressible(pub String);

impl fmt::Display for NotExpressible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotExpressible {}

/// Seconds since 1970 by the clock that files get their times from: the exact one is up to a tick
/// ahead of it.
pub(super) fn seconds_now() -> i64 {
    rustix::time::clock_gettime(ClockId::RealtimeCoarse).tv_sec
}
