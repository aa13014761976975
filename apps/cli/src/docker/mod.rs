//! Docker's words and columns as pure code: nothing here asks a store, an engine or the network.
//!
//! Rows come in as the JSON of the Engine API, so that the real `docker` can be given the same
//! data and its output be compared. Tables and the arithmetic of `system df` are those of Docker
//! 20.10 to 24, messages those of 28.

pub(crate) mod df;
pub(crate) mod filters;
pub(crate) mod format;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod progress;
pub(crate) mod prune;
pub(crate) mod rows;
pub(crate) mod search;
pub(crate) mod tabwriter;
pub(crate) mod template;
pub(crate) mod text;
pub(crate) mod units;

#[cfg(test)]
mod tests;
