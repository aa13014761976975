//! Mounting plans: live mounts as values.

pub mod hold;
use crate::catalog::Catalog;
use crate::counters::Counters;
use crate::error::Result;
use crate::name::SnapshotName;
use crate::plan::{MountPlan, MountStep};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_sys::statmount::UniqueMountId;

/// Mounts for a driver itself, and counts it.
#[derive(Clone, Debug, Default)]
pub struct Mounter {
    counters: Arc<Counters>,
}
impl Mounter {
    /// A mounter that counts on `counters`.
    pub fn new(counters: Arc<Counters>) -> Self {
        Self { counters }
    }
    /// Mounts `plan` on the existing directory `target`.
    pub fn mount(&self, plan: &MountPlan, target: &Path) -> Result<Mounted> {
        todo!()
    }
    /// Mounts `plan` nowhere.
    pub fn detached(&self, plan: &MountPlan) -> Result<Detached> {
        todo!()
    }
}
/// Mounts `plan` on the existing directory `target`.
pub fn mount(plan: &MountPlan, target: &Path) -> Result<Mounted> {
    todo!()
}
/// Mounts `plan` nowhere: seen through its descriptor only.
pub fn detached(plan: &MountPlan) -> Result<Detached> {
    todo!()
}

/// A live mount. Unmounts when dropped.
#[derive(Debug)]
#[must_use = "dropping a mount unmounts it"]
pub struct Mounted {}
impl Mounted {
    /// Unmounts; `InUse` names who holds it.
    pub fn unmount(self) -> Result<()> {
        todo!()
    }
    /// Leaves the mount in place.
    pub fn leak(self) -> PathBuf {
        todo!()
    }
    /// Where it is mounted.
    pub fn target(&self) -> &Path {
        todo!()
    }
    /// The kernel's identity of it (Linux 6.8).
    pub fn mount_id(&self) -> Option<UniqueMountId> {
        todo!()
    }
}
/// A mount that is attached nowhere; gone when dropped.
#[derive(Debug)]
pub struct Detached {}
impl Detached {
    /// An open directory (`O_RDONLY`): the root of the mount.
    pub fn root(&self) -> BorrowedFd<'_> {
        todo!()
    }
}
/// What mount(2) and containerd take for a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMount {
    /// Source.
    pub source: PathBuf,
    /// Type.
    pub fs_type: String,
    /// Options without commas inside them unescaped, one by one.
    pub options: Vec<String>,
}
impl MountPlan {
    /// A step as mount(2) takes it, escaped as overlay needs it.
    pub fn to_classic(&self, step: &MountStep) -> ClassicMount {
        todo!()
    }
}
/// Mounts that outlive the process.
#[derive(Debug)]
pub struct MountTable {
    catalog: Arc<Catalog>,
}
impl MountTable {
    /// Uses an open catalogue.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog }
    }
    /// Opens the catalogue of `root`.
    pub fn open(root: &Path) -> Result<Self> {
        todo!()
    }
    /// Mounts and records; the mount stays when this process ends.
    pub fn mount_and_record(&self, plan: &MountPlan, target: &Path) -> Result<()> {
        todo!()
    }
    /// Unmounts what is recorded on `target`, and forgets it.
    pub fn unmount_recorded(&self, target: &Path) -> Result<()> {
        todo!()
    }
}
