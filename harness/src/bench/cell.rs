//! A cell: a driver, or the control, on a fresh file system.

use crate::bench::bed::Bed;
use crate::bench::plan::CellSpec;
use crate::bench::report::Role;
use crate::bench::subject::{DriverSubject, Opening, PlainSubject, Subject};
use anyhow::{Context, Result, bail};
use std::path::Path;
use strata_driver::{Availability, Host, OpenOptions, PrepareOptions, Registry, SnapshotName};

/// Name of the control in every output.
pub(super) const CONTROL: &str = "control";
/// File system of the control.
pub(super) const CONTROL_FILE_SYSTEM: &str = "ext4";

/// What all cells of a run are made with.
#[derive(Debug)]
pub(super) struct Making<'a> {
    pub(super) registry: &'a Registry,
    pub(super) host: &'a Host,
    pub(super) ground: &'a Path,
    pub(super) runtime: &'a tokio::runtime::Handle,
}

/// A cell of a run.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) label: String,
    pub(super) role: Role,
    pub(super) spec: Option<CellSpec>,
    /// Types of file system that the driver mounts.
    pub(super) mount_types: Vec<String>,
    /// Another sample emptied caches that this cell's samples expect full.
    pub(super) cold: bool,
    // The driver is closed before its file system goes.
    pub(super) subject: Box<dyn Subject>,
    pub(super) bed: Bed,
}

impl Cell {
    /// Opens the driver of `spec` on a fresh file system. An error is the reason to skip it.
    pub(super) fn open(making: &Making<'_>, spec: &CellSpec, role: Role) -> Result<Self> {
        let Ok(factory) = making.registry.get(&spec.driver) else {
            let known = making.registry.factories().iter();
            let names: Vec<_> = known.map(|known| known.name().to_string()).collect();
            bail!(
                "this build has no driver `{}`; it has {}",
                spec.driver,
                names.join(", ")
            );
        };
        let number = making.ground.read_dir()?.count();
        let name = format!("cell-{number}");
        let bed = Bed::make(&spec.file_system, making.ground, &name)?;
        let target = making.ground.join(format!("{name}-mount"));
        fs_err::create_dir(&target)?;
        let mut options =
            OpenOptions::new(bed.path().join("root")).with_durability(spec.durability);
        options.settings.clone_from(&spec.settings);
        if let Availability::Unavailable(why) = factory.probe(making.host, &options.root) {
            bail!("{}; {}", why.missing, why.hint);
        }
        let opening = Opening {
            factory: factory.clone(),
            options,
            host: making.host.clone(),
        };
        let subject = DriverSubject::open(opening, making.runtime.clone(), target)?;
        let mount_types = mount_types(&subject)?;
        let twin = if role == Role::Twin { " (twin)" } else { "" };
        Ok(Self {
            label: format!("{}{twin}", spec.label()),
            role,
            spec: Some(spec.clone()),
            mount_types,
            cold: false,
            subject: Box::new(subject),
            bed,
        })
    }

    /// The control on a fresh file system.
    pub(super) fn control(making: &Making<'_>) -> Result<Self> {
        let bed = Bed::make(CONTROL_FILE_SYSTEM, making.ground, CONTROL)?;
        let target = making.ground.join("control-mount");
        let trees = bed.path().join("trees");
        fs_err::create_dir(&target)?;
        fs_err::create_dir(&trees)?;
        Ok(Self {
            label: CONTROL.to_owned(),
            role: Role::Control,
            spec: None,
            mount_types: Vec::new(),
            cold: false,
            subject: Box::new(PlainSubject::new(trees, target)),
            bed,
        })
    }
}

/// Which types of file system a plan of this driver names.
fn mount_types(subject: &DriverSubject) -> Result<Vec<String>> {
    let key = SnapshotName::new("probe").context("the name is well formed")?;
    let options = PrepareOptions::default();
    subject.wait(subject.driver().prepare(&key, None, &options))?;
    let plan = subject.wait(subject.driver().mounts(&key))?;
    subject.wait(subject.driver().remove(&key))?;
    Ok(plan.steps.into_iter().map(|step| step.fs_type).collect())
}

impl Drop for Cell {
    fn drop(&mut self) {
        if let Err(error) = self.subject.close() {
            tracing::warn!(cell = self.label, "closing failed: {error:#}");
        }
    }
}
