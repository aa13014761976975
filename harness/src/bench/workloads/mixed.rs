//! mixed-16: sixteen layers that create, change and delete, as containerd's suite does, with
//! the same content for every cell and depth that starts anew with each sample.

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::outcome::{Outcome, Times};
use crate::bench::plan::Profile;
use crate::bench::subject::Subject;
use crate::seed::{Generator, Seed};
use anyhow::Result;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

const LAYERS: u32 = 16;
/// Per layer: files created, files changed in place, files deleted.
const CREATED: u32 = 6;
const CHANGED: u32 = 3;
/// What is written into the middle of a changed file.
const EDIT: &[u8] = b"edit";

#[derive(Debug)]
pub(super) struct Mixed {
    size: usize,
}

impl Mixed {
    pub(super) fn new(profile: Profile) -> Self {
        // containerd's files have 1 MiB; a copying driver copies all of them at each layer.
        Self {
            size: profile.pick(64 << 10, 1 << 20),
        }
    }

    /// Bytes of content that the layers hold, each counted once: files created, and what edits
    /// wrote over them.
    fn content(&self) -> u64 {
        let created = u64::from(LAYERS * CREATED) * self.size as u64;
        created + u64::from((LAYERS - 1) * CHANGED) * EDIT.len() as u64
    }

    fn edit(&self, root: &Path, layer: u32, random: &mut Generator) -> Result<()> {
        for number in 0..CREATED {
            fs_err::write(
                root.join(format!("{layer}-{number}")),
                random.bytes(self.size),
            )?;
        }
        let Some(below) = layer.checked_sub(1) else {
            return Ok(());
        };
        for number in 0..CHANGED {
            let path = root.join(format!("{below}-{number}"));
            let file = fs_err::OpenOptions::new().write(true).open(path)?;
            file.file().write_all_at(EDIT, self.size as u64 / 2)?;
        }
        Ok(fs_err::remove_file(
            root.join(format!("{below}-{CHANGED}")),
        )?)
    }
}

impl Workload for Mixed {
    fn name(&self) -> &'static str {
        "mixed-16"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([("layers", LAYERS.into()), ("bytes", self.size as u64)])
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    fn set_up(&self, _: &dyn Subject) -> Result<()> {
        Ok(())
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let chain = run.key("mixed");
        let name = |layer: u32| format!("{chain}-{layer}");
        let mut random = Seed::default().generator("mixed");
        let mut parent: Option<String> = None;
        run.recorder.layers_begin()?;
        for layer in 0..LAYERS {
            let key = format!("{chain}-work");
            run.time("prepare", |subject| {
                subject.prepare(&key, parent.as_deref())
            })?;
            let live = run.time("mount", |subject| subject.mount(&key))?;
            run.time("write", |_| self.edit(live.path(), layer, &mut random))?;
            run.time("unmount", |_| live.unmount())?;
            run.time("commit", |subject| subject.commit(&key, &name(layer)))?;
            parent = Some(name(layer));
        }
        run.recorder.layers_end(self.content())?;
        let outcome = run.read_layer(&name(LAYERS - 1), Times::Natural)?;
        for layer in (0..LAYERS).rev() {
            run.subject.remove(&name(layer))?;
        }
        run.subject.reclaim()?;
        Ok(outcome)
    }
}
