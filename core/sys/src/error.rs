//! The one error of this crate: which call failed, on what, and what the kernel said.

use std::fmt::Display;
use std::io;

use rustix::io::Errno;

/// The result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, SysError>;

/// A kernel call that failed.
///
/// `Display` tells the call, its object and the kernel's own text; the errno is the source.
#[derive(Debug, thiserror::Error)]
#[error("{step} on `{subject}` failed{}", kernel_text(self.kernel.as_deref()))]
pub struct SysError {
    /// The call, as in the manual: `move_mount`, `ioctl(LOOP_CONFIGURE)`.
    pub step: &'static str,
    /// What it was about: a path, a device, `key=value`.
    pub subject: String,
    /// The kernel's own explanation, from the message log of the mount context, or else from the
    /// kernel's log where the caller may read that.
    pub kernel: Option<String>,
    /// The errno, or why the call was not even made.
    #[source]
    pub source: io::Error,
}

fn kernel_text(kernel: Option<&str>) -> String {
    kernel
        .map(|text| format!(" (kernel: {text})"))
        .unwrap_or_default()
}

impl SysError {
    /// An error of `step` about `subject`.
    pub fn new(step: &'static str, source: impl Into<io::Error>, subject: impl Display) -> Self {
        Self {
            step,
            subject: subject.to_string(),
            kernel: None,
            source: source.into(),
        }
    }

    /// A call that was not made, since `reason` makes its failure certain.
    pub(crate) fn refused(step: &'static str, subject: impl Display, reason: String) -> Self {
        Self::new(
            step,
            io::Error::new(io::ErrorKind::InvalidInput, reason),
            subject,
        )
    }

    /// A call that this kernel is too old for.
    pub(crate) fn unsupported(step: &'static str, subject: impl Display, since: &str) -> Self {
        let reason = format!("this kernel lacks it (since Linux {since})");
        Self::new(
            step,
            io::Error::new(io::ErrorKind::Unsupported, reason),
            subject,
        )
    }

    pub(crate) fn with_kernel(mut self, kernel: Option<String>) -> Self {
        self.kernel = kernel;
        self
    }

    /// The errno; `None` where the call was not made.
    pub fn errno(&self) -> Option<Errno> {
        Errno::from_io_error(&self.source)
    }

    /// Whether the call failed with `errno`.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno() == Some(errno)
    }

    /// Whether this kernel, or the file system in question, lacks the call: `ENOSYS`,
    /// `EOPNOTSUPP`, `ENOTTY`, or refused here for want of a kernel feature.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOTTY)
        ) || self.source.kind() == io::ErrorKind::Unsupported
    }
}

/// Adds the call and its object to an errno; the object is formatted on failure only.
pub(crate) trait Context<T> {
    fn on<D: Display>(self, step: &'static str, subject: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn on<D: Display>(self, step: &'static str, subject: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| SysError::new(step, error, subject()))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn display_names_call_object_and_kernel_text_but_not_the_source() {
        let error = SysError::new("fsconfig", Errno::INVAL, "lowerdir=/a")
            .with_kernel(Some("overlay: no".to_owned()));
        assert_eq!(
            error.to_string(),
            "fsconfig on `lowerdir=/a` failed (kernel: overlay: no)"
        );
        assert!(error.source().is_some());
        assert!(error.is(Errno::INVAL));
        assert!(!error.is_unsupported());
    }

    #[test]
    fn unsupported_covers_errno_and_refusal() {
        assert!(SysError::new("statmount", Errno::NOSYS, 1).is_unsupported());
        assert!(SysError::unsupported("statx", 1, "6.8").is_unsupported());
        assert_eq!(SysError::unsupported("statx", 1, "6.8").errno(), None);
    }
}
