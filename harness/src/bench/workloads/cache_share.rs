//! cache-share: several containers of one image read the same file. How much memory that takes,
//! and what a reader saves after another has read.

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::measure::Phase;
use crate::bench::outcome::{Outcome, Times};
use crate::bench::plan::Profile;
use crate::bench::residency::Watched;
use crate::bench::sample::Unit;
use crate::bench::subject::{Live, Subject, add_layer};
use crate::seed::Seed;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

const BASE: &str = "share-base";
const FILE: &str = "shared-blob";
const CONTAINERS: u32 = 6;

#[derive(Debug)]
pub(super) struct CacheShare {
    megabytes: u64,
}

impl CacheShare {
    pub(super) fn new(profile: Profile) -> Self {
        // Whether a file is cached once or six times shows at any size beyond read-ahead.
        Self {
            megabytes: profile.pick(8, 128),
        }
    }

    fn read(&self, root: &Path) -> Result<()> {
        let mut file = fs_err::File::open(root.join(FILE))?;
        let mut block = vec![0; 256 << 10];
        let mut length = 0;
        loop {
            match file.read(&mut block)? {
                0 => break,
                read => length += read as u64,
            }
        }
        ensure!(length == self.megabytes << 20, "{length} bytes were read");
        Ok(())
    }
}

impl Workload for CacheShare {
    fn name(&self) -> &'static str {
        "cache-share"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("mebibytes", self.megabytes),
            ("containers", CONTAINERS.into()),
        ])
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    fn set_up(&self, subject: &dyn Subject) -> Result<()> {
        add_layer(subject, None, BASE, &mut |root| {
            let content = Seed::default()
                .generator("share")
                .bytes((self.megabytes as usize) << 20);
            Ok(fs_err::write(root.join(FILE), content)?)
        })?;
        subject.share(BASE)
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let key = run.key("share");
        let key = |number: u32| format!("{key}-{number}");
        let mut lives: Vec<Live> = Vec::new();
        for number in 0..CONTAINERS {
            run.subject.prepare(&key(number), Some(BASE))?;
            lives.push(run.subject.mount_at(&key(number), number)?);
        }
        let roots: Vec<&Path> = lives.iter().map(Live::path).collect();
        let watched = Watched::open(run.recorder.bed_path(), &[FILE.into()], &roots)?;
        run.recorder.drain()?;
        watched.evict()?;
        run.time_as(&Phase::new("first-reader").aside(), |_| self.read(roots[0]))?;
        run.time("second-reader", |_| self.read(roots[1]))?;
        for root in &roots[2..] {
            self.read(root)?;
        }
        if let Some(found) = watched.residency()? {
            let recorder = &mut *run.recorder;
            recorder.figure("cached-base", found.base as f64, Unit::Bytes);
            recorder.figure("cached-each", found.per_container(), Unit::Bytes);
            recorder.figure("cached-total", found.total() as f64, Unit::Bytes);
        }
        let outcome = Outcome::of_tree(roots[1], Times::Natural)?;
        drop(watched);
        for (live, number) in lives.into_iter().zip(0..) {
            live.unmount()?;
            run.subject.remove(&key(number))?;
        }
        run.subject.reclaim()?;
        Ok(outcome)
    }
}
