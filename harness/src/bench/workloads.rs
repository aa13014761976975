//! The workloads of the suite, one a file, and what they have in common.

mod apply;
mod build_chain;
mod cache_share;
mod copyup_append;
mod copyup_meta;
mod diff_small_on_big;
mod fork_empty;
mod lookup_depth;
mod mixed;
mod mount_depth;
mod n_resident;
mod remove_chain;
mod rename_dir;
mod sqlite_in_layer;
mod start_n;
mod umount_dirty;
mod user;

use crate::bench::corpus::{Base, Corpora};
use crate::bench::measure::{Phase, Recorder};
use crate::bench::outcome::{Outcome, Times};
use crate::bench::plan::Profile;
use crate::bench::subject::{Live, Subject};
use crate::workload::UserWorkload;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// What is in the kernel's caches when a sample begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// All that the sample needs.
    Warm,
    /// No names and inodes (`drop_caches` = 2).
    DentryCold,
}

impl Cache {
    /// The word for output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::DentryCold => "dentry-cold",
        }
    }
}

/// One row of the table: a workload in one cache state.
pub(crate) trait Workload: std::fmt::Debug {
    /// Name of the workload.
    fn name(&self) -> &str;
    /// Cache state of its samples.
    fn cache(&self) -> Cache {
        Cache::Warm
    }
    /// Sizes, by name.
    fn parameters(&self) -> BTreeMap<&'static str, u64>;
    /// What it stands on.
    fn bases(&self) -> &'static [Base];
    /// Makes what all samples of a cell share.
    fn set_up(&self, subject: &dyn Subject) -> Result<()>;
    /// Runs it once, on state that no other sample has touched.
    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome>;

    /// Name and cache state where it is not the usual one.
    fn label(&self) -> String {
        match self.cache() {
            Cache::Warm => self.name().to_owned(),
            cold @ Cache::DentryCold => format!("{} ({})", self.name(), cold.as_str()),
        }
    }
}

/// What a sample works with.
#[derive(Debug)]
pub(crate) struct Run<'a, 'b> {
    /// The driver or the plain directory.
    pub subject: &'a dyn Subject,
    /// The input of the run.
    pub corpora: &'a Corpora,
    /// Times and counts the phases.
    pub recorder: &'a mut Recorder<'b>,
    /// Number of the sample in the run; makes its names unique.
    pub index: u64,
    /// Set once the sample has emptied caches that others' samples expect full.
    pub dropped_caches: bool,
}

impl Run<'_, '_> {
    /// A name that no other sample uses.
    fn key(&self, what: &str) -> String {
        format!("{what}-{}", self.index)
    }

    /// Times `work` as the phase `name`.
    fn time<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&dyn Subject) -> Result<T>,
    ) -> Result<T> {
        self.time_as(&Phase::new(name), work)
    }

    fn time_as<T>(
        &mut self,
        phase: &Phase,
        work: impl FnOnce(&dyn Subject) -> Result<T>,
    ) -> Result<T> {
        let subject = self.subject;
        self.recorder.time(phase, || work(subject))
    }

    /// Reads the tree of a key that is not mounted. Not timed.
    fn read(&self, key: &str, times: Times) -> Result<Outcome> {
        let live = self.subject.mount(key)?;
        let outcome = Outcome::of_tree(live.path(), times)?;
        live.unmount()?;
        Ok(outcome)
    }

    /// Reads the tree of a frozen layer through a view, which copies nothing. Not timed.
    fn read_layer(&self, name: &str, times: Times) -> Result<Outcome> {
        let key = self.key("check");
        self.subject.view(&key, name)?;
        let outcome = self.read(&key, times)?;
        self.subject.remove(&key)?;
        Ok(outcome)
    }

    /// A fork of `base` to be changed, mounted, with nothing dirty. Not timed.
    fn fork(&self, base: &str, key: &str) -> Result<Live> {
        let parent = self.subject.stage(base, &format!("{key}-staged"))?;
        self.subject.prepare(key, Some(&parent))?;
        let live = self.subject.mount(key)?;
        self.recorder.settle()?;
        Ok(live)
    }

    /// Ends a fork: unmounts, reads its tree, removes it. Not timed.
    fn end(&self, live: Live, key: &str) -> Result<Outcome> {
        live.unmount()?;
        let outcome = self.read(key, Times::Natural)?;
        self.subject.remove(key)?;
        Ok(outcome)
    }

    /// Empties the caches of names and inodes.
    fn drop_dentries(&mut self) -> Result<()> {
        self.dropped_caches = true;
        fs_err::write("/proc/sys/vm/drop_caches", "2").context("the caches cannot be emptied")
    }
}

/// The rows of a run: the suite's, as far as `names` wants them, and the user's own.
pub(crate) fn rows(
    names: &[String],
    profile: Profile,
    depth: u32,
    own: &[UserWorkload],
) -> Result<Vec<Box<dyn Workload>>> {
    let mut all = suite(profile, depth);
    for workload in own {
        if all.iter().any(|known| known.name() == workload.name) {
            bail!(
                "the workload {} has the name of one of the suite's",
                workload.name
            );
        }
        all.push(Box::new(user::Own::new(workload.clone())));
    }
    for name in names {
        if !all.iter().any(|known| known.name() == name) {
            let mut known: Vec<_> = all.iter().map(|row| row.name()).collect();
            known.dedup();
            bail!(
                "no workload is called {name}; there are {}",
                known.join(", ")
            );
        }
    }
    all.retain(|row| names.is_empty() || names.iter().any(|name| name == row.name()));
    Ok(all)
}

fn suite(profile: Profile, depth: u32) -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(fork_empty::ForkEmpty),
        Box::new(mount_depth::MountDepth::new(depth)),
        Box::new(lookup_depth::LookupDepth::new(depth, Cache::Warm)),
        Box::new(lookup_depth::LookupDepth::new(depth, Cache::DentryCold)),
        Box::new(copyup_append::CopyupAppend::new(profile)),
        Box::new(copyup_meta::CopyupMeta::new(profile)),
        Box::new(rename_dir::RenameDir::new(profile)),
        Box::new(umount_dirty::UmountDirty::new(profile)),
        Box::new(diff_small_on_big::DiffSmallOnBig),
        Box::new(remove_chain::RemoveChain::new(profile)),
        Box::new(n_resident::NResident::new(profile)),
        Box::new(build_chain::BuildChain::new(profile)),
        Box::new(mixed::Mixed::new(profile)),
        Box::new(sqlite_in_layer::SqliteInLayer::new(profile)),
        Box::new(start_n::StartN::new(profile)),
        Box::new(cache_share::CacheShare::new(profile)),
        Box::new(apply::Apply),
    ]
}

/// Names of the suite's workloads, in the order of the table.
pub fn workload_names() -> Vec<String> {
    let rows = suite(Profile::Quick, 1);
    let mut names: Vec<String> = rows.iter().map(|row| row.name().to_owned()).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_has_every_row_of_the_table_once_and_takes_no_other_name() {
        let names = workload_names();
        for wanted in [
            "fork-empty",
            "mount-depth",
            "lookup-depth",
            "copyup-append",
            "copyup-meta",
            "rename-dir",
            "umount-dirty",
            "diff-small-on-big",
            "remove-chain",
            "n-resident",
            "build-chain",
            "mixed-16",
            "sqlite-in-layer",
            "start-N",
            "cache-share",
            "apply",
        ] {
            let found = names.iter().filter(|name| *name == wanted).count();
            assert_eq!(found, 1, "{wanted}");
        }
        assert_eq!(names.len(), 16);
        let refused = rows(&["no-such".to_owned()], Profile::Quick, 1, &[]).unwrap_err();
        assert!(refused.to_string().contains("cache-share"), "{refused}");
    }
}
