//! copyup-append: one byte is added to a file of a lower layer and synced, by size of the file.

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::measure::Phase;
use crate::bench::outcome::Outcome;
use crate::bench::plan::Profile;
use crate::bench::subject::{Subject, add_layer};
use crate::seed::Seed;
use anyhow::Result;
use std::collections::BTreeMap;
use std::io::Write;

const BASE: &str = "append-base";

#[derive(Debug)]
pub(super) struct CopyupAppend {
    /// Names and bytes of the files.
    sizes: &'static [(&'static str, u64)],
}

impl CopyupAppend {
    pub(super) fn new(profile: Profile) -> Self {
        const SIZES: &[(&str, u64)] = &[
            ("4K", 4 << 10),
            ("1M", 1 << 20),
            ("16M", 16 << 20),
            ("128M", 128 << 20),
        ];
        // 16 MiB shows whether the whole file is copied; a copying driver copies all of them for
        // each sample.
        Self {
            sizes: profile.pick(&SIZES[..3], SIZES),
        }
    }
}

impl Workload for CopyupAppend {
    fn name(&self) -> &'static str {
        "copyup-append"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        self.sizes.iter().copied().collect()
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    fn set_up(&self, subject: &dyn Subject) -> Result<()> {
        add_layer(subject, None, BASE, &mut |root| {
            let mut random = Seed::default().generator("append");
            for (name, size) in self.sizes {
                fs_err::write(root.join(name), random.bytes(*size as usize))?;
            }
            Ok(())
        })?;
        subject.share(BASE)
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let key = run.key("append");
        let live = run.fork(BASE, &key)?;
        for (name, _) in self.sizes {
            let path = live.path().join(name);
            run.time_as(&Phase::new(format!("append-{name}")), |_| {
                let mut file = fs_err::OpenOptions::new().append(true).open(&path)?;
                file.write_all(b"x")?;
                Ok(file.sync_all()?)
            })?;
        }
        run.end(live, &key)
    }
}
