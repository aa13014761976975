//! Registries for tests: one that misbehaves on request, and Debian's real one where it is there.
//!
//! Behind the feature `testing`. [`FakeRegistry`] serves what it was given from memory on a
//! loopback port of its own; [`Fault`]s say what goes wrong, where and how often, and
//! [`FakeRegistry::requests`] tells what it was asked.

mod fake;
mod real;
mod serve;

pub use fake::{Access, FakeRegistry, Fault, Seen};
pub use real::DockerRegistry;
