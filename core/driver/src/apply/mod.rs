//! Applying a changeset to a directory, confined to it.
