//! The AUFS-style driver.
#![forbid(unsafe_code)]

pub mod union;
