//! What Docker's words and columns are held to: recorded output of Docker, tables of values, and
//! the real command beside ours on random data.

mod differential;
mod filters;
mod golden;
mod images;
mod progress;
mod prune;
mod tables;
mod templates;
mod units;

use super::units::Clock;
use jiff::{Timestamp, tz::TimeZone};

/// So many seconds after 1970, in UTC.
fn clock(seconds: i64) -> Clock {
    Clock {
        now: Timestamp::from_second(seconds).unwrap(),
        zone: TimeZone::UTC,
    }
}
