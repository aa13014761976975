//! fork-empty: a container's tree is made on the large tree, mounted, unmounted and removed.

use super::{Run, Workload};
use crate::bench::corpus::{Base, ROOTFS};
use crate::bench::outcome::{Outcome, Times};
use crate::bench::subject::Subject;
use anyhow::Result;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct ForkEmpty;

impl Workload for ForkEmpty {
    fn name(&self) -> &'static str {
        "fork-empty"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }

    fn bases(&self) -> &'static [Base] {
        &[Base::Rootfs]
    }

    fn set_up(&self, _: &dyn Subject) -> Result<()> {
        Ok(())
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let key = run.key("fork");
        run.recorder.settle()?;
        run.time("prepare", |subject| subject.prepare(&key, Some(ROOTFS)))?;
        let live = run.time("mount", |subject| subject.mount(&key))?;
        run.time("unmount", |_| live.unmount())?;
        // In a mount of its own: reading fills caches that the timed unmount would have to empty.
        let outcome = run.read(&key, Times::Set)?;
        run.recorder.settle()?;
        run.time("remove", |subject| subject.remove(&key))?;
        run.time("reclaim", |subject| subject.reclaim())?;
        Ok(outcome)
    }
}
