//! A union file system in aufs's on-disk format, over FUSE.
//!
//! `docs/adr/0012-the-union-file-system.md` says how it is made: what an inode is, when a file is
//! copied up, which open goes where. The order of reading: [`state`] (branches and nodes),
//! [`lookup`], [`copyup`], [`open`], then what changes names.

mod attributes;
mod branch;
mod branches;
pub mod control;
mod copyup;
mod create;
mod filesystem;
mod listing;
mod lookup;
mod marks;
mod names;
mod node;
mod open;
mod options;
mod place;
mod remove;
mod rename;
mod serve;
mod settle;
mod shown;
mod state;
mod xino;

pub use control::BranchControl;
pub use options::{
    Access, BranchOption, Coherence, CopyUpOnOpen, CopyUpPolicy, CreatePolicy, OptionError, Udba,
    UnionOptions, Xino,
};
pub use serve::{UnionError, serve};
pub use settle::{lacks_names, settle};
