#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod config;
mod diff;
mod driver;
mod error;
mod layout;
mod mechanism;
mod probe;

pub use config::{Config, Quota};
pub use diff::changed_names;
pub use driver::{Btrfs, BtrfsFactory};
