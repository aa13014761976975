//! What every case file uses.

pub use crate::case::{Case, Group};
pub use crate::context::{Context, expect_kind, expect_one_of, name};
pub use crate::edit::{Dir, Owner};
pub use crate::tar::{Entry, archive};
pub use crate::tree::{Facet, Kind, Tree};
pub use anyhow::{Context as _, Result, bail, ensure};
pub use strata_driver::{
    Bytes, Capability, ChangeKind, CommitOptions, DiffOptions, ErrorKind, Labels, PrepareOptions,
    Quirk, SnapshotKind, SnapshotName,
};
