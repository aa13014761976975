//! The contract between storage drivers and everything that uses them, and what all drivers share.
//!
//! [`StorageDriver`] is what a driver implements and nothing more; a [`DriverFactory`] opens one.
//! Around the trait stand the pieces that no driver should write again: the [catalogue](catalog)
//! of snapshots, the [changeset](changeset) codec, [applying](apply) a changeset, the exact
//! naive [diff](diff), the [tree](tree) walk and copy, and mounting a [`MountPlan`].
//!
//! No driver is named in this crate.
#![forbid(unsafe_code)]

pub mod apply;
pub mod backing;
pub mod catalog;
pub mod changeset;
pub mod database;
pub mod diff;
pub mod guard;
pub mod holder;
pub mod mount;
pub mod probe;
pub mod process;
pub mod quota;
pub mod recovery;
pub mod tree;
pub mod upper;

mod blocking;
mod capability;
mod checked;
mod counters;
mod driver;
mod error;
mod factory;
mod host;
mod name;
mod options;
mod plan;
mod snapshot;
mod stream;

pub use apply::apply;
pub use blocking::blocking;
pub use capability::{Capabilities, Capability, CapabilitySet, Limits, Quirk, QuirkSet};
pub use checked::{CapabilityOverrides, Checked, OVERRIDES_VARIABLE};
pub use counters::Counters;
pub use driver::StorageDriver;
pub use error::{BoxError, Error, ErrorKind, Result};
pub use factory::{Availability, DriverFactory, OpenOptions, OptionSpec, Registry, Unavailable};
pub use host::Host;
pub use name::{DriverName, SnapshotName};
pub use options::{
    ApplyObserver, ApplyOptions, CommitOptions, DiffOptions, Durability, PrepareOptions,
};
pub use plan::{MountFlags, MountOption, MountPlan, MountStep};
pub use snapshot::{
    Applied, Bytes, Change, ChangeKind, DiffId, DriverInfo, Inodes, Labels, Reclaimed,
    SnapshotInfo, SnapshotKind, Usage,
};
pub use stream::{ChangesetSource, DiffSink, DiffStream, diff_channel};
