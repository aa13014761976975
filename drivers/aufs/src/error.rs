//! The step that failed, and the one way into the contract's error.

use crate::union::UnionError;
use strata_driver::{Error, ErrorKind};

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
