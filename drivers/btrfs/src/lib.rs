//! The btrfs driver: what the kernel's send stream says of two snapshots.
#![forbid(unsafe_code)]

mod names;
mod native;
mod stream;

pub use native::changed_names;
