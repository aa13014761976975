//! The storage-driver contract.
#![forbid(unsafe_code)]

pub mod changeset;
