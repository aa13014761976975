//! The journal of a layer: all of its tar but the contents of its files.
//!
//! Written in the pass that applies the layer, it gives the tar back to the bit, says what the
//! layer holds without a mount, and names the file that no longer is what it was. It is a zstd
//! stream of [records](record::Record); `docs/formats.md` has the form.
//!
//! Contents are taken from the layer's tree. What the tree cannot give back (of a name that is
//! given twice, of a file in whose place the layer then puts something else, stored sparsely, or
//! reached through a link of the same layer) stands in the journal itself.

mod read;
mod reassemble;
mod record;
mod stated;
mod write;

pub use read::JournalReader;
pub use reassemble::{Reassembled, reassemble};
pub use record::{Kind, Record};
pub use stated::{Stated, Statement};
pub use write::{Inline, JournalWriter, Written, write_again};
