//! Why an archive cannot be read, or an entry not written.

use std::fmt;

/// The longest stretch of a foreign name that a message shows.
const SHOWN_BYTES: usize = 200;

/// An archive that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {kind} (byte {offset} of the archive)")]
pub struct CodecError {
    /// Where in the archive: the header of the entry at fault, or the end of a truncated archive.
    pub offset: u64,
    /// What is wrong.
    pub kind: CodecErrorKind,
    /// What it is wrong with: a name, escaped for display.
    pub subject: String,
}

/// What is wrong with an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecErrorKind {
    /// The bytes are not a tar archive that means one thing.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// The archive ends inside an entry.
    #[error("truncated: the archive ends inside an entry")]
    Truncated,
    /// Well formed, and refused: no layer may hold this.
    #[error("refused: {0}")]
    Refused(Rule),
    /// More than [`Limits`](super::Limits) allow.
    #[error("over the limit: {what}, at most {limit}")]
    OverLimit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
}

impl From<Malformed> for CodecErrorKind {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Rule> for CodecErrorKind {
    fn from(rule: Rule) -> Self {
        Self::Refused(rule)
    }
}

/// How bytes fail to be a tar archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Neither the signed nor the unsigned sum of a header's bytes is the one it names.
    #[error("no tar header here: the checksum is wrong")]
    Checksum,
    /// A header field that is neither octal nor base-256, is negative, or is out of range.
    #[error("the header's {0} is no valid number")]
    Number(&'static str),
    /// A PAX record whose length, separator or newline is not where it must be.
    #[error("a record of the extended header has a wrong length or shape")]
    PaxRecord,
    /// A PAX value that cannot be understood.
    #[error("the extended header's value of `{0}` is not valid")]
    PaxValue(&'static str),
    /// Two extended headers of one kind before one entry: readers differ in which one counts.
    #[error("two extended headers of one kind stand before one entry")]
    RepeatedExtension,
    /// A GNU long name and a PAX path before one entry: readers differ in which one counts.
    #[error("the entry has a GNU long name and a PAX path")]
    TwoNames,
    /// An extended header that no entry follows.
    #[error("an extended header stands alone")]
    StrayExtension,
    /// One block of zeros with more headers after it: readers differ in whether it is the end.
    #[error("a single zero block stands before more data")]
    LoneZeroBlock,
    /// A sparse map out of order, overlapping, beyond the file, or not of the stored size.
    #[error("the sparse map does not fit the file")]
    SparseMap,
    /// A sparse file of an unknown version, or one that lacks its size.
    #[error("the sparse file's header is incomplete or of an unknown version")]
    SparseHeader,
    /// A POSIX ACL in text form that cannot be understood.
    #[error("the ACL is not valid")]
    Acl,
}

/// Which rule an entry breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// The name is empty.
    #[error("the name is empty")]
    EmptyName,
    /// The name holds a NUL byte.
    #[error("the name holds a NUL byte")]
    NulByte,
    /// The name has a `..` component.
    #[error("the name has a `..` component")]
    ParentComponent,
    /// A component is longer than any Linux file system stores.
    #[error("a component of the name is longer than 255 bytes")]
    LongComponent,
    /// A path that readers of layers refuse.
    #[error("the path is longer than 4096 bytes")]
    LongPath,
    /// `.wh.`, `.wh..` or `.wh...`: a whiteout of nothing, of the directory, or of its parent.
    #[error("the whiteout names no file")]
    EmptyWhiteout,
    /// A name that begins with `.wh.` where no whiteout can stand.
    #[error("names that begin with `.wh.` are whiteouts and cannot be carried by a layer")]
    WhiteoutName,
    /// A character device 0:0, which overlay takes for a whiteout.
    #[error("a character device 0:0 would hide files")]
    WhiteoutDevice,
    /// The root of the layer as anything but a directory.
    #[error("the root of a layer can only be a directory")]
    RootType,
    /// `trusted.overlay.*` or `user.overlay.*`: they would steer an overlay mount.
    #[error("overlay's own extended attributes cannot be carried by a layer")]
    OverlayXattr,
    /// An entry type that has no meaning in a layer.
    #[error("entries of type {} do not belong in a layer", Flag(*.0))]
    EntryType(u8),
    /// A global header that would give every entry after it a name, a size or attributes.
    #[error("a global header may not set names, sizes, ACLs or extended attributes")]
    GlobalKey,
    /// A hard link to the root.
    #[error("a hard link to a directory")]
    LinkToRoot,
    /// A link without a target.
    #[error("the link has no target")]
    EmptyTarget,
    /// An ACL entry that gives its user or group by name only.
    #[error("the ACL names a user or group without its number")]
    AclName,
    /// Owner 4294967295, which chown(2) takes for "leave as it is".
    #[error("4294967295 is no user or group")]
    NoOwner,
    /// A device number that Linux does not have, and would cut to another.
    #[error("Linux has no such device number")]
    DeviceNumber,
    /// An extended attribute name that PAX keys cannot hold.
    #[error("the extended attribute's name holds `=` or NUL and cannot be carried by a layer")]
    XattrName,
    /// A time stamp with a billion nanoseconds or more.
    #[error("the nanoseconds of the time stamp make a second")]
    Nanoseconds,
}

/// An entry that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: cannot be written to a layer: {rule}")]
pub struct EncodeError {
    /// The entry's path, escaped for display.
    pub subject: String,
    /// The rule it breaks.
    pub rule: Rule,
}

/// Shows a type flag as the character it is, or as a number.
struct Flag(u8);

impl fmt::Display for Flag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`", [self.0].escape_ascii())
    }
}

/// Escapes foreign bytes for a message, in quotes, and cuts them at a readable length.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let more = if cut.len() < bytes.len() { "..." } else { "" };
    format!("\"{}{more}\"", cut.escape_ascii())
}
