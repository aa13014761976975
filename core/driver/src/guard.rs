//! Keeping others out while a snapshot is committed, removed or written to.

use crate::apply::first;
use crate::catalog::{Catalog, Row, SnapshotId};
use crate::error::{Error, ErrorKind, Result};
use crate::mount::hold;
use crate::name::SnapshotName;
use crate::snapshot::SnapshotKind;
use crate::stream::ChangesetSource;
use rustix::fs::Mode;
use rustix::io::Errno;
use std::io::Read;
use std::path::{Path, PathBuf};
use strata_sys::lock::FileLock;

/// The snapshot called `key`, which `operation` may change only while it is active: another kind
/// is [`ErrorKind::InvalidState`].
pub fn active(catalog: &Catalog, key: &SnapshotName, operation: &'static str) -> Result<Row> {
    let row = catalog.get(key)?;
    if row.kind == SnapshotKind::Active {
        return Ok(row);
    }
    Err(Error::new(ErrorKind::InvalidState, operation)
        .because(format!(
            "the snapshot's kind is `{}`, not `active`",
            row.kind
        ))
        .hint("prepare a snapshot on it, or on its parent if it is a view"))
}

/// Takes the snapshot's hold path for `operation`; keep the lock until that is over.
///
/// Mounted here, in another process or in another mount namespace is
/// [`ErrorKind::InUse`]: whoever mounts by [`mount`](crate::mount) holds a shared lock, and
/// mounts that outlive their process are recorded. A mount made by other means is not seen;
/// drivers whose committed layers such a mount could change declare
/// [`Quirk::LateWriterPossible`](crate::Quirk::LateWriterPossible).
///
/// `row` was read before the lock was taken. If it is no longer true (somebody has committed or
/// removed the snapshot meanwhile) that is [`ErrorKind::NotFound`] or
/// [`ErrorKind::InvalidState`].
pub fn exclusive(
    catalog: &Catalog,
    row: &Row,
    hold_path: &Path,
    operation: &'static str,
) -> Result<FileLock> {
    let Some(lock) = hold::try_exclusive(hold_path).map_err(|error| lost(error, operation))? else {
        return Err(Error::new(ErrorKind::InUse, operation)
            .because("the snapshot is mounted, or a commit, removal or apply of it is under way")
            .hint("unmount it first, or wait for that to end"));
    };
    let now = catalog
        .glance(row)
        .map_err(|error| error.during(operation))?;
    if now.has_mounts
        && let Some(mount) = catalog.is_mounted(row.id)?
    {
        return Err(Error::new(ErrorKind::InUse, operation)
            .because("the snapshot is mounted")
            .with("mounted_on", mount.target.display())
            .hint("unmount it first: `strata snapshot unmount TARGET`"));
    }
    if !now.is_same {
        return Err(Error::new(ErrorKind::InvalidState, operation)
            .because("somebody else has committed, removed or remade the snapshot meanwhile"));
    }
    Ok(lock)
}

/// The commit point of a removal: takes the snapshot's directory for itself, as [`exclusive`]
/// does, frees the name and marks the row. Delete what is on disk, and only then let go.
///
/// Possible also if the directory was lost. A snapshot that others stand on is
/// [`ErrorKind::InUse`].
pub fn begin_remove(catalog: &Catalog, row: &Row, snapshot: &Path) -> Result<FileLock> {
    if let Ok(Some(lock)) = hold::try_exclusive(snapshot)
        && catalog.try_begin_remove(row)?
    {
        return Ok(lock);
    }
    // Something is in the way; the long way finds out what, and what of it is only recorded.
    let lock = exclusive_anew(catalog, row, snapshot, "remove")?;
    if let Some(name) = &row.name {
        catalog.begin_remove(name)?;
    }
    Ok(lock)
}

/// [`exclusive`] of the snapshot's directory, which is made again, empty, if it was lost.
pub(crate) fn exclusive_anew(
    catalog: &Catalog,
    row: &Row,
    snapshot: &Path,
    operation: &'static str,
) -> Result<FileLock> {
    let taken = exclusive(catalog, row, snapshot, operation);
    if !matches!(&taken, Err(error) if error.kind() == ErrorKind::NotFound) {
        return taken;
    }
    let fail = |errno: Errno| Error::io(operation, errno.into()).with("path", snapshot.display());
    match rustix::fs::mkdir(snapshot, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => return taken,
        Err(errno) => return Err(fail(errno)),
    }
    let taken = exclusive(catalog, row, snapshot, operation);
    let is_gone =
        |error: &Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidState);
    // Not where somebody else has it now: that is about to fill it.
    if taken.as_ref().is_err_and(is_gone) {
        // The snapshot itself is gone: its directory was removed, not lost.
        match rustix::fs::rmdir(snapshot) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
    taken
}

fn lost(error: Error, operation: &'static str) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    Error::new(ErrorKind::NotFound, operation)
        .because("the snapshot was removed meanwhile, or its directory was lost")
        .hint("`strata snapshot ls` says whether it is still there; if so, remove it")
        .caused_by(error)
}

/// Snapshots that are being read without a lock, which would keep nobody from reading them too.
#[derive(Clone, Debug)]
#[must_use = "a reading that is not confirmed may have seen half a snapshot"]
pub struct Reading(Vec<SnapshotId>);

impl Reading {
    /// Before the first look at what these snapshots hold.
    pub fn begin<'a>(
        catalog: &Catalog,
        snapshots: impl IntoIterator<Item = &'a SnapshotName>,
    ) -> Result<Self> {
        let ids = snapshots
            .into_iter()
            .map(|name| catalog.get(name).map(|row| row.id));
        ids.collect::<Result<_>>().map(Self)
    }

    /// After the last one: [`ErrorKind::NotFound`] if somebody has removed one of them meanwhile,
    /// since a removal takes names away one by one. A removal is recorded before it begins.
    pub fn confirm(&self, catalog: &Catalog, operation: &'static str) -> Result<()> {
        for id in &self.0 {
            if !catalog
                .exists(*id)
                .map_err(|error| error.during(operation))?
            {
                return Err(Error::new(ErrorKind::NotFound, operation)
                    .because("somebody has removed the snapshot while it was read"));
            }
        }
        Ok(())
    }
}

/// The file in a snapshot's directory that says that an apply has begun and not ended.
const APPLYING: &str = "applying";

/// An apply under way. Unless it is [finished](Applying::finish), what it leaves is half a layer,
/// and the snapshot is good for removal only, also after a crash.
#[derive(Debug)]
#[must_use = "an apply that is not finished spoils its snapshot"]
pub struct Applying {
    mark: PathBuf,
}

impl Applying {
    /// Marks the snapshot whose directory is `snapshot`, and refuses one that is spoilt already.
    /// Gives the changeset to be applied, from its first byte.
    ///
    /// What does not even begin like a changeset is refused before the mark is set: a wrong file
    /// spoils nothing.
    pub fn begin(
        snapshot: &Path,
        changeset: ChangesetSource,
    ) -> Result<(Self, Box<dyn Read + Send>)> {
        refuse_half_applied(snapshot, "apply")?;
        let changeset = first::checked(changeset.into_read())?;
        let mark = snapshot.join(APPLYING);
        fs_err::File::create(&mark).map_err(|error| Error::io("apply", error))?;
        Ok((Self { mark }, changeset))
    }

    /// The layer is whole.
    pub fn finish(self) -> Result<()> {
        fs_err::remove_file(&self.mark).map_err(|error| Error::io("apply", error))
    }
}

/// [`ErrorKind::InvalidState`] for a snapshot in which an apply failed or was killed.
pub fn refuse_half_applied(snapshot: &Path, operation: &'static str) -> Result<()> {
    match rustix::fs::access(snapshot.join(APPLYING), rustix::fs::Access::EXISTS) {
        Err(Errno::NOENT) => Ok(()),
        Ok(()) => Err(Error::new(ErrorKind::InvalidState, operation)
            .because("an apply to this snapshot failed or was killed, so it holds half a layer")
            .hint("remove the snapshot, prepare it again and apply again")),
        Err(errno) => Err(Error::io(operation, errno.into())),
    }
}
