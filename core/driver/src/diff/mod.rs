//! The exact diff of two trees in canonical form.

mod compare;
mod marks;

pub use compare::{CompareOptions, Comparison, Outcome, Upper, Written, compare};
pub use marks::{Mark, Marks, UpperEntry};
