//! Snapshots of subvolumes against the bare ioctls: a life of one, and lives among many.

use super::Figure;
use super::alternate::{Pairs, Side, alternate, alternate_on};
use super::lifecycle::chain;
use super::stage::Stage;
use crate::bench::bed::Bed;
use crate::bench::subject::{DriverSubject, Subject};
use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use strata_driver::Durability;
use strata_sys::btrfs;

/// Lives of one run.
const REPEAT: u32 = 20;
const MANY: u32 = 10_000;
const FEW: u32 = 10;

/// One file system with its driver, the layer to stand on, and the bare side.
struct Ground {
    subject: DriverSubject,
    base: String,
    raw: Raw,
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
        btrfs::destroy(&self.directory, "life".as_ref())?;
        self.record()
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
        let raw = Raw::new(bed, class)?;
        sides.push(Ground { subject, base, raw });
    }
    let [many, few] = sides.as_slice() else {
        anyhow::bail!("two sides are made");
    };
    let compare = |work: &dyn Fn(&Ground) -> Result<()>| -> Result<Pairs> {
        alternate(
            stage.plan.rounds,
            &mut Side {
                work: &mut || (0..REPEAT).try_for_each(|_| work(many)),
                restore: &mut || beds[0].drain(),
            },
            &mut Side {
                work: &mut || (0..REPEAT).try_for_each(|_| work(few)),
                restore: &mut || beds[1].drain(),
            },
        )
    };
    let bare = compare(&|ground| ground.raw.once())?.wall("bare ioctls, growth", f64::INFINITY)?;
    let limit = (bare.value.median.max(1.0) * 130.0).round() / 100.0;
    let lives = compare(&|ground| once(&ground.subject, &ground.base))?;
    let lists = compare(&|Ground { subject, .. }| {
        let listed = subject.wait(subject.driver().list())?;
        anyhow::ensure!(!listed.is_empty(), "nothing is listed");
        Ok(())
    })?;
    let figures = vec![
        lives.wall("prepare and remove, growth", limit)?,
        // A list is as long as what it lists.
        lists.wall("list, growth", f64::from(MANY / FEW))?,
        bare,
    ];
    for Ground { subject, .. } in &sides {
        subject.close()?;
    }
    Ok(figures)
}
