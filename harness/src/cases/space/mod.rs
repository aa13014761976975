//! Bytes used and given back. Laws 11 and 12.

pub(super) mod full;
pub(super) mod usage;
