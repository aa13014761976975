//! The step that failed, and the one way into the contract's error.

use crate::union::UnionError;
use std::path::PathBuf;
use strata_driver::{Error, ErrorKind};

#[derive(Debug, thiserror::Error)]
pub(crate) enum AufsError {
    #[error("cannot make `{}`", path.display())]
    MakeDirectory {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot give `{}` the attributes of its parent layer", path.display())]
    CopyAttributes {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot flush `{}`", path.display())]
    Flush {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot clear `{}`", path.display())]
    Clear {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot open `{}`", path.display())]
    Open {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl From<AufsError> for Error {
    fn from(error: AufsError) -> Self {
        let source = match &error {
            AufsError::MakeDirectory { source, .. }
            | AufsError::CopyAttributes { source, .. }
            | AufsError::Flush { source, .. }
            | AufsError::Clear { source, .. }
            | AufsError::Open { source, .. } => source,
        };
        // What is missing below the root is damage, not a snapshot that the caller may look for.
        let kind = match Error::io("aufs", clone_errno(source)).kind() {
            ErrorKind::NotFound => ErrorKind::Corrupt,
            kind => kind,
        };
        Error::new(kind, "aufs")
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

impl From<UnionError> for Error {
    fn from(error: UnionError) -> Self {
        let told = match &error {
            UnionError::NoBranch => Error::new(ErrorKind::InvalidInput, "mount"),
            UnionError::Branch { errno, .. } => Error::io("mount", (*errno).into()),
            UnionError::Kernel(cause) if cause.is_unsupported() => {
                Error::new(ErrorKind::Unavailable, "mount")
            }
            UnionError::Kernel(cause) => match cause.errno() {
                Some(errno) => Error::io("mount", errno.into()),
                None => Error::new(ErrorKind::Other, "mount"),
            },
            UnionError::Taken(cause) => Error::new(ErrorKind::Other, "mount")
                .because(format!("the mount cannot be attached: {cause}")),
        };
        match &error {
            UnionError::Taken(_) => told.caused_by(error),
            _ => told.because(error.to_string()).caused_by(error),
        }
    }
}
