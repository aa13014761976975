//! Results for other programs, one format a file.

pub mod junit;
