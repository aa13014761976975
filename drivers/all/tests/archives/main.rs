//! Images as files, between stores on different drivers and other people's tools.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod bed;
mod forge;
mod import;
mod others;
mod push;
mod refusals;
mod round_trip;
