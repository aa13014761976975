//! The AUFS-style driver.
#![forbid(unsafe_code)]

mod error;
pub mod union;
