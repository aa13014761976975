//! A union as callers have it before them: mounted, or the plain directories.

use super::clocks;
use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A daemon takes some milliseconds to begin and to end.
const PATIENCE: Duration = Duration::from_secs(30);

const MOMENT: Duration = Duration::from_millis(2);

/// So long a daemon has to use no time to count as one that has nothing left to do.
const QUIET: Duration = Duration::from_millis(10);

/// A mounted union; unmounted when dropped.
#[derive(Debug)]
pub(super) struct View {
    places: Places,
    daemon: Option<Child>,
}

#[derive(Debug)]
enum Places {
    Mount {
        target: PathBuf,
    },
    Plain {
        upper: PathBuf,
        lower: PathBuf,
    },
    /// [`View::end`] was here.
    Gone,
}

impl View {
    pub(super) fn plain(upper: PathBuf, lower: PathBuf) -> Self {
        Self {
            places: Places::Plain { upper, lower },
            daemon: None,
        }
    }

    pub(super) fn of_kernel(target: &Path, layers: &str) -> anyhow::Result<Self> {
        let kind = Some("overlay");
        mount(kind, target, kind, MsFlags::empty(), Some(layers)).context("mount the overlay")?;
        Ok(Self {
            places: Places::Mount {
                target: target.to_owned(),
            },
            daemon: None,
        })
    }

    /// Waits until what `command` serves is mounted.
    pub(super) fn of_daemon(mut command: Command, target: &Path) -> anyhow::Result<Self> {
        let outside = fs_err::metadata(target)?.dev();
        let log = target.with_extension("log");
        let daemon = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs_err::File::create(&log)?.into_file())
            // Not the terminal's Ctrl-C, which would end it before its callers.
            .process_group(0)
            .spawn()
            .context("cannot start a daemon")?;
        let mut view = Self {
            places: Places::Mount {
                target: target.to_owned(),
            },
            daemon: Some(daemon),
        };
        let start = Instant::now();
        loop {
            // Between mount and first answer it may be neither here nor there.
            if fs_err::metadata(target).is_ok_and(|found| found.dev() != outside) {
                view.settle()?;
                return Ok(view);
            }
            if let Some(daemon) = &mut view.daemon
                && let Some(status) = daemon.try_wait()?
            {
                view.daemon = None;
                let said = fs_err::read_to_string(log)?;
                bail!("it ended with {status}: {}", said.trim());
            }
            ensure!(start.elapsed() < PATIENCE, "it mounts nothing");
            std::thread::sleep(MOMENT);
        }
    }

    /// Whether it is no union.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.places, Places::Plain { .. })
    }

    /// Where an entry is found.
    pub(super) fn existing(&self, name: &str) -> PathBuf {
        match &self.places {
            Places::Plain { upper, lower } => {
                let above = upper.join(name);
                if above.exists() {
                    above
                } else {
                    lower.join(name)
                }
            }
            _ => self.fresh(name),
        }
    }

    /// Where a new entry is made.
    pub(super) fn fresh(&self, name: &str) -> PathBuf {
        match &self.places {
            Places::Mount { target } => target.join(name),
            Places::Plain { upper, .. } => upper.join(name),
            Places::Gone => unreachable!("`end` takes the view"),
        }
    }

    /// CPU time of the daemon so far, of all its threads, once it has nothing left to do.
    pub(super) fn settle(&self) -> anyhow::Result<Duration> {
        let Some(daemon) = &self.daemon else {
            return Ok(Duration::ZERO);
        };
        let start = Instant::now();
        let mut used = clocks::of_process(daemon.id())?;
        let mut since = Instant::now();
        while since.elapsed() < QUIET && start.elapsed() < PATIENCE {
            std::thread::sleep(MOMENT);
            let now = clocks::of_process(daemon.id())?;
            if now != used {
                (used, since) = (now, Instant::now());
            }
        }
        Ok(used)
    }

    /// Unmounts, and waits until the daemon has ended.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.unmount()
    }

    fn unmount(&mut self) -> anyhow::Result<()> {
        let Places::Mount { target } = std::mem::replace(&mut self.places, Places::Gone) else {
            return Ok(());
        };
        let unmounted = unmount(&target);
        let Some(mut daemon) = self.daemon.take() else {
            return unmounted;
        };
        let start = Instant::now();
        while daemon.try_wait()?.is_none() {
            if unmounted.is_err() || start.elapsed() > PATIENCE {
                daemon.kill()?;
                daemon.wait()?;
                unmounted?;
                bail!("the daemon did not end when it was unmounted");
            }
            std::thread::sleep(MOMENT);
        }
        unmounted
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("a mount is left: {error:#}");
        }
    }
}

fn unmount(target: &Path) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        match umount2(target, MntFlags::empty()) {
            // EINVAL: not mounted, since its daemon has ended and said why.
            Ok(()) | Err(Errno::EINVAL) => return Ok(()),
            Err(Errno::EBUSY) if start.elapsed() < PATIENCE => std::thread::sleep(MOMENT),
            Err(errno) => {
                // Out of the way of those that come after.
                umount2(target, MntFlags::MNT_DETACH)
                    .with_context(|| format!("unmount `{}` after {errno}", target.display()))?;
                bail!("`{}` could only be detached: {errno}", target.display());
            }
        }
    }
}
