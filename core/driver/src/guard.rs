//! Keeping others out while a snapshot is committed, removed or written to.

use crate::catalog::{Catalog, Row};
use crate::error::{Error, ErrorKind, Result};
use crate::mount::hold;
use std::path::{Path, PathBuf};
use strata_sys::lock::FileLock;

/// Takes the snapshot's hold path for `operation`; keep the lock until that is over.
///
/// Mounted here, in another process or in another mount namespace is
/// [`ErrorKind::InUse`]: whoever mounts by [`mount`](crate::mount) holds a shared lock, and
/// mounts that outlive their process are recorded. A mount made by other means is not seen;
/// drivers whose committed layers such a mount could change declare
/// [`Quirk::LateWriterPossible`](crate::Quirk::LateWriterPossible).
pub fn exclusive(
    catalog: &Catalog,
    row: &Row,
    hold_path: &Path,
    operation: &'static str,
) -> Result<FileLock> {
    let in_use = |where_to: Option<&Path>| {
        let error = Error::new(ErrorKind::InUse, operation).because("the snapshot is mounted");
        match where_to {
            Some(target) => error
                .with("mounted_on", target.display())
                .hint("unmount it first: `strata snapshot unmount TARGET`"),
            None => error.hint("unmount it first"),
        }
    };
    let Some(lock) = hold::try_exclusive(hold_path)? else {
        return Err(in_use(None));
    };
    match catalog.is_mounted(row.id)? {
        Some(mount) => Err(in_use(Some(&mount.target))),
        None => Ok(lock),
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
    pub fn begin(snapshot: &Path) -> Result<Self> {
        refuse_half_applied(snapshot, "apply")?;
        let mark = snapshot.join(APPLYING);
        fs_err::File::create(&mark).map_err(|error| Error::io("apply", error))?;
        Ok(Self { mark })
    }

    /// The layer is whole.
    pub fn finish(self) -> Result<()> {
        fs_err::remove_file(&self.mark).map_err(|error| Error::io("apply", error))
    }
}

/// [`ErrorKind::InvalidState`] for a snapshot in which an apply failed or was killed.
pub fn refuse_half_applied(snapshot: &Path, operation: &'static str) -> Result<()> {
    match rustix::fs::access(snapshot.join(APPLYING), rustix::fs::Access::EXISTS) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Ok(()) => Err(Error::new(ErrorKind::InvalidState, operation)
            .because("an apply to this snapshot failed or was killed, so it holds half a layer")
            .hint("remove the snapshot, prepare it again and apply again")),
        Err(errno) => Err(Error::io(operation, errno.into())),
    }
}
