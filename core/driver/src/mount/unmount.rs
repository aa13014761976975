//! Unmounting: patience with those about to let go, and names of those who do not.

use super::daemon::Daemon;
use crate::error::{Error, ErrorKind, Result};
use rustix::io::Errno;
use std::path::Path;
use std::time::Duration;
use strata_sys::SysError;
use strata_sys::mount::{UnmountFlags, unmount};
use strata_sys::statmount::{self, UniqueMountId};

/// Pauses between tries, a tenth of a second in all: a process that just exited may not yet have
/// closed its files.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(1),
    Duration::from_millis(4),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(30),
    Duration::from_millis(35),
];

/// Most processes that are named.
const NAMED: usize = 4;

/// Who serves the file systems that are to be unmounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// The kernel: nobody is waited for.
    Kernel,
    /// Perhaps a daemon: it is looked for, and its end waited for.
    Unknown,
}

/// Unmounts the `steps` topmost mounts of `target`, the first of which is `id`.
pub(super) fn all(
    target: &Path,
    steps: usize,
    id: Option<UniqueMountId>,
    server: Server,
) -> Result<()> {
    if steps == 0 || !is_on_top(target, id)? {
        return Ok(());
    }
    for _ in 0..steps {
        once(target, server)?;
    }
    Ok(())
}

/// Whether `id` is what an unmount would take away: somebody may have unmounted it already, or
/// mounted something over it.
fn is_on_top(target: &Path, id: Option<UniqueMountId>) -> Result<bool> {
    let Some(id) = id else {
        return Ok(true);
    };
    match statmount::mount_id(target) {
        Ok(top) if top == id => return Ok(true),
        Ok(_) => {}
        Err(error) if error.is(Errno::NOENT) => {}
        // A file system that failed, or a daemon that died, answers nothing; it can be unmounted.
        Err(_) => return Ok(true),
    }
    if statmount::statmount(id, None)?.is_none() {
        tracing::debug!(target = %target.display(), "was unmounted by somebody else");
        return Ok(false);
    }
    Err(Error::new(ErrorKind::InUse, "unmount")
        .because("something else is mounted over it")
        .with("target", target.display())
        .hint("unmount that first"))
}

fn once(target: &Path, server: Server) -> Result<()> {
    let daemon = match server {
        Server::Kernel => None,
        Server::Unknown => Daemon::behind(target),
    };
    let mut pauses = PAUSES.iter();
    loop {
        match unmount(target, UnmountFlags::empty()) {
            Ok(()) => {
                return daemon.map_or(Ok(()), |daemon| {
                    daemon
                        .wait()
                        .map_err(|error| error.with("target", target.display()))
                });
            }
            Err(error) if error.is(Errno::BUSY) => {
                let Some(pause) = pauses.next() else {
                    return Err(in_use(target, error));
                };
                std::thread::sleep(*pause);
            }
            Err(error) => {
                return Err(Error::from(error)
                    .during("unmount")
                    .with("target", target.display()));
            }
        }
    }
}

fn in_use(target: &Path, error: SysError) -> Error {
    let users = users(target);
    let reason = if users.is_empty() {
        "it is in use".to_owned()
    } else {
        format!("it is in use by {}", users.join(", "))
    };
    Error::new(ErrorKind::InUse, "unmount")
        .because(reason)
        .with("target", target.display())
        .caused_by(error)
        .hint("end what uses it and try again")
}

/// Processes with a file, a working directory or a root below `target`, as far as /proc tells.
fn users(target: &Path) -> Vec<String> {
    let Ok(processes) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    let is_below = |link: &Path| {
        rustix::fs::readlink(link, Vec::new()).is_ok_and(|path| {
            path.to_str()
                .is_ok_and(|path| Path::new(path).starts_with(target))
        })
    };
    processes
        .filter_map(std::result::Result::ok)
        .map(|entry| entry.path())
        .filter(|process| {
            let number = process.file_name().and_then(|name| name.to_str());
            number.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .filter(|process| {
            is_below(&process.join("cwd"))
                || is_below(&process.join("root"))
                || fs_err::read_dir(process.join("fd")).is_ok_and(|descriptors| {
                    descriptors
                        .filter_map(std::result::Result::ok)
                        .any(|descriptor| is_below(&descriptor.path()))
                })
        })
        .take(NAMED)
        .map(|process| {
            let pid = process
                .file_name()
                .unwrap_or_default()
                .display()
                .to_string();
            match fs_err::read_to_string(process.join("comm")) {
                Ok(name) => format!("`{}` (pid {pid})", name.trim()),
                Err(_) => format!("pid {pid}"),
            }
        })
        .collect()
}
