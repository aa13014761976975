//! Edges of the work's phases, told to whoever traces them.
//!
//! `STRATA_LOG=strata_store::phase=trace` shows them; otherwise each costs one look at a flag.
//! Tests kill the command between two of them.

/// A kind of work at which a process may be when it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// A blob comes, until it is verified, in its place and known.
    Fetch,
    /// A layer is unpacked into a snapshot.
    Extract,
    /// A layer gets its place among the others.
    Commit,
    /// An image and its names become visible.
    Publish,
    /// Images, layers and blobs go.
    Delete,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Fetch,
        Self::Extract,
        Self::Commit,
        Self::Publish,
        Self::Delete,
    ];

    /// Its name in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Extract => "extract",
            Self::Commit => "commit",
            Self::Publish => "publish",
            Self::Delete => "delete",
        }
    }

    /// Begins it; it ends when the value is dropped.
    pub fn enter(self) -> Entered {
        tracing::trace!("begin {}", self.as_str());
        Entered(self)
    }
}

/// A phase under way.
#[derive(Debug)]
#[must_use = "the phase ends when this is dropped"]
pub struct Entered(Phase);

impl Drop for Entered {
    fn drop(&mut self) {
        tracing::trace!("end {}", self.0.as_str());
    }
}
