//! What every floor stands on: scratch space, file systems, opened drivers, memory in sight.

use super::FloorPlan;
use crate::bench::bed::Bed;
use crate::bench::corpus::Corpora;
use crate::bench::ground::Ground;
use crate::bench::plan::BenchPlan;
use crate::bench::subject::{DriverSubject, Opening};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use strata_driver::{Durability, Host, OpenOptions, Registry};

/// A scratch directory with what is needed to make file systems and open drivers.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) plan: &'a FloorPlan,
    registry: &'a Registry,
    host: Host,
    runtime: tokio::runtime::Runtime,
    ground: Ground,
}

impl<'a> Stage<'a> {
    /// Takes scratch space, and begins to watch memory.
    pub(super) fn new(plan: &'a FloorPlan, registry: &'a Registry) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        crate::interrupt::listen(&runtime);
        let mut ground = BenchPlan::new(Vec::new(), "");
        ground.scratch.clone_from(&plan.scratch);
        // proc_pid_clear_refs(5): 5 sets the peak to what is resident now.
        fs_err::write("/proc/self/clear_refs", "5")?;
        Ok(Self {
            plan,
            registry,
            host: Host::probe(),
            runtime,
            ground: Ground::take(&ground)?,
        })
    }

    /// Most memory resident since the stage was made, in bytes.
    pub(super) fn peak_memory() -> Result<u64> {
        let status = fs_err::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kilobytes
            .context("no VmHWM in /proc/self/status")?
            .parse::<u64>()?
            << 10)
    }

    /// A fresh file system.
    pub(super) fn bed(&self, kind: &str) -> Result<Bed> {
        Bed::make(kind, self.ground.path(), kind)
    }

    /// A fresh file system whose files are named after `name`.
    pub(super) fn bed_called(&self, kind: &str, name: &str) -> Result<Bed> {
        Bed::make(kind, self.ground.path(), name)
    }

    /// The scratch directory.
    pub(super) fn path(&self) -> &Path {
        self.ground.path()
    }

    /// The large tree as tars.
    pub(super) fn corpora(&self) -> Result<Corpora> {
        Corpora::make(&self.plan.rootfs, self.path(), self.plan.seed)
    }

    /// Opens the driver called `name` in a new directory of `bed`.
    pub(super) fn open(
        &self,
        name: &str,
        bed: &Bed,
        durability: Durability,
    ) -> Result<DriverSubject> {
        let number = fs_err::read_dir(self.path())?.count();
        let target: PathBuf = self.path().join(format!("mount-{number}"));
        fs_err::create_dir(&target)?;
        let root = bed.path().join(format!("root-{number}"));
        let options = OpenOptions::new(root).with_durability(durability);
        let factory = self
            .registry
            .get(name)
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let opening = Opening {
            factory: factory.clone(),
            options,
            host: self.host.clone(),
        };
        DriverSubject::open(opening, self.runtime.handle().clone(), target)
    }
}
