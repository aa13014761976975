//! The executable model: what a union file system and its layers mean, in memory.

pub mod content;
pub mod inode;
pub mod operation;
pub mod text;
