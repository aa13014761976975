//! Proves that a driver means what the contract says, and measures it.
//!
//! The suite ([`conformance`]) runs named [cases](cases) through a [`Context`] on a
//! [`Fixture`](fixture::Fixture). What it compares is read and computed by code of its own: the
//! [tree reader](tree), the [canonical changeset's rules](oracle), the [tar writer](tar). No
//! driver is known here.
#![forbid(unsafe_code)]

mod audit;
pub mod bench;
pub mod case;
pub mod cases;
pub mod conformance;
pub mod cross;
pub mod edit;
pub mod fixture;
pub mod images;
pub mod interrupt;
pub mod leaks;
pub mod live;
pub mod matrix;
pub mod model;
pub mod oracle;
pub mod prelude;
pub mod recorded;
pub mod report;
pub mod runner;
pub mod script;
pub mod seed;
pub mod suites;
pub mod tar;
pub mod tree;
pub mod trial;
pub mod workload;

mod context;
mod stand;

pub use context::{Context, Setting};
