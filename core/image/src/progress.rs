//! What is told of a pull, a push or a load while it goes on.

use std::time::Duration;

/// What becomes of one layer, in Docker's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is to be fetched.
    Pulling,
    /// It waits for others to be fetched first.
    Waiting,
    /// The store has it.
    AlreadyExists,
    /// Bytes of its blob that have come, of how many.
    Downloading(u64, u64),
    /// All of them have come.
    Verifying,
    /// They are the right ones.
    Downloaded,
    /// Bytes of its blob that are unpacked, of how many.
    Extracting(u64, u64),
    /// It is in the store.
    Pulled,
    /// The registry failed, and will be asked again after this.
    Retrying(Duration),
    /// It is about to be pushed.
    Preparing,
    /// Bytes of its blob that were sent, of how many.
    Pushing(u64, u64),
    /// The registry has it now.
    Pushed,
    /// The registry had it.
    PushedBefore,
    /// The registry took it over from another repository.
    Mounted,
}

/// Listens. Called from several threads.
pub trait Progress: Send + Sync {
    /// A layer, by the id that is shown for it, reached a stage.
    fn layer(&self, id: &str, stage: Stage);
    /// Something is said of the whole, with an id before it or none.
    fn say(&self, id: Option<&str>, text: &str);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn layer(&self, _id: &str, _stage: Stage) {}
    fn say(&self, _id: Option<&str>, _text: &str) {}
}
