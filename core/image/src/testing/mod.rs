//! A registry for tests that misbehaves on request.
//!
//! Behind the feature `testing`. [`FakeRegistry`] serves what it was given from memory on a
//! loopback port of its own; [`Fault`]s say what goes wrong, where and how often, and
//! [`FakeRegistry::requests`] tells what it was asked.

mod fake;
mod serve;

pub use fake::{Access, FakeRegistry, Fault, Seen};
