//! copyup-meta: the owner of many small files of a lower layer changes (`chown -R`).

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::outcome::Outcome;
use crate::bench::plan::Profile;
use crate::bench::subject::{Subject, add_layer};
use anyhow::Result;
use std::collections::BTreeMap;
use std::os::unix::fs::lchown;

const BASE: &str = "chown-base";

#[derive(Debug)]
pub(super) struct CopyupMeta {
    files: u32,
}

impl CopyupMeta {
    pub(super) fn new(profile: Profile) -> Self {
        // Each file may cost a sync of milliseconds.
        Self {
            files: profile.pick(200, 3_000),
        }
    }
}

impl Workload for CopyupMeta {
    fn name(&self) -> &'static str {
        "copyup-meta"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([("files", self.files.into()), ("bytes", 512)])
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    fn set_up(&self, subject: &dyn Subject) -> Result<()> {
        add_layer(subject, None, BASE, &mut |root| {
            for number in 0..self.files {
                fs_err::write(root.join(format!("f{number:04}")), [7; 512])?;
            }
            Ok(())
        })?;
        subject.share(BASE)
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let key = run.key("chown");
        let live = run.fork(BASE, &key)?;
        let paths: Vec<_> = (0..self.files)
            .map(|number| live.path().join(format!("f{number:04}")))
            .collect();
        run.time("chown", |_| {
            for path in &paths {
                lchown(path, Some(1000), Some(1000))?;
            }
            Ok(())
        })?;
        run.end(live, &key)
    }
}
