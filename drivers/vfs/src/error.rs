//! The step that failed, and the one way into the contract's error.

use std::path::PathBuf;
use strata_driver::{Error, ErrorKind};

#[derive(Debug, thiserror::Error)]
pub(crate) enum VfsError {
    #[error("cannot make `{}`", path.display())]
    MakeDirectory {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot flush `{}`", path.display())]
    Flush {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot open `{}`", path.display())]
    Open {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl From<VfsError> for Error {
    fn from(error: VfsError) -> Self {
        let source = match &error {
            VfsError::MakeDirectory { source, .. }
            | VfsError::Flush { source, .. }
            | VfsError::Open { source, .. } => source,
        };
        // What is missing below the root is damage, not a snapshot that the caller may look for.
        let kind = match Error::io("vfs", clone_errno(source)).kind() {
            ErrorKind::NotFound => ErrorKind::Corrupt,
            kind => kind,
        };
        Error::new(kind, "vfs")
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
