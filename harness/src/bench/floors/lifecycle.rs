//! prepare, mount, unmount, remove against the raw sequence mkdir, mount, umount, rmdir.

use super::Figure;
use super::alternate::alternate_on;
use super::stage::Stage;
use crate::bench::bed::Bed;
use crate::bench::measure::{Phase, Recorder};
use crate::bench::subject::{DriverSubject, Subject, add_layer};
use crate::bench::syscalls::counter;
use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use strata_driver::{Durability, SnapshotName};
use strata_sys::mount::{MountClassic, mount_classic, unmount};

/// Lifecycles of one run, together long enough for the clock.
const REPEAT: u32 = 20;

/// Options by which a plan names directories; those of the raw sequence come first.
const DIRECTORY_OPTIONS: &[&str] = &["lowerdir", "lowerdir+", "upperdir", "workdir"];

/// What mount(2) takes of options: a page, with its NUL.
const PAGE: usize = 4095;

#[derive(Debug)]
pub(super) struct Lifecycle {
    depth: u32,
    durability: Durability,
}

impl Lifecycle {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let classes = [Durability::Volatile, Durability::Durable];
        classes
            .into_iter()
            .flat_map(|durability| [1, 8, 64].map(|depth| Self { depth, durability }))
    }

    pub(super) fn name(&self) -> String {
        format!("lifecycle-{}-{}", self.depth, self.durability.as_str())
    }

    pub(super) fn about(&self) -> String {
        let raw = match self.durability {
            Durability::Volatile => "",
            Durability::Durable => " and two fdatasyncs",
        };
        format!(
            "prepare, mount, unmount, remove on {} layers against mkdir, mount, umount, rmdir{raw}",
            self.depth
        )
    }

    pub(super) fn measure(&self, stage: &Stage<'_>) -> Result<Vec<Figure>> {
        let bed = stage.bed("ext4")?;
        let subject = stage.open(&stage.plan.stacking, &bed, self.durability)?;
        let base = chain(&subject, self.depth)?;
        let raw = Raw::new(&bed, &subject, self, &base)?;
        let pairs = alternate_on(
            &bed,
            stage.plan.rounds * 2,
            || (0..REPEAT).try_for_each(|_| once(&subject, &base)),
            || (0..REPEAT).try_for_each(|_| raw.once()),
        )?;
        let mut figures = vec![pairs.wall("wall ratio", 1.3)?];
        figures.extend(self.syncs(stage, &bed, &subject, &base)?);
        subject.close()?;
        Ok(figures)
    }

    /// Calls that wait for the disk, per operation that changes something.
    fn syncs(
        &self,
        stage: &Stage<'_>,
        bed: &Bed,
        subject: &DriverSubject,
        base: &str,
    ) -> Result<Option<Figure>> {
        let Ok(mut counter) = counter(stage.path()) else {
            return Ok(None);
        };
        let mut recorder = Recorder::counting(bed, Some(counter.as_mut()))?;
        recorder.time(&Phase::new("once"), || {
            let key = "counted";
            subject.prepare(key, Some(base))?;
            subject.remove(key)
        })?;
        let counts = recorder.syscalls()?.unwrap_or_default();
        let limit = match self.durability {
            Durability::Durable => 1.0,
            Durability::Volatile => 0.0,
        };
        let each = counts.sync_total() as f64 / 2.0;
        Ok(Some(Figure::count("syncs per operation", each, limit)))
    }
}

/// A chain of `depth` layers of one file each; the name of its top.
pub(super) fn chain(subject: &dyn Subject, depth: u32) -> Result<String> {
    let mut parent: Option<String> = None;
    for layer in 1..=depth {
        let name = format!("layer-{layer}");
        add_layer(subject, parent.as_deref(), &name, &mut |root| {
            Ok(fs_err::write(root.join(&name), &name)?)
        })?;
        parent = Some(name.clone());
    }
    parent.context("a chain has a layer")
}

/// One life of a snapshot.
pub(super) fn once(subject: &DriverSubject, base: &str) -> Result<()> {
    let key = "life";
    subject.prepare(key, Some(base))?;
    subject.mount(key)?.unmount()?;
    subject.remove(key)
}

/// The fixed sequence, with the very layers and options that the driver mounts.
#[derive(Debug)]
struct Raw {
    directory: PathBuf,
    fs_type: String,
    options: String,
    log: Option<File>,
}

impl Raw {
    fn new(bed: &Bed, subject: &DriverSubject, life: &Lifecycle, base: &str) -> Result<Self> {
        let directory = bed.path().join("raw");
        fs_err::create_dir(&directory)?;
        let key = SnapshotName::new("options")?;
        subject.prepare(key.as_str(), Some(base))?;
        let plan = subject.wait(subject.driver().mounts(&key))?;
        subject.remove(key.as_str())?;
        let step = plan.steps.first().context("the plan has no step")?;
        let lower: Vec<_> = step
            .options
            .iter()
            .filter(|option| option.key == "lowerdir+")
            .filter_map(|option| option.value.as_deref())
            .collect();
        let mut options = vec![
            format!("lowerdir={}", lower.join(":")),
            format!("upperdir={}", directory.join("life/upper").display()),
            format!("workdir={}", directory.join("life/work").display()),
        ];
        for option in &step.options {
            if !DIRECTORY_OPTIONS.contains(&option.key.as_str()) {
                let value = option.value.as_ref().map(|value| format!("={value}"));
                options.push(format!("{}{}", option.key, value.unwrap_or_default()));
            }
        }
        let options = options.join(",");
        ensure!(
            options.len() <= PAGE,
            "mount(2) takes {PAGE} bytes of options, and these are {}: give a shorter --scratch",
            options.len()
        );
        let log = match life.durability {
            Durability::Volatile => None,
            Durability::Durable => {
                let path = directory.join("log");
                let log = fs_err::File::create_new(path)?.into_parts().0;
                // One long write would make one large folio, in which small writes are slow.
                for page in 0..256 {
                    log.write_all_at(&[0; 4096], page * 4096)?;
                }
                Some(log)
            }
        };
        Ok(Self {
            directory,
            fs_type: step.fs_type.clone(),
            options,
            log,
        })
    }

    fn record(&self) -> Result<()> {
        if let Some(log) = &self.log {
            log.write_all_at(&[1; 4096], 0)?;
            log.sync_data()?;
        }
        Ok(())
    }

    fn once(&self) -> Result<()> {
        let life = self.directory.join("life");
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| life.join(name));
        for path in [&life, &upper, &work, &merged] {
            fs_err::create_dir(path)?;
        }
        self.record()?;
        mount_classic(&MountClassic {
            source: "raw".as_ref(),
            target: &merged,
            fstype: &self.fs_type,
            flags: MountFlags::empty(),
            data: self.options.as_ref(),
        })?;
        unmount(&merged, UnmountFlags::empty())?;
        // The kernel made directories of its own in the work directory.
        remove_inner(&work)?;
        for path in [&upper, &work, &merged, &life] {
            fs_err::remove_dir(path)?;
        }
        self.record()
    }
}

fn remove_inner(work: &Path) -> Result<()> {
    for entry in fs_err::read_dir(work)? {
        crate::bench::corpus::remove(&entry?.path())?;
    }
    Ok(())
}
