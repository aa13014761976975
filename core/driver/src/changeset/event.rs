//! What a decoder tells its caller.

use super::entry::Item;

/// What one call of [`Decoder::advance`](super::Decoder::advance) did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How many bytes of the input are done with.
    ///
    /// They are content if the event is [`Event::Data`], and framing (headers, names, padding, end
    /// mark, skipped content) with any other event. Every byte of an archive is consumed exactly
    /// once, in order: framing and content put together again are the archive.
    pub consumed: usize,
    /// What they meant.
    pub event: Event,
}

/// What a decoder has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The whole input is consumed; more is needed, or [`Decoder::finish`](super::Decoder::finish).
    NeedMore,
    /// An entry, a whiteout or an opaque mark. After an entry that is a file come its [`Data`]
    /// and [`Hole`]s, in order and without gaps, then [`EndOfEntry`].
    ///
    /// [`Data`]: Event::Data
    /// [`Hole`]: Event::Hole
    /// [`EndOfEntry`]: Event::EndOfEntry
    Item(Item),
    /// The consumed bytes belong into the current file.
    Data {
        /// Where in the file they begin.
        offset: u64,
    },
    /// Zeros of the current file that the archive does not store.
    Hole {
        /// Where in the file they begin.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// The current file is complete.
    EndOfEntry,
    /// An entry that means nothing in a layer was left out.
    Skipped(Skipped),
    /// The end mark. What follows it is consumed and does not count.
    End,
}

/// An entry that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its name as the archive has it.
    pub name: Vec<u8>,
    /// Why.
    pub reason: SkipReason,
}

/// Why an entry was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// aufs's own records: `.wh..wh.plnk`, `.wh..wh.orph`, `.wh..wh.aufs`, and all below them.
    AufsMetadata,
    /// The label of a GNU tar volume.
    VolumeLabel,
}

/// What an archive held, known at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries, whiteouts, opaque marks and skipped entries.
    pub entries: u64,
    /// Entries left out.
    pub skipped: u64,
    /// Extended attributes left out: `security.selinux|ima|evm`, `btrfs.*`, and namespaces that
    /// layers do not carry.
    pub dropped_xattrs: u64,
    /// Whether the two zero blocks were there.
    pub end_mark: bool,
    /// Where the first byte after the end mark stands that is not zero. Such bytes are part of the
    /// archive's digest and of nothing else, as with GNU tar and Go.
    pub trailing_data: Option<u64>,
}
