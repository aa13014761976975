//! A union file system in aufs's on-disk format, over FUSE.

mod options;

pub use options::{
    Access, BranchOption, Coherence, CopyUpOnOpen, CopyUpPolicy, CreatePolicy, OptionError, Udba,
    UnionOptions, Xino,
};
