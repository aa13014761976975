//! Many layers, long names, deep directories. Law 8.

pub(super) mod layers;
pub(super) mod names;
