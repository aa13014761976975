//! Several callers at once.

pub(super) mod calls;
pub(super) mod instances;
