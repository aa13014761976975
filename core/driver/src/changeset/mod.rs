//! The changeset codec: layers as tar archives, read and written.
//!
//! Nothing here does I/O. [`Decoder`] is fed byte slices and answers with events; the functions of
//! [`write`] append bytes to a buffer. What an entry means on disk is the business of whoever
//! applies it. The rules for names and attributes, and the canonical form, stand in
//! `docs/formats.md`.
//!
//! ```
//! use strata_driver::changeset::{Decoder, END_MARK, EntryPath, Event, Item, Limits, encode_whiteout};
//!
//! let mut archive = Vec::new();
//! encode_whiteout(&EntryPath::root(), b"gone", &mut archive)?;
//! archive.extend_from_slice(&END_MARK);
//!
//! let mut decoder = Decoder::new(Limits::default());
//! let mut names = Vec::new();
//! for mut input in archive.chunks(100) {
//!     loop {
//!         let step = decoder.advance(input)?;
//!         input = &input[step.consumed..];
//!         match step.event {
//!             Event::NeedMore => break,
//!             Event::Item(Item::Whiteout { name, .. }) => names.push(name),
//!             _ => {}
//!         }
//!     }
//! }
//! assert!(decoder.finish()?.end_mark);
//! assert_eq!(names, [b"gone"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
mod travel;
pub mod write;

pub use entry::{Entry, EntryKind, EntryPath, Item, Metadata, TarName, Timestamp, Xattr};
pub use error::{CodecError, CodecErrorKind, EncodeError, Malformed, Rule};
pub use event::{Event, SkipReason, Skipped, Step, Summary};
pub use limits::Limits;
pub use read::Decoder;
pub use travel::{is_overlay_mark, travels};
pub use write::{END_MARK, encode_entry, encode_item, encode_opaque, encode_whiteout, padding};

/// Size of a tar block; headers and content are padded to it.
pub const BLOCK: usize = 512;

/// One tar block.
pub(crate) type Block = [u8; BLOCK];
