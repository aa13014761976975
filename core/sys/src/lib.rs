//! Kernel interfaces: every `unsafe` block of the workspace, and nothing that decides anything.
//!
//! A module per interface. Each wraps what [`rustix`] lacks, or what gains by a wrapper (an error
//! that names the call and its object, a buffer that grows, a value that releases on drop); what
//! rustix already offers as a safe call is called directly by the other crates.
//!
//! Each fallible call returns a [`SysError`].
#![warn(clippy::multiple_unsafe_ops_per_block)]

pub mod btrfs;
pub mod btrfs_send;
pub mod btrfs_space;
pub mod dir;
mod error;
pub mod file;
pub mod fuse;
mod kernel_log;
pub mod lock;
pub mod loopdev;
pub mod map;
pub mod mount;
pub mod mountinfo;
pub mod namespace;
pub mod quota;
pub mod socket;
pub mod statmount;
mod syscall;
pub mod thread;
pub mod xattr;

pub use error::{Result, SysError};
