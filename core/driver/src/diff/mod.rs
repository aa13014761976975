//! The exact diff of two trees in canonical form.
