//! build-chain: a Dockerfile of steps that each change one file.

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::outcome::{Outcome, Times};
use crate::bench::plan::Profile;
use crate::bench::subject::{Subject, add_layer};
use crate::seed::Seed;
use anyhow::Result;
use std::collections::BTreeMap;

const BASE: &str = "build-base";
/// Bytes of each file.
const SIZE: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct BuildChain {
    files: u32,
    steps: u32,
}

impl BuildChain {
    pub(super) fn new(profile: Profile) -> Self {
        // A copying driver copies the base once per step: 2 MiB eight times tell it from one that
        // shares, whose cost does not depend on the base; or 64 MiB 64 times.
        let (files, steps) = profile.pick((128, 8), (4_096, 64));
        Self { files, steps }
    }
}

impl Workload for BuildChain {
    fn name(&self) -> &'static str {
        "build-chain"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("files", self.files.into()),
            ("bytes", SIZE as u64),
            ("steps", self.steps.into()),
        ])
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    fn set_up(&self, subject: &dyn Subject) -> Result<()> {
        add_layer(subject, None, BASE, &mut |root| {
            let mut random = Seed::default().generator("build");
            for number in 0..self.files {
                fs_err::write(root.join(format!("f{number:04}")), random.bytes(SIZE))?;
            }
            Ok(())
        })?;
        subject.share(BASE)
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let chain = run.key("build");
        let name = |step: u32| format!("{chain}-{step}");
        let mut parent = run.subject.stage(BASE, &format!("{chain}-staged"))?;
        let mut random = Seed::default().generator("steps");
        run.recorder.layers_begin()?;
        for step in 0..self.steps {
            let key = format!("{chain}-work");
            let content = random.bytes(SIZE);
            run.time("prepare", |subject| subject.prepare(&key, Some(&parent)))?;
            let live = run.time("mount", |subject| subject.mount(&key))?;
            let path = live.path().join(format!("f{:04}", step * 7 % self.files));
            run.time("write", |_| Ok(fs_err::write(&path, &content)?))?;
            run.time("unmount", |_| live.unmount())?;
            run.time("commit", |subject| subject.commit(&key, &name(step)))?;
            parent = name(step);
        }
        run.recorder
            .layers_end(u64::from(self.steps) * SIZE as u64)?;
        let outcome = run.read_layer(&parent, Times::Natural)?;
        for step in (0..self.steps).rev() {
            run.subject.remove(&name(step))?;
        }
        run.subject.reclaim()?;
        Ok(outcome)
    }
}
