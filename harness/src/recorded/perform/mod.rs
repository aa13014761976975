//! Does what a recording did, by system calls.

mod held;
mod paths;

use super::branches::Branches;
use super::listing::{Lister, Listing, errno_name};
use super::verb::{Operation, Verb};
use anyhow::{Context as _, Result, bail};
use held::Held;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use serde_json::Value;
use std::path::PathBuf;

pub(super) use paths::{Paths, set_times};

/// Why an operation gives no answer.
#[derive(Debug)]
enum Failure {
    /// The kernel's own.
    Errno(Errno),
    /// It needs what an earlier operation failed to give.
    Skip,
    /// The verb is none of this part's.
    Elsewhere,
    /// The scenario or the harness is at fault.
    Broken(anyhow::Error),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => Self::Errno(errno),
            None => Self::Broken(error.into()),
        }
    }
}

impl From<strata_sys::SysError> for Failure {
    fn from(error: strata_sys::SysError) -> Self {
        match error.errno() {
            Some(errno) => Self::Errno(errno),
            None => Self::Broken(error.into()),
        }
    }
}

type Answer = Result<Value, Failure>;

/// A mounted scenario and what is held open in it.
pub(super) struct Performer {
    paths: Paths,
    held: Held,
}

impl Performer {
    /// Ready to perform; notes how the branches below are.
    pub(super) fn new(paths: Paths, lister: Lister) -> Result<Self> {
        let held = Held::new(lister, &paths)?;
        Ok(Self { paths, held })
    }

    /// What is new or different in each branch below.
    pub(super) fn lowers_changed(&self) -> Result<Vec<Listing>> {
        self.held.lowers_changed(&self.paths)
    }

    /// The directories behind the mount.
    pub(super) fn branches(&self) -> &Branches {
        &self.paths.branches
    }

    /// The mount's new place; inodes that were noted are kept.
    pub(super) fn remounted(&mut self, merged: PathBuf) {
        self.paths.merged = merged;
    }

    /// Closes what is held, ends programs, and so lets go of the mount.
    pub(super) fn release(&mut self) -> Result<()> {
        self.held.release()
    }

    /// Performs one operation; gives its errno and what it returned, as they are recorded.
    pub(super) fn perform(&mut self, operation: &Operation) -> Result<(Value, Value)> {
        let answer = match operation.user {
            None => self.act(&operation.verb),
            Some(user) => self.act_as(user, &operation.verb)?,
        };
        Ok(match answer {
            Ok(value) => (0.into(), value),
            Err(Failure::Errno(errno)) => (errno_name(errno).into(), Value::Null),
            Err(Failure::Skip) => ("SKIP".into(), Value::Null),
            Err(Failure::Elsewhere) => bail!("nothing performs {:?}", operation.verb),
            Err(Failure::Broken(error)) => {
                return Err(error.context(format!("{:?}", operation.verb)));
            }
        })
    }

    fn act(&mut self, verb: &Verb) -> Answer {
        match self.paths.perform(verb) {
            Err(Failure::Elsewhere) => self.held.perform(verb, &self.paths),
            answer => answer,
        }
    }

    /// On a thread that is this user's, with a group of the same number.
    fn act_as(&mut self, user: u32, verb: &Verb) -> Result<Answer> {
        let paths = &self.paths;
        let act = move || -> Result<Answer> {
            let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
            rustix::thread::set_thread_groups(&[])?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            Ok(paths.perform(verb))
        };
        std::thread::scope(|scope| scope.spawn(act).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .with_context(|| format!("become user {user}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ground::NotExpressible;
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    /// Operations on a fresh directory that is taken for the mount; no branches.
    fn perform(operations: &[Value]) -> Vec<Result<(Value, Value)>> {
        let place = tempfile::tempdir().unwrap();
        let paths = Paths {
            merged: place.path().to_owned(),
            branches: Branches::default(),
        };
        let lister = Lister {
            began: 0,
            programs: BTreeSet::new(),
        };
        let mut performer = Performer::new(paths, lister).unwrap();
        let operations = operations.iter().map(|operation| {
            let operation = serde_json::from_value(operation.clone()).unwrap();
            performer.perform(&operation)
        });
        operations.collect()
    }

    #[test]
    fn answers_are_given_as_recorded() {
        let answers = perform(&[
            json!(["put", "f", "text"]),
            json!(["create", "f"]),
            json!(["open", "r", "f", "O_RDONLY"]),
            json!(["pread", "r", 1, 9]),
            json!(["close", "r"]),
            json!(["pread", "r", 1, 9]),
            json!(["names", "."]),
            json!(["rmr", "."]),
        ]);
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let expected = [
            (json!(0), json!(null)),
            (json!("EEXIST"), json!(null)),
            (json!(0), json!(null)),
            (json!(0), json!("ext")),
            (json!(0), json!(null)),
            (json!("SKIP"), json!(null)),
            (json!(0), json!(["f"])),
            (json!("EINVAL"), json!(null)),
        ];
        assert_eq!(answers, expected);
    }

    #[test]
    fn branch_that_no_plan_tells_of_is_named() {
        let answers = perform(&[json!(["uls", "."]), json!(["unlink", "L1:f"])]);
        for (answer, named) in answers.into_iter().zip(["branch U is", "branch L1 is"]) {
            let error = answer.unwrap_err();
            let branch = error.downcast_ref::<NotExpressible>().unwrap();
            assert!(branch.to_string().contains(named), "{branch}");
        }
    }
}
