//! The kernel's FUSE protocol, as a file system server in Rust sees it.
//!
//! A [`Filesystem`] answers requests; a [`Session`] mounts it and runs it on
//! threads. Everything between, from the bytes of `/dev/fuse` to typed requests and back, is in
//! this crate, and no meaning: it knows no union.
#![forbid(unsafe_code)]

mod crew;
mod dispatch;
mod filesystem;
mod notify;
mod reply;
mod request;
mod session;
mod types;
mod wire;

pub use filesystem::{DirectorySink, Filesystem, Made};
pub use notify::Notifier;
pub use session::{Features, Session, SessionOptions};
pub use types::{
    Attr, AttrReply, Backing, Caller, Created, Entry, FileKind, Handle, NodeId, OpenReply,
    ReaddirKind, RenameFlags, SetAttr, StatFs, TimeChange, Ttl, WriteFlags,
};
