//! Mounting plans: live mounts as values, and mounts that outlive their process as rows.
//!
//! A driver only says what to mount; this is the one place that does it. File systems are
//! configured through fsopen(2), so that neither the number of layers nor the length of their
//! paths is bounded by one page; mount(2) serves kernels that cannot do that. Types `fuse.SUBTYPE`
//! are mounted by a [daemon] of their own.

mod build;
mod classic;
pub mod daemon;
pub mod hold;
mod table;
#[cfg(test)]
mod tests;
mod unmount;

pub use classic::ClassicMount;
pub use table::MountTable;

use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::plan::{MountPlan, MountStep};
use build::Interface;
use std::fmt::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_sys::lock::FileLock;
use strata_sys::mount::DetachedMount;
use strata_sys::statmount::UniqueMountId;
use unmount::Server;

/// Mounts for a driver itself, and counts it.
#[derive(Clone, Debug)]
pub struct Mounter {
    counters: Arc<Counters>,
}

impl Mounter {
    /// A mounter that counts on `counters`.
    pub fn new(counters: Arc<Counters>) -> Self {
        Self { counters }
    }

    /// [`mount`], counted.
    pub fn mount(&self, plan: &MountPlan, target: &Path) -> Result<Mounted> {
        let mounted = mount(plan, target)?;
        self.counters.add_mounts(plan.steps.len() as u64);
        Ok(mounted)
    }

    /// [`detached`], counted.
    pub fn detached(&self, plan: &MountPlan) -> Result<Detached> {
        let detached = detached(plan)?;
        self.counters.add_mounts(plan.steps.len() as u64);
        Ok(detached)
    }
}

/// Mounts `plan` on the existing directory `target`, and shares the plan's hold for as long.
///
/// While a commit, removal or apply of the snapshot is under way it is
/// [`ErrorKind::Busy`](crate::ErrorKind::Busy). Errors bear the kernel's own message.
pub fn mount(plan: &MountPlan, target: &Path) -> Result<Mounted> {
    mount_through(plan, target, Interface::of_kernel())
}

fn mount_through(plan: &MountPlan, target: &Path, interface: Interface) -> Result<Mounted> {
    let mut mounted = Mounted {
        target: resolved(target)?,
        steps: 0,
        id: None,
        server: Server::Kernel,
        hold: plan.hold.as_deref().map(hold::share).transpose()?,
    };
    for step in &plan.steps {
        let shown = build::show(step, &mounted.target, interface)
            .map_err(|error| error.with("target", target.display()))?;
        if !step.is_remount() {
            mounted.id = shown;
            mounted.steps += 1;
        }
        if daemon::subtype(&step.fs_type).is_some() {
            mounted.server = Server::Unknown;
        }
    }
    tracing::debug!(
        snapshot = %plan.snapshot, target = %mounted.target.display(), steps = mounted.steps,
        "mounted"
    );
    Ok(mounted)
}

/// Mounts `plan` nowhere: it is seen through a descriptor only, and goes with the value.
///
/// For a driver's own use: it does *not* share the plan's hold, which the driver may be keeping
/// to itself.
pub fn detached(plan: &MountPlan) -> Result<Detached> {
    build::detached(plan, Interface::of_kernel())
}

/// Mounts one step on a directory, for good.
pub(crate) fn attach_step(step: &MountStep, target: &Path) -> Result<()> {
    build::attach(step, target, Interface::of_kernel(), &mut |_| Ok(()))
}

/// Unmounts the topmost mount of a directory.
pub(crate) fn unmount_one(target: &Path) -> Result<()> {
    unmount::all(target, 1, None, Server::Unknown)
}

/// The mounts of this thread's namespace, `proc_pid_mountinfo(5)`; what is not UTF-8 is replaced.
pub(crate) fn table() -> Result<String> {
    let table = fs_err::read("/proc/thread-self/mountinfo")
        .map_err(|error| Error::io("read mount table", error))?;
    Ok(String::from_utf8_lossy(&table).into_owned())
}

/// `proc_pid_mountinfo(5)`: space, tab, newline and backslash are octal escapes. What is not UTF-8
/// is replaced as in a table read likewise.
pub(crate) fn escaped_for_table(path: &Path) -> String {
    let mut text = String::new();
    for letter in path.to_string_lossy().chars() {
        match letter {
            ' ' | '\t' | '\n' | '\\' => {
                write!(text, "\\{:03o}", u32::from(letter))
                    .expect("a string takes all that is written");
            }
            _ => text.push(letter),
        }
    }
    text
}

/// The target as the kernel will name it: absolute, without symbolic links.
fn resolved(target: &Path) -> Result<PathBuf> {
    fs_err::canonicalize(target).map_err(|error| Error::io("mount", error))
}

/// A live mount. Unmounts when dropped; call [`Mounted::unmount`] to learn whether that worked.
#[derive(Debug)]
#[must_use = "dropping a mount unmounts it"]
pub struct Mounted {
    target: PathBuf,
    /// Mounts on the target that are ours; none of them is left to undo when this is 0.
    steps: usize,
    id: Option<UniqueMountId>,
    server: Server,
    /// Released after the unmount in `Drop`.
    hold: Option<FileLock>,
}

impl Mounted {
    /// Unmounts, and waits for the end of the daemon where one serves it. A mount that stays in use
    /// for a tenth of a second is [`ErrorKind::InUse`](crate::ErrorKind::InUse) and names who uses
    /// it; then it stays mounted. So is a daemon that goes on, since its file system is mounted
    /// elsewhere too; then the snapshot stays held.
    pub fn unmount(mut self) -> Result<()> {
        let steps = std::mem::take(&mut self.steps);
        let outcome = unmount::all(&self.target, steps, self.id, self.server);
        if outcome.is_err() {
            self.keep_hold();
        }
        outcome
    }

    /// It stays mounted, so the snapshot stays held for as long as this process lives.
    fn keep_hold(&mut self) {
        std::mem::forget(self.hold.take());
    }

    /// Leaves the mount in place and gives its target. Nothing holds the snapshot any more: a
    /// mount that is to be known afterwards is made with
    /// [`MountTable::mount_and_record`].
    pub fn leak(mut self) -> PathBuf {
        self.steps = 0;
        std::mem::take(&mut self.target)
    }

    /// Where it is mounted: absolute, without symbolic links.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The kernel's identity of the topmost mount; none before Linux 6.8.
    pub fn mount_id(&self) -> Option<UniqueMountId> {
        self.id
    }

    /// The hold that is shared while this is mounted.
    pub fn hold(&self) -> Option<&FileLock> {
        self.hold.as_ref()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.steps > 0
            && let Err(error) = unmount::all(&self.target, self.steps, self.id, self.server)
        {
            tracing::warn!(
                target = %self.target.display(), error = %error.chain(), "mount left behind"
            );
            self.keep_hold();
        }
    }
}

/// A mount that is attached nowhere; gone when dropped.
#[derive(Debug)]
#[must_use = "dropping a detached mount dissolves it"]
pub struct Detached {
    // In order of dropping: the open directory before the mount that it belongs to.
    root: OwnedFd,
    _mounts: Vec<DetachedMount>,
    // Last, since they end when their mounts have gone.
    _daemons: Vec<daemon::Ending>,
}

impl Detached {
    /// The root of the mount as an open directory, for `openat` and its like.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}
