//! lookup-depth: names that the lowest layer has, and names that no layer has.

use super::{Cache, Run, Workload};
use crate::bench::corpus::{Base, DEEP, deep_file};
use crate::bench::outcome::{Outcome, Times};
use crate::bench::subject::Subject;
use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, statat};
use std::collections::BTreeMap;
use std::path::Path;

/// Lookups of a phase: together long enough for the clock, few enough for the cold ones.
const LOOKUPS: u32 = 64;

#[derive(Debug)]
pub(super) struct LookupDepth {
    depth: u32,
    cache: Cache,
}

impl LookupDepth {
    pub(super) fn new(depth: u32, cache: Cache) -> Self {
        Self { depth, cache }
    }

    fn key(&self) -> String {
        format!("lookup-{}", self.cache.as_str())
    }

    /// The files of the layers, the lowest first.
    fn present(&self, bin: &Path) -> Result<()> {
        for number in 0..LOOKUPS {
            let path = bin.join(deep_file(number % self.depth + 1));
            statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)
                .with_context(|| format!("{} is missing", path.display()))?;
        }
        Ok(())
    }

    /// Names that were never asked for: a name asked for twice is remembered as absent.
    fn absent(bin: &Path, sample: u64) -> Result<()> {
        for number in 0..LOOKUPS {
            let path = bin.join(format!("absent-{sample}-{number}"));
            match statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW) {
                Err(rustix::io::Errno::NOENT) => {}
                other => bail!("{} should be absent: {other:?}", path.display()),
            }
        }
        Ok(())
    }
}

impl Workload for LookupDepth {
    fn name(&self) -> &'static str {
        "lookup-depth"
    }

    fn cache(&self) -> Cache {
        self.cache
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([("depth", self.depth.into()), ("lookups", LOOKUPS.into())])
    }

    fn bases(&self) -> &'static [Base] {
        &[Base::Deep]
    }

    fn set_up(&self, subject: &dyn Subject) -> Result<()> {
        subject.prepare(&self.key(), Some(&format!("{DEEP}-{}", self.depth)))
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let live = run.subject.mount(&self.key())?;
        let bin = live.path().join("bin");
        self.present(&bin)?;
        run.recorder.settle()?;
        if self.cache == Cache::DentryCold {
            run.drop_dentries()?;
        }
        run.time("positive", |_| self.present(&bin))?;
        if self.cache == Cache::DentryCold {
            run.drop_dentries()?;
        }
        let index = run.index;
        run.time("negative", |_| Self::absent(&bin, index))?;
        let outcome = Outcome::of_tree(live.path(), Times::Natural)?;
        live.unmount()?;
        Ok(outcome)
    }
}
