//! umount-dirty: unmounting a tree whose last writes are still in memory.

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::measure::Phase;
use crate::bench::outcome::{Outcome, Times};
use crate::bench::plan::Profile;
use crate::bench::subject::Subject;
use crate::seed::Seed;
use anyhow::Result;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct UmountDirty {
    megabytes: u64,
}

impl UmountDirty {
    pub(super) fn new(profile: Profile) -> Self {
        // 16 MiB take milliseconds on any device and tell a sync from none.
        Self {
            megabytes: profile.pick(16, 256),
        }
    }
}

impl Workload for UmountDirty {
    fn name(&self) -> &'static str {
        "umount-dirty"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([("dirty-mebibytes", self.megabytes)])
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    fn set_up(&self, _: &dyn Subject) -> Result<()> {
        Ok(())
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let key = run.key("dirty");
        run.subject.prepare(&key, None)?;
        let live = run.subject.mount(&key)?;
        run.recorder.settle()?;
        let block = Seed::default().generator("dirty").bytes(1 << 20);
        run.time_as(&Phase::new("write").aside().undrained(), |_| {
            for number in 0..self.megabytes {
                fs_err::write(live.path().join(format!("m{number}")), &block)?;
            }
            Ok(())
        })?;
        run.time("unmount", |_| live.unmount())?;
        let outcome = run.read(&key, Times::Natural)?;
        run.subject.remove(&key)?;
        run.subject.reclaim()?;
        Ok(outcome)
    }
}
