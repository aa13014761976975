#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod config;
mod diff;
mod driver;
mod error;
mod layout;
mod mechanism;
mod probe;
pub mod union;

pub use config::Config;
pub use driver::{Aufs, AufsFactory};
