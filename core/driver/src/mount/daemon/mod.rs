//! File systems that a daemon serves: types `fuse.SUBTYPE`, each with a program called `SUBTYPE`.
//!
//! The program makes the superblock and hands the detached mount over ([`handover`]); whoever
//! started it attaches that, or keeps it detached, in whatever namespace. The daemon ends when the
//! last mount of its file system goes. Until then it holds files of the directories below it open,
//! so an unmount waits for its end; it is found by a [socket](control) that is named by the
//! device number of its file system.

pub mod control;
pub mod handover;
mod program;

pub use control::Control;
pub use handover::{Handover, start};

use crate::error::{Error, ErrorKind, Result};
use crate::plan::MountStep;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use strata_sys::mount::{DetachedMount, UnmountFlags};

const PREFIX: &str = "fuse.";

/// How long an unmount waits for the daemon's end.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// The subtype of a type that a daemon serves.
pub(super) fn subtype(fs_type: &str) -> Option<&str> {
    fs_type.strip_prefix(PREFIX)
}

/// Starts the daemon of `step`.
pub(super) fn build(step: &MountStep) -> Result<(DetachedMount, Daemon)> {
    let subtype = subtype(&step.fs_type).unwrap_or_default();
    let program = program::find(subtype)?;
    let classic = step.to_classic();
    start(
        &program,
        &classic.source.to_string_lossy(),
        classic.option_text(),
    )
}

/// A process that serves a file system.
#[derive(Debug)]
pub struct Daemon {
    process: OwnedFd,
    pid: Pid,
}

impl Daemon {
    /// The process `pid`, which must not have been waited for.
    fn of(pid: Pid) -> Result<Self> {
        let process = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|errno| Error::io("mount", errno.into()).with("pid", pid.as_raw_nonzero()))?;
        Ok(Self { process, pid })
    }

    /// The daemon behind the mount on `target`; none where that is another kind of mount, or where
    /// it is dead or out of sight.
    pub(super) fn behind(target: &Path) -> Option<Self> {
        let pid = control::peer_of(target)?;
        Self::of(pid).ok()
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until it has ended, after its last mount has gone.
    ///
    /// # Errors
    /// [`InUse`](ErrorKind::InUse) if it goes on for ten seconds.
    pub fn wait(self) -> Result<()> {
        let mut polled = [PollFd::new(&self.process, PollFlags::IN)];
        let ended = loop {
            match poll(&mut polled, Some(&PATIENCE)) {
                Ok(count) => break count > 0,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("unmount", errno.into())),
            }
        };
        if ended {
            self.reap();
            return Ok(());
        }
        Err(Error::new(ErrorKind::InUse, "unmount")
            .because(format!(
                "it is unmounted here, but its daemon goes on after {} s",
                PATIENCE.tv_sec
            ))
            .with("pid", self.pid.as_raw_nonzero())
            .hint("something still uses the file system: another mount of it, or an open file"))
    }

    /// Ends it at once.
    fn kill(&self) {
        if let Err(errno) = pidfd_send_signal(&self.process, Signal::KILL) {
            tracing::debug!(%errno, "cannot kill the daemon");
        }
    }

    /// Takes the end of the process, if it is a child of this one.
    fn reap(&self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(self.process.as_fd()), options) {
            Ok(_) | Err(Errno::CHILD) => {}
            Err(errno) => tracing::debug!(%errno, "cannot reap the daemon"),
        }
    }
}

/// A daemon whose mount goes first: dropped, it is waited for.
#[derive(Debug)]
pub(super) struct Ending(pub(super) Option<Daemon>);

impl Ending {
    /// Its mount stays.
    pub(super) fn leave(&mut self) {
        self.0 = None;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(daemon) = self.0.take()
            && let Err(error) = daemon.wait()
        {
            tracing::warn!(error = %error.chain(), "daemon left behind");
        }
    }
}

/// Takes away mounts of type `fs_type` on `target` whose daemon was killed: every use of them
/// answers `ENOTCONN`.
pub fn clear_dead(target: &Path, fs_type: &str) -> Result<()> {
    while rustix::fs::statfs(target).is_err_and(|errno| errno == Errno::NOTCONN) {
        let mounts = strata_sys::mountinfo::mounts()?;
        let top = mounts
            .iter()
            .rev()
            .find(|mount| mount.mount_point == target);
        if top.is_none_or(|mount| mount.fs_type != fs_type) {
            return Err(Error::new(ErrorKind::InUse, "mount")
                .because("a file system is mounted there whose daemon is dead")
                .with("target", target.display())
                .hint("`umount --lazy` it first"));
        }
        tracing::warn!(target = %target.display(), "the daemon of what is mounted there is dead: unmounted");
        strata_sys::mount::unmount(target, UnmountFlags::DETACH)?;
    }
    Ok(())
}
