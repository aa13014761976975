//! The real parts of tests about images: test images made of Debian packages, a registry that
//! serves them, and other people's tools that read and write what we write and read.
//!
//! `cargo xtask test` puts the images and a tree with the tools into the cache
//! (`docs/testing.md`). Where they are not, whoever asks gets a [`Skip`].

pub mod http;
mod layout;
mod peers;
mod place;
mod registry;
mod search;

pub use layout::{Descriptor, ImageLayout};
pub use peers::Peers;
pub use registry::RegistryServer;
pub use search::{SearchResult, SearchStandIn, search_stand_in};

/// Why something cannot be had on this host. A test prints it as `skipped: REASON` and returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip(String);

impl Skip {
    /// This reason.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}
