//! Mounts that outlive their process, for the command line: rows of the catalogue.

use super::build::{self, Interface};
use super::unmount::Server;
use super::{hold, resolved, unmount};
use crate::catalog::{Catalog, CatalogOptions, MountRow, ProcessId};
use crate::error::{Error, ErrorKind, Result};
use crate::options::Durability;
use crate::plan::MountPlan;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_sys::{namespace, statmount};

/// The recorded mounts of one driver root.
#[derive(Clone, Debug)]
pub struct MountTable {
    catalog: Arc<Catalog>,
}

impl MountTable {
    /// The mounts recorded in an open catalogue.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog }
    }

    /// The mounts recorded in `root`, whichever driver's it is.
    pub fn open(root: &Path) -> Result<Self> {
        let driver = Catalog::peek(root)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "open root")
                .because("the directory is no driver's root")
                .with("root", root.display())
        })?;
        let options = CatalogOptions {
            driver: &driver,
            // Mount rows are not worth a sync: no mount survives a power loss.
            durability: Durability::Volatile,
        };
        Ok(Self::new(Arc::new(Catalog::open(root, &options)?)))
    }

    /// Mounts `plan` on the existing directory `target` and records it; the mount stays when this
    /// process ends. Gives the target as it is recorded.
    ///
    /// A target that has a recorded mount already is [`ErrorKind::InUse`]; one over which or in
    /// which the root lies is [`ErrorKind::InvalidInput`].
    pub fn mount_and_record(&self, plan: &MountPlan, target: &Path) -> Result<PathBuf> {
        let target = resolved(target)?;
        // Shared until all is recorded and attached: a commit that takes the hold afterwards
        // finds the rows.
        let held = plan.hold.as_deref().map(hold::share).transpose()?;
        let snapshot = self.catalog.get(&plan.snapshot)?.id;
        self.refuse_in_the_way(&target)?;
        self.refuse_second(&target)?;
        let row = MountRow {
            snapshot,
            target: target.clone(),
            mount_id: None,
            namespace: statmount::mount_namespace_id()?,
            boot_id: namespace::boot_id()?,
            holder: ProcessId::own()?,
        };
        let mut attached = 0;
        let outcome = plan.steps.iter().try_for_each(|step| {
            build::attach(step, &target, Interface::of_kernel(), &mut |mount_id| {
                self.catalog.record_mount(&MountRow {
                    mount_id,
                    ..row.clone()
                })
            })?;
            attached += usize::from(!step.is_remount());
            Ok(())
        });
        if let Err(error) = outcome {
            let undone = unmount::all(&target, attached, None, Server::Unknown)
                .and_then(|()| self.catalog.forget_mount(&target));
            return Err(match undone {
                Ok(()) => error,
                Err(rollback) => error.with_rollback(rollback),
            });
        }
        drop(held);
        Ok(target)
    }

    /// Unmounts what is recorded on `target`, and forgets it; what is gone already is only
    /// forgotten. Nothing recorded there is [`ErrorKind::NotFound`].
    pub fn unmount_recorded(&self, target: &Path) -> Result<()> {
        const OPERATION: &str = "unmount";
        // A target that was deleted can still have rows.
        let target = resolved(target).or_else(|_| {
            std::path::absolute(target).map_err(|error| Error::io(OPERATION, error))
        })?;
        let rows = self.catalog.mounts_on(&target)?;
        if rows.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, OPERATION)
                .because("no mount is recorded there")
                .with("target", target.display()));
        }
        let boot_id = namespace::boot_id()?;
        let own = statmount::mount_namespace_id()?;
        for row in rows.iter().rev().filter(|row| row.boot_id == boot_id) {
            if row.namespace == own {
                unmount::all(&target, 1, row.mount_id, Server::Unknown)?;
            } else if self.catalog.is_mounted(row.snapshot)?.is_some() {
                return Err(Error::new(ErrorKind::InUse, OPERATION)
                    .because("it is mounted in another mount namespace")
                    .with("target", target.display())
                    .with("namespace", row.namespace)
                    .hint("unmount it from there, or end that namespace's last process"));
            }
        }
        self.catalog.forget_mount(&target)
    }

    /// All recorded mounts, confirmed or not, in the order of recording.
    pub fn list(&self) -> Result<Vec<MountRow>> {
        self.catalog.mounts()
    }

    /// A mount that hides the root, or lies in it, could not be found again to be taken away.
    fn refuse_in_the_way(&self, target: &Path) -> Result<()> {
        let root = resolved(self.catalog.root())?;
        if !root.starts_with(target) && !target.starts_with(&root) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidInput, "mount")
            .because("the target would hide the driver's root, or lies in it")
            .with("target", target.display())
            .with("root", root.display())
            .hint("choose an empty directory elsewhere"))
    }

    fn refuse_second(&self, target: &Path) -> Result<()> {
        for row in self.catalog.mounts_on(target)? {
            let confirmed = self.catalog.is_mounted(row.snapshot)?;
            if confirmed.is_some_and(|mount| mount.target == target) {
                return Err(Error::new(ErrorKind::InUse, "mount")
                    .because("the target has a recorded mount already")
                    .with("target", target.display())
                    .hint("unmount it first, or choose another directory"));
            }
        }
        // What is left there was refuted.
        self.catalog.forget_mount(target)
    }
}
