//! Runs cases and gives verdicts; no case gives its own.

use crate::audit;
use crate::case::{Check, Group, Verdict};
use crate::context::{Context, NoGround, Setting, expect_kind};
use crate::interrupt;
use crate::leaks::Belongings;
use crate::prelude::name;
use anyhow::{Context as _, Result, bail};
use std::any::Any;
use std::borrow::Cow;
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use strata_driver::tree::{self, Budget};
use strata_driver::{Bytes, Capability, CommitOptions, ErrorKind, PrepareOptions};

/// What came of one case.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Outcome {
    /// The case.
    pub case: Cow<'static, str>,
    /// Its group.
    pub group: Group,
    /// The verdict.
    pub verdict: Verdict,
    /// For a case that ran inverted: what the driver lacks.
    pub inverted: Option<String>,
    /// Wall time, set-up included.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
}

fn seconds<S: serde::Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(value.as_secs_f64())
}

/// Runs one case in a fresh root and looks whether anything is left behind.
pub fn run(check: Check<'_>, setting: &Setting) -> Outcome {
    let started = Instant::now();
    let mut inverted = None;
    let verdict = match attempt(check, setting, &mut inverted) {
        Ok(Some(skipped)) => Verdict::Skipped(skipped),
        Ok(None) => Verdict::Passed,
        Err(_) if interrupt::interrupted() => Verdict::Skipped("interrupted".to_owned()),
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    Outcome {
        case: check.name(),
        group: check.group(),
        verdict,
        inverted,
        elapsed: started.elapsed(),
    }
}

fn attempt(
    check: Check<'_>,
    setting: &Setting,
    inverted: &mut Option<String>,
) -> Result<Option<String>> {
    let before = Belongings::take(&setting.place)?;
    let place = setting.place.join("case");
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut context = Context::new(setting, place.clone()).context("open the driver")?;
        let skipped = match run_or_invert(check, &mut context, inverted) {
            Err(error) => match error.downcast_ref::<NoGround>() {
                Some(NoGround(reason)) => Some(reason.clone()),
                None => return Err(error),
            },
            Ok(skipped) => skipped,
        };
        if skipped.is_none() {
            audit::diffs(&mut context).context("the diffs of all layers")?;
        }
        context.shut().context("close the driver")?;
        Ok(skipped)
    }));
    let outcome = outcome.unwrap_or_else(|panic| bail!("panicked: {}", panic_text(&*panic)));
    // The leak is told beside the failure that may have caused it, never instead of it.
    let remains = remove_place(&place).and_then(|()| before.expect_unchanged());
    match (outcome, remains) {
        (outcome, Ok(())) => outcome,
        (Ok(_), Err(leak)) => Err(leak),
        (Err(error), Err(leak)) => Err(error.context(format!("and {leak:#}"))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a text".into())
}

/// A mount below the place would let the removal reach through it, so it stops there.
pub(crate) fn remove_place(place: &Path) -> Result<()> {
    let mounts = crate::fixture::mounts_below(place)?;
    if !mounts.is_empty() {
        for target in mounts.iter().rev() {
            rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH)
                .with_context(|| format!("unmount `{}`", target.display()))?;
        }
        remove_directory(place)?;
        bail!("left mounted: {}", list(&mounts))
    }
    remove_directory(place)
}

/// As what a driver made can be removed: there may be read-only subvolumes among it.
fn remove_directory(place: &Path) -> Result<()> {
    let (Some(above), Some(name)) = (place.parent(), place.file_name()) else {
        bail!("`{}` has no name", place.display());
    };
    let above = fs_err::File::open(above)?;
    let removed = tree::remove(above.as_fd(), name.as_encoded_bytes(), Budget::Unlimited);
    Ok(removed.map(drop)?)
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(", ")
}

/// Runs it, or its inverse for every capability that it needs and the driver lacks.
fn run_or_invert(
    check: Check<'_>,
    context: &mut Context,
    inverted: &mut Option<String>,
) -> Result<Option<String>> {
    let lacking: Vec<_> = check
        .needs()
        .iter()
        .copied()
        .filter(|capability| !context.has(*capability))
        .collect();
    if lacking.is_empty() {
        return check.run(context);
    }
    let mut reasons = Vec::new();
    for capability in &lacking {
        let reason = context.capabilities().reason(*capability).to_owned();
        reasons.push(format!("{} absent: {reason}", capability.as_str()));
        demand_refusal(*capability, context).with_context(|| {
            format!("inverted: the driver says it lacks {}", capability.as_str())
        })?;
    }
    *inverted = Some(reasons.join("; "));
    // What a host may lack in good health; everything else is proved by the refusal.
    let excused = [Capability::Quota, Capability::IdmappedMount];
    let skips = lacking
        .iter()
        .any(|capability| excused.contains(capability));
    Ok(skips.then(|| reasons.join("; ")))
}

/// A false "cannot" is a lie as well: what the driver says it lacks must be refused, or must
/// show in what it does.
fn demand_refusal(capability: Capability, context: &mut Context) -> Result<()> {
    let key = name("inverse");
    match capability {
        Capability::Quota => {
            let options = PrepareOptions::default().with_size_limit(Bytes(1 << 20));
            let refused = context.prepare_with(&key, None, &options);
            expect_kind(refused, ErrorKind::Unsupported, "prepare with a size limit").map(drop)
        }
        Capability::LateParent => {
            let parent = context.layer(None, |_| Ok(()))?;
            context.prepare(&key, None)?;
            let options = CommitOptions::default().with_late_parent(parent);
            let refused = context.commit_with(&key, &name("late"), &options);
            expect_kind(refused, ErrorKind::Unsupported, "commit with a late parent").map(drop)
        }
        Capability::NativeDiff => crate::cases::demand_full_walk(context),
        Capability::ReflinkCopy => crate::cases::demand_own_blocks(context),
        Capability::Ownership => demand_errno(context, |dir| {
            // An id that no user namespace maps.
            dir.file("f", "")?
                .owner(
                    "f",
                    crate::edit::Owner {
                        uid: 3_000_000_000,
                        gid: 0,
                    },
                )
                .map(drop)
        }),
        Capability::Devices => demand_errno(context, |dir| {
            dir.character_device("null", (1, 3)).map(drop)
        }),
        Capability::TrustedXattrs => demand_errno(context, |dir| {
            dir.file("f", "")?.xattr("f", "trusted.t", "1").map(drop)
        }),
        // The contract has no call that asks for one; the plan of a driver that lacks it says so.
        Capability::IdmappedMount => Ok(()),
        other => bail!("the harness has no inverse for {}", other.as_str()),
    }
}

fn demand_errno(
    context: &mut Context,
    edit: impl FnOnce(&crate::edit::Dir) -> Result<()>,
) -> Result<()> {
    use rustix::io::Errno;
    let key = context.active(None)?;
    match context.edit(&key, edit) {
        Ok(()) => bail!("the kernel allowed it in a mounted snapshot"),
        Err(error) => match error.downcast_ref::<Errno>() {
            Some(&(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP | Errno::ACCESS)) => Ok(()),
            _ => Err(error.context("refused, but not by EPERM, EACCES, EINVAL or EOPNOTSUPP")),
        },
    }
}
