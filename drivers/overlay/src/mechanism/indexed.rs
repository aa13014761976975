//! What the kernel's index keeps together, and no layer does.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use strata_driver::{Error, ErrorKind, Result};

/// Refuses a snapshot in which a name of a lower file with several was written under `index=on`.
///
/// All names show what was written, since the index in the work directory says that they are one.
/// The upper directory has only those that were written themselves, and a layer of it would part
/// them (overlayfs.rst, "Inode properties", "Index").
pub(super) fn refuse_groups(work: &Path, operation: &'static str) -> Result<()> {
    let entries = match fs_err::read_dir(work.join("index")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(operation, error)),
    };
    for entry in entries {
        let facts = entry
            .and_then(|entry| fs_err::symlink_metadata(entry.path()))
            .map_err(|error| Error::io(operation, error))?;
        let is_whiteout = facts.file_type().is_char_device() && facts.rdev() == 0;
        if !facts.is_dir() && !is_whiteout {
            return Err(Error::new(ErrorKind::InvalidState, operation)
                .because(
                    "a hard link of a lower layer was written under index=on, and a layer would \
                     part its names",
                )
                .hint("replace all its names by new files, or make the root with index=off"));
        }
    }
    Ok(())
}
