//! Errors of an apply: what the kernel said, what the codec said, and which entry it was about.

use crate::changeset::CodecError;
use crate::error::{Error, ErrorKind, Result};
use rustix::io::Errno;

/// The operation that all errors of this module name.
pub(super) const OPERATION: &str = "apply";

/// Says which step the kernel refused.
pub(super) trait Step<T> {
    fn step(self, step: &'static str) -> Result<T>;
}

impl<T> Step<T> for rustix::io::Result<T> {
    fn step(self, step: &'static str) -> Result<T> {
        self.map_err(|errno| kernel(step, errno))
    }
}

/// An error of the kernel, in the kinds that an apply promises.
pub(super) fn kernel(step: &'static str, errno: Errno) -> Error {
    let kind = match errno {
        Errno::NOSPC | Errno::DQUOT => ErrorKind::NoSpace,
        Errno::PERM | Errno::ACCESS => ErrorKind::PermissionDenied,
        Errno::NAMETOOLONG => ErrorKind::InvalidInput,
        _ => ErrorKind::Other,
    };
    let error = Error::new(kind, OPERATION)
        .because(step)
        .caused_by(std::io::Error::from(errno));
    if kind == ErrorKind::PermissionDenied && !rustix::process::geteuid().is_root() {
        return error.hint(
            "owners, devices and trusted attributes need root, or a user namespace that maps them",
        );
    }
    error
}

/// A changeset that is refused.
pub(super) fn refused(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, OPERATION).because(reason)
}

/// A changeset that the codec cannot read or does not let pass.
pub(super) fn codec(error: CodecError) -> Error {
    refused("the changeset is malformed or not allowed")
        .with("entry", &error.subject)
        .with("offset", error.offset)
        .caused_by(error)
}
