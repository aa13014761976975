//! Keeping others out while a snapshot is committed, removed or written to.

use crate::catalog::{Catalog, Row};
use crate::error::{Error, ErrorKind, Result};
use crate::mount::hold;
use std::path::Path;
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
