//! The changeset codec (vocabulary only, until the codec lands).

/// One entry, whiteout or opaque mark of a changeset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item;
