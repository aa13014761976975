//! Recovery and reclaiming for drivers that keep a directory per snapshot.

use crate::catalog::{Catalog, Draft, Leftovers, Row, SnapshotId};
use crate::error::{Error, ErrorKind, Result};
use crate::guard;
use crate::tree::{self, Budget, Removal};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Entries that `remove` deletes at once; what is larger is left to `reclaim`, so that removing
/// an image costs the same as removing a container.
pub const REMOVE_BUDGET: u64 = 512;

/// What the name of a directory ends with that is too large to be removed at once.
const REMOVING: &str = ".removing";

/// Deletes what removed, abandoned and unknown snapshots left in `directory`, whose entries are
/// named by `parse`; `remove` deletes all of one snapshot's entry ([`remove_all`], unless the
/// driver keeps more than directories there), and succeeds where there is none. Returns how many
/// snapshots are gone. Idempotent.
pub fn sweep(
    catalog: &Catalog,
    directory: &Path,
    which: Leftovers,
    parse: impl Fn(&str) -> Option<SnapshotId>,
    remove: impl Fn(SnapshotId) -> Result<()>,
) -> Result<u64> {
    // The disk first, the catalogue after: a number is reserved before its directory is made,
    // so a directory seen now whose number is unknown then belongs to nobody.
    let mut found = BTreeSet::new();
    for entry in fs_err::read_dir(directory).map_err(|error| Error::io("reclaim", error))? {
        let entry = entry.map_err(|error| Error::io("reclaim", error))?;
        let name = entry.file_name();
        let name = name
            .to_str()
            .map(|name| name.strip_suffix(REMOVING).unwrap_or(name));
        found.extend(name.and_then(&parse));
    }
    if let Some(highest) = found.last() {
        catalog.never_give(*highest)?;
    }
    let known = catalog.known_ids()?;
    let mut gone = 0;
    // One that cannot be deleted keeps no other back, and no root from being opened.
    let mut failed = None;
    let mut note = |outcome: Result<()>| match outcome {
        Ok(()) => gone += 1,
        Err(error) => {
            tracing::warn!(error = %error.chain(), "remains of a snapshot stay");
            failed.get_or_insert(error);
        }
    };
    for &orphan in found.iter().filter(|id| !known.contains(**id)) {
        tracing::info!(id = %orphan, "deleting a directory that no snapshot owns");
        note(remove(orphan));
    }
    for row in catalog.leftovers(which)? {
        let removed = remove(row.id);
        note(removed.and_then(|()| catalog.finish_remove(row.id)));
    }
    match failed {
        Some(error) if which == Leftovers::AbandonedOrRemoved => Err(error),
        _ => Ok(gone),
    }
}

/// Makes the directory of a snapshot that is being made, and claims it.
pub fn make_home(draft: &Draft, path: &Path) -> Result<()> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) => {
            draft.claim();
            Ok(())
        }
        Err(Errno::EXIST) => Err(Error::new(ErrorKind::Corrupt, "prepare")
            .because("something is there under a number that was never given")
            .with("path", path.display())
            .hint("open the root again, which deletes what no snapshot owns")),
        Err(errno) => Err(Error::io("prepare", errno.into()).with("path", path.display())),
    }
}

/// Deletes the directory of a snapshot whose removal is recorded, if it is small; the rest is
/// for [`sweep`].
pub fn remove_now(catalog: &Catalog, directory: &Path, id: SnapshotId) {
    let removed = (|| {
        let home = open(directory)?;
        let name = id.to_string();
        let budget = Budget::Entries(REMOVE_BUDGET);
        if tree::remove(home.as_fd(), name.as_bytes(), budget)? == Removal::Complete {
            return catalog.finish_remove(id);
        }
        // Plans that were made before end with the name.
        rustix::fs::renameat(&home, &name, &home, format!("{name}{REMOVING}"))
            .map_err(|errno| Error::io("remove", errno.into()).with("id", id))
    })();
    if let Err(error) = removed {
        // The snapshot is gone all the same.
        tracing::warn!(error = %error.chain(), "remains of a snapshot are left to reclaim");
    }
}

/// Makes again, by `make`, what a snapshot lacks on disk, unless `is_whole`.
///
/// A durable prepare syncs its row and not its directories: had anything in them been synced, so
/// would they, and what never reached the disk was still empty. `make` has the snapshot's
/// directory to itself. A snapshot that somebody removes, or works on, meanwhile is left alone.
pub fn restore(
    catalog: &Catalog,
    row: &Row,
    snapshot: &Path,
    is_whole: impl Fn() -> bool,
    make: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if is_whole() {
        return Ok(());
    }
    let lock = match guard::exclusive_anew(catalog, row, snapshot, "open") {
        Ok(lock) => lock,
        Err(error) => {
            return match error.kind() {
                ErrorKind::NotFound | ErrorKind::InvalidState | ErrorKind::InUse => Ok(()),
                _ => Err(error),
            };
        }
    };
    if !is_whole() {
        tracing::info!(id = %row.id, "making a snapshot's directories again");
        make()?;
    }
    drop(lock);
    Ok(())
}

/// Called with the failure of an apply: if the disk is full, gives space back at once by emptying
/// the directory `name` of the snapshot, which is good for removal only. Without this the catalogue,
/// on the same disk, would have no room to record the removal.
pub fn after_failed_apply(error: Error, snapshot: &Path, name: &str) -> Error {
    if error.kind() != ErrorKind::NoSpace {
        return error;
    }
    match empty(snapshot, name) {
        Ok(()) => error,
        Err(rollback) => error.with_rollback(rollback),
    }
}

fn empty(snapshot: &Path, name: &str) -> Result<()> {
    let home = open(snapshot)?;
    tree::remove(home.as_fd(), name.as_bytes(), Budget::Unlimited).map(drop)?;
    // btrfs gives freed space back with the next transaction only.
    let synced = rustix::fs::syncfs(&home);
    let made = synced.and_then(|()| rustix::fs::mkdirat(&home, name, Mode::RWXU));
    made.map_err(|errno| Error::io("apply", errno.into()).with("path", snapshot.display()))
}

/// Deletes all of a snapshot's directory.
pub fn remove_all(directory: &Path, id: SnapshotId) -> Result<()> {
    let home = open(directory)?;
    for name in [id.to_string(), format!("{id}{REMOVING}")] {
        let removed = tree::remove(home.as_fd(), name.as_bytes(), Budget::Unlimited);
        removed.map(drop)?;
    }
    Ok(())
}

fn open(directory: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty())
        .map_err(|errno| Error::io("open", errno.into()).with("path", directory.display()))
}
