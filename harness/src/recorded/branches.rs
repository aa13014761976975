//! The directories that a plan tells of.

use super::ground::NotExpressible;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use strata_driver::MountPlan;

/// Directories behind a mount, as far as its plan names them.
#[derive(Debug, Default)]
pub(super) struct Branches {
    upper: Option<PathBuf>,
    work: Option<PathBuf>,
    /// Top first.
    lowers: Vec<PathBuf>,
}

impl Branches {
    /// What the options of the plan's steps say.
    pub(super) fn of(plan: &MountPlan) -> Self {
        let mut branches = Self::default();
        for option in plan.steps.iter().flat_map(|step| &step.options) {
            let Some(path) = option.value.as_ref().map(PathBuf::from) else {
                continue;
            };
            match option.key.as_str() {
                "upperdir" => branches.upper = Some(path),
                "workdir" => branches.work = Some(path),
                "lowerdir+" => branches.lowers.push(path),
                _ => {}
            }
        }
        branches
    }

    /// Those that somebody made.
    pub(super) fn made(upper: PathBuf, lowers: Vec<PathBuf>) -> Self {
        Self {
            upper: Some(upper),
            work: None,
            lowers,
        }
    }

    /// Demands that the plan tells of the writable branch and of so many lower ones: what cannot
    /// be looked at cannot be judged.
    pub(super) fn demand(&self, lowers: usize) -> Result<()> {
        self.upper()?;
        (1..=lowers).try_for_each(|number| self.named(&format!("L{number}")).map(drop))
    }

    /// The writable one.
    pub(super) fn upper(&self) -> Result<&Path> {
        self.named("U")
    }

    /// A branch by its name in the recordings: `U`, `L1`, ...
    pub(super) fn named(&self, name: &str) -> Result<&Path> {
        let number = name.strip_prefix('L').and_then(|text| text.parse().ok());
        let found = match number {
            Some(number) => usize::checked_sub(number, 1).and_then(|at| self.lowers.get(at)),
            None => self.upper.as_ref().filter(|_| name == "U"),
        };
        let path = found.with_context(|| no_branch(name))?;
        Ok(path)
    }

    /// The lower ones, top first.
    pub(super) fn lowers(&self) -> &[PathBuf] {
        &self.lowers
    }

    /// Entries of overlay's index.
    pub(super) fn index_entries(&self) -> Result<u64> {
        let index = self.work.as_ref().map(|work| work.join("index"));
        match index.filter(|index| index.is_dir()) {
            Some(index) => Ok(fs_err::read_dir(index)?.count() as u64),
            None => Ok(0),
        }
    }
}

fn no_branch(name: &str) -> NotExpressible {
    NotExpressible(format!("the plan does not tell where branch {name} is"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::name;
    use strata_driver::{MountFlags, MountOption, MountStep};

    #[test]
    fn branches_are_read_from_the_plan() {
        let pair = MountOption::pair;
        let step = MountStep {
            fs_type: "some".into(),
            source: "some".into(),
            options: vec![
                pair("lowerdir+", "/top"),
                pair("lowerdir+", "/bottom"),
                MountOption::flag("xino"),
                pair("upperdir", "/upper"),
            ],
            flags: MountFlags::default(),
        };
        let plan = MountPlan {
            snapshot: name("a"),
            steps: vec![step],
            hold: None,
        };
        let branches = Branches::of(&plan);
        assert_eq!(branches.named("U").unwrap(), Path::new("/upper"));
        assert_eq!(branches.named("L2").unwrap(), Path::new("/bottom"));
        assert!(branches.demand(2).is_ok());
        let error = branches.demand(3).unwrap_err();
        let missing = error.downcast_ref();
        assert_eq!(missing, Some(&no_branch("L3")));
    }
}
