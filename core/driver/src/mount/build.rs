//! From a step of a plan to a mount: fsopen(2) and its like, or mount(2).

use super::Detached;
use super::classic::{self, ClassicMount};
use super::daemon::{self, Ending};
use super::unmount::Server;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{MountOption, MountPlan, MountStep};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use strata_sys::SysError;
use strata_sys::mount::{
    DetachedMount, FsContext, LONGEST_OPTION_VALUE, MountAttributes, descriptor_path,
};
use strata_sys::namespace;
use strata_sys::statmount::{self, UniqueMountId};

/// `fs_type` of a step that shows a directory again.
pub(super) const BIND: &str = "bind";
/// The option key that adds one lower layer.
pub(super) const LOWER: &str = "lowerdir+";

/// Which system calls mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interface {
    /// fsopen, fsconfig, fsmount, `move_mount`.
    Context,
    /// mount(2): for kernels whose fsconfig lacks `lowerdir+` (before Linux 6.8), or that have no
    /// such calls at all (before 5.2).
    Classic,
}

impl Interface {
    /// What this kernel can do, found out once per process.
    pub(super) fn of_kernel() -> Self {
        static FOUND: OnceLock<Interface> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let found = Self::probe();
            tracing::debug!(interface = ?found, "mount interface chosen");
            found
        })
    }

    /// Before Linux 6.5 overlay gathers options unread until the superblock is made, so that one
    /// that no kernel knows is accepted; later it is refused at once, and a layer that does not
    /// exist tells a known key (ENOENT) from an unknown one (EINVAL).
    fn probe() -> Self {
        let Ok(context) = FsContext::open("overlay") else {
            // No overlay, or no right to mount: the other types work through fsopen since 5.2,
            // and the error that the caller meets says what is missing.
            return match FsContext::open("tmpfs") {
                Err(error) if error.is_unsupported() => Self::Classic,
                _ => Self::Context,
            };
        };
        let unread = context.set_flag("strata-no-such-option").is_ok();
        let known = context
            .set_string(LOWER, "/proc/strata-no-such-directory")
            .is_err_and(|error| error.is(Errno::NOENT));
        if known && !unread {
            Self::Context
        } else {
            Self::Classic
        }
    }

    /// Only overlay's options need another way on kernels in between. What fsconfig(2) takes neither
    /// as a text nor as the path of a descriptor, and a change of a mount, go to mount(2) always.
    fn serves(self, step: &MountStep) -> bool {
        let is_long = |option: &MountOption| {
            let value = option.value.as_deref().unwrap_or_default();
            value.len() > LONGEST_OPTION_VALUE
                && !(option.key == LOWER || Path::new(value).exists())
        };
        let by_text = step.is_remount() || step.options.iter().any(is_long);
        self == Self::Context && !by_text
            || step.fs_type == BIND && has_mount_setattr()
            || daemon::subtype(&step.fs_type).is_some()
    }
}

/// A bind mount is made read-only by `mount_setattr(2)`, since Linux 5.12.
fn has_mount_setattr() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        DetachedMount::bind(Path::new("/"), MountAttributes::READ_ONLY)
            .map_or_else(|error| !error.is_unsupported(), |_| true)
    })
}

/// Mounts `step` onto `target`. `ready` is told the mount's identity, before anybody can see the
/// mount where the kernel allows; if it fails, nothing stays mounted.
pub(super) fn attach(
    step: &MountStep,
    target: &Path,
    interface: Interface,
    ready: &mut dyn FnMut(Option<UniqueMountId>) -> Result<()>,
) -> Result<()> {
    if interface.serves(step) {
        if daemon::subtype(&step.fs_type).is_some() {
            daemon::clear_dead(target, &step.fs_type)?;
        }
        // In order of dropping where something fails: the mount before its daemon.
        let (mount, mut ending) = build(step)?;
        ready(identity(statmount::mount_id_of(&mount))?)?;
        mount.attach(target).map_err(|error| failed(step, error))?;
        ending.leave();
        return Ok(());
    }
    classic::mount(step, target).map_err(|error| failed(step, error))?;
    if step.is_remount() {
        return Ok(());
    }
    let told = identity(statmount::mount_id(target)).and_then(ready);
    if told.is_err() {
        super::unmount::all(target, 1, None, Server::Kernel)?;
    }
    told
}

/// [`attach`] for a mount that nobody records: gives the mount's identity.
///
/// Where mount(2) can say the whole step, it is one call instead of one for each layer, whose cost
/// shows from a few layers on. What it refuses is tried again through fsopen(2), for the kernel's
/// own words.
pub(super) fn show(
    step: &MountStep,
    target: &Path,
    interface: Interface,
) -> Result<Option<UniqueMountId>> {
    let mut found = None;
    let mut ready = |id| {
        found = id;
        Ok(())
    };
    let at_once = interface == Interface::Context
        && classic::is_plain(step)
        && attach(step, target, Interface::Classic, &mut ready).is_ok();
    if !at_once {
        attach(step, target, interface, &mut ready)?;
    }
    Ok(found)
}

/// Mounts the last step of `plan`, which is what would be seen, where nobody sees it.
pub(super) fn detached(plan: &MountPlan, interface: Interface) -> Result<Detached> {
    let open_root = |mount: &DetachedMount| {
        rustix::fs::openat(
            mount,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    };
    let io = |errno: Errno| Error::io("mount", errno.into()).with("snapshot", &plan.snapshot);
    if plan.steps.iter().all(|step| interface.serves(step)) {
        let built = plan.steps.iter().map(build).collect::<Result<Vec<_>>>()?;
        let (mounts, daemons): (Vec<_>, Vec<_>) = built.into_iter().unzip();
        let last = mounts.last().ok_or_else(|| nothing(plan))?;
        return Ok(Detached {
            root: open_root(last).map_err(io)?,
            _mounts: mounts,
            _daemons: daemons,
        });
    }
    let root = namespace::run_in_private_namespace(|| in_namespace(plan, interface))??;
    Ok(Detached {
        root,
        _mounts: Vec::new(),
        _daemons: Vec::new(),
    })
}

/// Mounts over a directory that every system has; only this thread's namespace sees it, and the
/// descriptor keeps the last mount when the namespace goes.
fn in_namespace(plan: &MountPlan, interface: Interface) -> Result<OwnedFd> {
    let stages = ["/mnt", "/media", "/run", "/tmp", "/proc"].map(Path::new);
    let target = stages
        .into_iter()
        .find(|stage| stage.is_dir() && !reaches(plan, stage))
        .ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "mount")
                .because("no directory to mount over for a moment")
                .hint("make `/mnt`")
        })?;
    for step in &plan.steps {
        attach(step, target, interface, &mut |_| Ok(()))?;
    }
    rustix::fs::openat(
        CWD,
        target,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| Error::io("mount", errno.into()).with("snapshot", &plan.snapshot))
}

/// Whether a step names something below `directory`, which a mount over it would hide.
fn reaches(plan: &MountPlan, directory: &Path) -> bool {
    plan.steps.iter().any(|step| {
        step.source.starts_with(directory)
            || step.options.iter().any(|option| {
                option
                    .value
                    .as_deref()
                    .is_some_and(|value| Path::new(value).starts_with(directory))
            })
    })
}

fn nothing(plan: &MountPlan) -> Error {
    Error::new(ErrorKind::InvalidInput, "mount")
        .because("the plan has no step")
        .with("snapshot", &plan.snapshot)
}

/// Makes the mount of a step, and names the daemon that ends with it.
fn build(step: &MountStep) -> Result<(DetachedMount, Ending)> {
    let attributes = if step.flags.read_only {
        MountAttributes::READ_ONLY
    } else {
        MountAttributes::empty()
    };
    if daemon::subtype(&step.fs_type).is_some() {
        let (mount, daemon) =
            daemon::build(step).map_err(|error| error.with("type", &step.fs_type))?;
        let ending = Ending(Some(daemon));
        if !attributes.is_empty() {
            mount.set_attributes(attributes)?;
        }
        return Ok((mount, ending));
    }
    let built = if step.fs_type == BIND {
        DetachedMount::bind(&step.source, attributes)
    } else {
        let make = |open: fn(&str) -> Result<FsContext, SysError>| {
            let context = configure(step, open(&step.fs_type)?)?;
            context.create()?;
            context.mount(attributes)
        };
        match make(FsContext::open) {
            Err(error) if error.kernel.is_none() => make(FsContext::open_explaining),
            other => other,
        }
    };
    let mount = built.map_err(|error| failed(step, error))?;
    Ok((mount, Ending(None)))
}

fn configure(step: &MountStep, context: FsContext) -> Result<FsContext, SysError> {
    if !step.source.as_os_str().is_empty() {
        set(&context, "source", &step.source)?;
    }
    for MountOption { key, value } in &step.options {
        match value {
            None => context.set_flag(key)?,
            Some(value) => set(&context, key, Path::new(value))?,
        }
    }
    Ok(context)
}

/// fsconfig(2) takes strings of up to 255 bytes, and overlay takes a backslash in some of its
/// paths for an escape: such paths go as that of a descriptor, which the kernel resolves at once.
fn set(context: &FsContext, key: &str, value: &Path) -> Result<(), SysError> {
    let bytes = value.as_os_str().as_encoded_bytes();
    let plain = bytes.len() <= LONGEST_OPTION_VALUE && !bytes.contains(&b'\\');
    if plain || !value.is_absolute() {
        return context.set_string(key, value);
    }
    let directory = rustix::fs::open(value, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SysError::new("open", errno, value.display()))?;
    context.set_string(key, descriptor_path(directory.as_fd()))
}

/// Kernels before 6.8 have no identity; any other failure is one.
fn identity(answer: Result<UniqueMountId, SysError>) -> Result<Option<UniqueMountId>> {
    match answer {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.is_unsupported() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn failed(step: &MountStep, error: SysError) -> Error {
    let missing_type = error.is(Errno::NODEV) && step.fs_type != BIND;
    let refused = error.is(Errno::PERM);
    let told = if missing_type {
        Error::new(ErrorKind::Unavailable, "mount")
            .because(format!("the kernel has no file system `{}`", step.fs_type))
            .hint(format!("load its module: `modprobe {}`", step.fs_type))
            .caused_by(error)
    } else {
        Error::from(error).during("mount")
    };
    if refused {
        return told.hint("mounting needs root, of this host or of a user namespace");
    }
    told.with("type", &step.fs_type)
}

impl MountStep {
    /// The step as mount(2), mount(8) and containerd take it, escaped as overlay needs it.
    pub fn to_classic(&self) -> ClassicMount {
        classic::of_step(self)
    }
}

impl MountPlan {
    /// [`MountStep::to_classic`] of each step, in order.
    pub fn to_classic(&self) -> Vec<ClassicMount> {
        self.steps.iter().map(MountStep::to_classic).collect()
    }
}
