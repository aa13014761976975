//! How much of everything a reader takes before it refuses an archive.

/// Upper bounds that the [`Decoder`](super::Decoder) holds an archive to.
///
/// They bound memory, not disk: content passes by reference and may be of any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one PAX record, and of one GNU long name.
    pub pax_record: usize,
    /// Bytes of one PAX header.
    pub pax_header: usize,
    /// Bytes of a path, normalised.
    pub path: usize,
    /// Bytes of a symbolic link's target.
    pub link: usize,
    /// Bytes of all extended attributes of one entry, names and values, dropped ones included.
    pub xattrs: usize,
    /// Data segments of one sparse file.
    pub sparse_segments: usize,
    /// Entries of one archive, whiteouts and skipped ones included.
    pub entries: u64,
}

/// Bytes of a path that a layer carries: what one system call takes (`PATH_MAX` of Linux).
pub(super) const LONGEST_PATH: usize = 4096;
/// The first device numbers that Linux does not have (`MINORBITS` in its `kdev_t.h`).
pub(super) const MAJOR_LIMIT: u32 = 1 << 12;
pub(super) const MINOR_LIMIT: u32 = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            pax_record: 1 << 20,
            pax_header: 4 << 20,
            path: LONGEST_PATH,
            link: 4096,
            xattrs: 1 << 20,
            sparse_segments: 1 << 18,
            entries: 1 << 24,
        }
    }
}
