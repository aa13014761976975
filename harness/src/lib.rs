//! Placeholder crate root.
#![forbid(unsafe_code)]

pub mod workload;
