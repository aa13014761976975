//! Changesets in, and their confinement.

pub(super) mod confinement;
pub(super) mod formats;
pub(super) mod meaning;
pub(super) mod refusals;
