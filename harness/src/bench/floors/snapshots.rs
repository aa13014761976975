//! Snapshots of subvolumes against the bare ioctls: a life of one, and lives among many.

use super::Figure;
use super::alternate::{Side, alternate, alternate_on};
use super::lifecycle::chain;
use super::stage::Stage;
use crate::bench::bed::Bed;
use crate::bench::subject::{DriverSubject, Live, Subject};
use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use strata_driver::Durability;
use strata_sys::btrfs;

/// Lives of one run.
const REPEAT: u32 = 20;
const MANY: u32 = 10_000;
const FEW: u32 = 10;
/// What an operation may cost among many of what it costs among few, beside the kernel's own
/// growth.
const GROWTH: f64 = 1.2;

/// Something done to what has this name.
type Work = dyn Fn(&Ground, &str) -> Result<()>;

/// One file system with its driver, the layer to stand on, and the bare side.
struct Ground {
    subject: DriverSubject,
    base: String,
    raw: Raw,
    /// Of the base, from which both sides copy.
    view: Live,
}

/// A read-only subvolume of one file, and a directory for snapshots of it.
struct Raw {
    directory: File,
    layer: File,
    log: Option<File>,
}

impl Raw {
    fn new(bed: &Bed, durability: Durability) -> Result<Self> {
        let path = bed.path().join("raw");
        fs_err::create_dir(&path)?;
        let directory = fs_err::File::open(&path)?.into_parts().0;
        btrfs::create(&directory, "base".as_ref())?;
        fs_err::write(path.join("base/layer-1"), "layer-1")?;
        let base = fs_err::File::open(path.join("base"))?;
        btrfs::snapshot(&base, &directory, "layer".as_ref(), true)?;
        let layer = fs_err::File::open(path.join("layer"))?.into_parts().0;
        let log = match durability {
            Durability::Volatile => None,
            Durability::Durable => {
                let log = fs_err::File::create_new(path.join("log"))?.into_parts().0;
                for page in 0..256 {
                    log.write_all_at(&[0; 4096], page * 4096)?;
                }
                Some(log)
            }
        };
        Ok(Self {
            directory,
            layer,
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

    fn make(&self, name: &str) -> Result<()> {
        Ok(btrfs::snapshot(
            &self.layer,
            &self.directory,
            name.as_ref(),
            false,
        )?)
    }

    fn once(&self) -> Result<()> {
        self.make("life")?;
        self.record()?;
        self.destroy("life")?;
        self.record()
    }

    fn destroy(&self, name: &str) -> Result<()> {
        Ok(btrfs::destroy(&self.directory, name.as_ref())?)
    }
}

fn open(stage: &Stage<'_>, bed: &Bed, durability: Durability) -> Result<(DriverSubject, String)> {
    let driver = stage.plan.snapshotting.as_deref();
    let driver = driver.context("this program has no driver of subvolumes")?;
    let subject = stage.open(driver, bed, durability)?;
    let base = chain(&subject, 1)?;
    Ok((subject, base))
}

fn once(subject: &DriverSubject, base: &str) -> Result<()> {
    subject.prepare("life", Some(base))?;
    subject.remove("life")
}

/// prepare and remove against a snapshot and its destruction, with the class's own syncs.
pub(super) fn measure(stage: &Stage<'_>, durability: Durability) -> Result<Vec<Figure>> {
    let bed = stage.bed("btrfs")?;
    let (subject, base) = open(stage, &bed, durability)?;
    let raw = Raw::new(&bed, durability)?;
    let pairs = alternate_on(
        &bed,
        stage.plan.rounds * 2,
        || (0..REPEAT).try_for_each(|_| once(&subject, &base)),
        || (0..REPEAT).try_for_each(|_| raw.once()),
    )?;
    subject.close()?;
    Ok(vec![pairs.wall("wall ratio", 1.3)?])
}

/// What grows with the number of subvolumes: of the driver's operations and of the bare ioctls.
pub(super) fn measure_held(stage: &Stage<'_>) -> Result<Vec<Figure>> {
    let beds = [stage.bed("btrfs")?, stage.bed_called("btrfs", "btrfs-few")?];
    let class = Durability::Volatile;
    let mut sides = Vec::new();
    for (bed, held) in beds.iter().zip([MANY, FEW]) {
        let (subject, base) = open(stage, bed, class)?;
        for number in 0..held {
            subject.prepare(&format!("held-{number}"), Some(&base))?;
        }
        // The bare ioctl copies from the same layer: what a snapshot costs depends on how many
        // there are of its source.
        subject.view("view", &base)?;
        let view = subject.mount_at("view", u32::from(held == FEW))?;
        let mut raw = Raw::new(bed, class)?;
        raw.layer = fs_err::File::open(view.path())?.into_parts().0;
        sides.push(Ground {
            subject,
            base,
            raw,
            view,
        });
    }
    let [many, few] = sides.as_slice() else {
        anyhow::bail!("two sides are made");
    };
    let each = |ground: &Ground, work: &Work| {
        (0..REPEAT).try_for_each(|number| work(ground, &format!("life-{number}")))
    };
    // Undone after each run; what only undoes is done once before.
    let growth = |work: &Work, undo: &Work| {
        let drain = || beds.iter().try_for_each(Bed::drain);
        alternate(
            stage.plan.rounds,
            &mut Side {
                work: &mut || each(many, work),
                restore: &mut || each(many, undo).and_then(|()| drain()),
            },
            &mut Side {
                work: &mut || each(few, work),
                restore: &mut || each(few, undo).and_then(|()| drain()),
            },
        )
    };
    let prepare: &Work = &|ground, name| ground.subject.prepare(name, Some(&ground.base));
    let remove: &Work = &|ground, name| ground.subject.remove(name);
    let snapshot: &Work = &|ground, name| ground.raw.make(name);
    let destroy: &Work = &|ground, name| ground.raw.destroy(name);
    let mut figures = Vec::new();
    let mut compare = |what: &str, [ours, undo]: [&Work; 2], [bare, undo_bare]: [&Work; 2]| {
        let kernel = growth(bare, undo_bare)?;
        let kernel = kernel.wall(&format!("{what}, growth of the bare ioctl"), f64::INFINITY)?;
        let limit = (kernel.value.median.max(1.0) * GROWTH * 100.0).round() / 100.0;
        figures.push(growth(ours, undo)?.wall(&format!("{what}, growth"), limit)?);
        figures.push(kernel);
        anyhow::Ok(())
    };
    compare("prepare", [prepare, remove], [snapshot, destroy])?;
    for ground in &sides {
        each(ground, prepare)?;
        each(ground, snapshot)?;
    }
    compare("remove", [remove, prepare], [destroy, snapshot])?;
    let list: &Work = &|Ground { subject, .. }, _| {
        let listed = subject.wait(subject.driver().list())?;
        anyhow::ensure!(!listed.is_empty(), "nothing is listed");
        Ok(())
    };
    // A list is as long as what it lists.
    let lists = growth(list, &|_, _| Ok(()))?;
    figures.push(lists.wall("list, growth", GROWTH * f64::from(MANY / FEW))?);
    for Ground {
        subject, raw, view, ..
    } in sides
    {
        drop(raw);
        view.unmount()?;
        subject.close()?;
    }
    Ok(figures)
}
