//! Declared deviations, observed both ways.

pub(super) mod observed;
