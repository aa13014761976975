//! The step that failed, and the one way into the contract's error.

use std::path::PathBuf;
use strata_driver::{Error, ErrorKind};

#[derive(Debug, thiserror::Error)]
pub(crate) enum OverlayError {
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

impl From<OverlayError> for Error {
    fn from(error: OverlayError) -> Self {
        let source = match &error {
            OverlayError::MakeDirectory { source, .. }
            | OverlayError::CopyAttributes { source, .. }
            | OverlayError::Flush { source, .. }
            | OverlayError::Clear { source, .. }
            | OverlayError::Open { source, .. } => source,
        };
        // What is missing below the root is damage, not a snapshot that the caller may look for.
        let kind = match Error::io("overlay", clone_errno(source)).kind() {
            ErrorKind::NotFound => ErrorKind::Corrupt,
            kind => kind,
        };
        Error::new(kind, "overlay")
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
