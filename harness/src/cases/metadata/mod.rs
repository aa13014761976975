//! Owners, modes, times, attributes, inodes.

pub(super) mod attributes;
pub(super) mod inodes;
