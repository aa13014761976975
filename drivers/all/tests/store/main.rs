//! A store on the drivers of this build: looked at, spoiled, mended, and moved between them.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod check;
mod company;
mod explain;
mod failing;
mod migrate;
mod repair;
mod stand;
mod stubborn;
mod usage;
