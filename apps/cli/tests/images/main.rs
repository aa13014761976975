//! The commands of images, as a person meets them, against a real registry.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(unreachable_pub, reason = "one program of several files")]

mod bad;
mod everyday;
mod kill;
mod streams;
mod support;
