//! What is refused.

pub(super) mod opening;
