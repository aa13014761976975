//! Names of images, the documents they are made of, and the registries they come from.
//!
//! - [`reference`](mod@reference): what people write for an image, by Docker's grammar.
//! - [`document`]: manifests, indexes and configurations, read strictly and never written back.
//! - [`registry`]: the [`Registry`](registry::Registry) trait and its client over HTTP.
//!
//! Nothing here knows what a layer looks like on disk; that is the store's.
#![forbid(unsafe_code)]

pub mod archive;
pub mod document;
pub mod explain;
pub mod images;
pub mod import;
pub mod install;
pub mod layout;
pub mod mend;
mod printable;
pub mod progress;
pub mod pull;
pub mod push;
pub mod reference;
pub mod registry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod usage;

mod error;
mod outgoing;
mod packing;

pub use error::{ImageError, Result};
pub use printable::printable;
pub use reference::{Reference, ReferenceError, Repository};
