//! diff-small-on-big: the changeset of one changed file on the large tree.

use super::{Run, Workload};
use crate::bench::corpus::{Base, EDIT_TIME, ROOTFS};
use crate::bench::outcome::Outcome;
use crate::bench::subject::Subject;
use anyhow::Result;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::collections::BTreeMap;

const KEY: &str = "diff-top";

#[derive(Debug)]
pub(super) struct DiffSmallOnBig;

impl Workload for DiffSmallOnBig {
    fn name(&self) -> &'static str {
        "diff-small-on-big"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([("changed", 1)])
    }

    fn bases(&self) -> &'static [Base] {
        &[Base::Rootfs]
    }

    /// The changed tree is made once: a diff changes nothing.
    fn set_up(&self, subject: &dyn Subject) -> Result<()> {
        let parent = subject.stage(ROOTFS, "diff-base")?;
        subject.prepare(KEY, Some(&parent))?;
        let live = subject.mount(KEY)?;
        let etc = live.path().join("etc");
        fs_err::write(etc.join("strata-changed"), "changed\n")?;
        let time = Timespec {
            tv_sec: EDIT_TIME,
            tv_nsec: 5,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        for path in [etc.join("strata-changed"), etc] {
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty())?;
        }
        live.unmount()
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        run.recorder.settle()?;
        let digest = run.time("diff", |subject| subject.diff(ROOTFS, KEY))?;
        Ok(digest.map_or(Outcome::Nothing, Outcome::Stream))
    }
}
