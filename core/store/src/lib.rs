//! The layer store: what images are made of, beside a storage driver that holds their layers.
//!
//! `docs/adr/0010-the-store.md` says how blobs, layers and images are kept true together.
#![forbid(unsafe_code)]

mod blobs;
pub mod check;
mod export;
mod facts;
mod ids;
pub mod journal;
mod layers;
mod layout;
mod migrate;
pub mod phase;
mod store;
mod sweep;

pub use blobs::{BlobReader, Fetch};
pub use facts::{
    BlobRole, Facts, Freed, ImageRow, ImageSpace, LayerRow, NewImage, ReferenceRow, Space, Target,
};
pub use ids::{ChainId, Digest, parse_diff_id};
pub use layers::{Draft, Layers, Place, Tar, name_of};
pub use layout::Layout;
pub use migrate::{Migrated, MigrationStep};
pub use store::{BlobSource, LARGEST_DOCUMENT, Store};
pub use sweep::Recovered;
