//! The step that failed, and the one way into the contract's error.

use btrfsutil::error::LibError;
use std::path::PathBuf;
use strata_driver::{Error, ErrorKind};

#[derive(Debug, thiserror::Error)]
pub(crate) enum BtrfsError {
    #[error("cannot make `{}`", path.display())]
    MakeDirectory {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot make the subvolume `{}`: {said}", path.display())]
    MakeSubvolume {
        path: PathBuf,
        said: LibError,
        source: std::io::Error,
    },
    #[error("cannot remove the subvolume `{}`", path.display())]
    RemoveSubvolume {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot look for subvolumes in `{}`", path.display())]
    Look {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot open `{}`", path.display())]
    Open {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl From<BtrfsError> for Error {
    fn from(error: BtrfsError) -> Self {
        let source = match &error {
            BtrfsError::MakeDirectory { source, .. }
            | BtrfsError::MakeSubvolume { source, .. }
            | BtrfsError::RemoveSubvolume { source, .. }
            | BtrfsError::Look { source, .. }
            | BtrfsError::Open { source, .. } => source,
        };
        // What is missing below the root is damage, not a snapshot that the caller may look for.
        let kind = match Error::io("btrfs", clone_errno(source)).kind() {
            ErrorKind::NotFound => ErrorKind::Corrupt,
            kind => kind,
        };
        Error::new(kind, "btrfs")
            .because(error.to_string())
            .caused_by(error)
    }
}

fn clone_errno(error: &std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => std::io::Error::from(error.kind()),
    }
}
