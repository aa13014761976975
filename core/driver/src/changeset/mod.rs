//! The changeset codec: layers as tar archives, read and written.
//!
//! Nothing here does I/O. [`Decoder`] is fed byte slices and answers with events; the functions of
//! [`write`] append bytes to a buffer. What an entry means on disk is the business of whoever
//! applies it. The rules for names and attributes, and the canonical form, stand in
//! `docs/formats.md`.

mod acl;
mod assemble;
mod content;
pub mod entry;
pub mod error;
pub mod event;
mod header;
pub mod limits;
mod pax;
pub mod read;
mod sparse;
pub mod write;

pub use entry::{Entry, EntryKind, EntryPath, Item, Metadata, TarName, Timestamp, Xattr};
pub use error::{CodecError, CodecErrorKind, EncodeError, Malformed, Rule};
pub use event::{Event, SkipReason, Skipped, Step, Summary};
pub use limits::Limits;
pub use read::Decoder;
pub use write::{END_MARK, encode_entry, encode_item, encode_opaque, encode_whiteout, padding};

/// Size of a tar block; headers and content are padded to it.
pub const BLOCK: usize = 512;

/// One tar block.
pub(crate) type Block = [u8; BLOCK];
