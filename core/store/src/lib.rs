//! The layer store: what images are made of, beside a storage driver that holds their layers.
//!
//! `docs/adr/0010-the-store.md` says how blobs, layers and images are kept true together.
#![forbid(unsafe_code)]

mod ids;
pub mod journal;

pub use ids::{ChainId, Digest, parse_diff_id};
