//! Size limits: quota groups of btrfs, for the whole file system or not at all.

use super::open_directory;
use crate::config::Quota;
use rustix::io::Errno;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use strata_driver::{Bytes, Error, ErrorKind, Result};
use strata_sys::btrfs::{self, QuotaMode};

/// The quotas of the file system that holds a root.
#[derive(Debug)]
pub(crate) struct Quotas {
    setting: Quota,
    /// Whether a snapshot gets its source's limit, as full quota groups give it.
    inherits: bool,
}

impl Quotas {
    /// Turns quotas on if `setting` says so. They stay on: others may have limits by now.
    pub(crate) fn open(setting: Quota, directory: BorrowedFd<'_>) -> Result<Self> {
        let wanted = match setting {
            Quota::Off => {
                let inherits = is_full(directory)?;
                return Ok(Self { setting, inherits });
            }
            Quota::Simple => QuotaMode::Simple,
            Quota::Full => QuotaMode::Full,
        };
        btrfs::enable_quotas(directory, wanted).map_err(|error| {
            let told = Error::from(error)
                .during("open")
                .because("quotas cannot be turned on");
            match wanted {
                QuotaMode::Simple => told.hint(
                    "simple quotas take Linux 6.7 and root of the host; `quota=full` takes root",
                ),
                QuotaMode::Full => told.hint("run as root of the host, or with `quota=off`"),
            }
        })?;
        let found = mode(directory)?;
        if found.as_deref().is_some_and(|found| found != name(wanted)) {
            return Err(Error::new(ErrorKind::InvalidInput, "open")
                .because("the file system has quotas of another mode")
                .with("found", found.unwrap_or_default())
                .with("wanted", name(wanted))
                .hint("open with the other mode, or `btrfs quota disable` first"));
        }
        let inherits = wanted == QuotaMode::Full;
        Ok(Self { setting, inherits })
    }

    /// Takes away the limit that a new snapshot at `path` may have from its source: a limit is its
    /// own snapshot's, not that of the layer or of those who stand on it.
    pub(crate) fn drop_inherited(&self, path: &Path) -> Result<()> {
        if !self.inherits {
            return Ok(());
        }
        let root = open_directory(path)?;
        let cleared = btrfs::subvolume_info(&root)
            .and_then(|info| btrfs::limit_exclusive(&root, info.id, None));
        match cleared {
            // Who may not set limits has none to take away, and quotas may be turned off meanwhile.
            Err(error) if matches!(error.errno(), Some(Errno::PERM | Errno::NOTCONN)) => Ok(()),
            other => other
                .map_err(|error| Error::from(error).because("cannot take an inherited limit away")),
        }
    }

    /// Limits what the subvolume at `root`, just made, may hold beside what it shares with others.
    pub(crate) fn limit(&self, root: &OwnedFd, limit: Bytes) -> Result<()> {
        if self.setting == Quota::Off {
            return Err(Error::new(ErrorKind::Unsupported, "prepare")
                .because("quotas are off")
                .hint("open the driver with `quota=simple` or `quota=full`"));
        }
        let fail = |error| {
            Error::from(error)
                .during("prepare")
                .because("cannot set the limit")
        };
        // The kernel gives up counting when a large tree is dropped at once.
        if self.setting == Quota::Full && is_inconsistent(root.as_fd())? {
            btrfs::rescan_quotas(root).map_err(fail)?;
        }
        let id = btrfs::subvolume_info(root).map_err(fail)?.id;
        btrfs::limit_exclusive(root, id, Some(limit.0)).map_err(fail)
    }
}

/// As `/sys/fs/btrfs/ID/qgroups/mode` says it.
fn name(mode: QuotaMode) -> &'static str {
    match mode {
        QuotaMode::Simple => "squota",
        QuotaMode::Full => "qgroup",
    }
}

/// The mode that the file system has; none before Linux 6.7, when there was one.
fn mode(directory: BorrowedFd<'_>) -> Result<Option<String>> {
    read(directory, "mode")
}

/// Whether full quota groups are on. Where the kernel names no mode there is no other.
fn is_full(directory: BorrowedFd<'_>) -> Result<bool> {
    match mode(directory)? {
        Some(found) => Ok(found == name(QuotaMode::Full)),
        None => Ok(read(directory, "enabled")?.as_deref() == Some("1")),
    }
}

fn is_inconsistent(directory: BorrowedFd<'_>) -> Result<bool> {
    Ok(read(directory, "inconsistent")?.as_deref() == Some("1"))
}

fn read(directory: BorrowedFd<'_>, attribute: &str) -> Result<Option<String>> {
    let id = btrfs::file_system_id(directory)?;
    match fs_err::read_to_string(format!("/sys/fs/btrfs/{id}/qgroups/{attribute}")) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read quota state", error)),
    }
}
