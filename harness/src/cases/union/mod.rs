//! What a stack of layers shows.

pub(super) mod deletions;
pub(super) mod handles;
pub(super) mod kinds;
pub(super) mod renames;
pub(super) mod updates;
