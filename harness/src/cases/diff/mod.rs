//! Changesets out.

pub(super) mod canonical;
pub(super) mod changes;
pub(super) mod links;
pub(super) mod walk;
