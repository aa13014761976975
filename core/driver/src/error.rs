//! The one error of the contract: kind, operation, context, reason, hint and source.

use std::fmt;

/// What every fallible call of the contract returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error that may stand behind an [`Error`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What a caller can act on. If no caller branches on it, it is not a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No snapshot of that name.
    NotFound,
    /// The key or name is taken.
    AlreadyExists,
    /// Mounted, or it has children.
    InUse,
    /// The snapshot's kind does not allow this operation.
    InvalidState,
    /// The caller's value is refused: a name, an option, a changeset.
    InvalidInput,
    /// This driver cannot do this, on any host.
    Unsupported,
    /// This host lacks something that the driver needs; the hint says what.
    Unavailable,
    /// The file system or the quota is full.
    NoSpace,
    /// The kernel refused for lack of privilege.
    PermissionDenied,
    /// What is on disk contradicts itself.
    Corrupt,
    /// Somebody else is at it; trying again may work. The only retryable kind.
    Busy,
    /// Anything else.
    Other,
}

impl ErrorKind {
    const ALL: [Self; 12] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::InUse,
        Self::InvalidState,
        Self::InvalidInput,
        Self::Unsupported,
        Self::Unavailable,
        Self::NoSpace,
        Self::PermissionDenied,
        Self::Corrupt,
        Self::Busy,
        Self::Other,
    ];

    /// The kind that another process told by its [phrase](Self::phrase).
    pub(crate) fn of_phrase(phrase: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.phrase() == phrase)
    }

    /// What it is called in messages.
    pub(crate) fn phrase(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::InUse => "in use",
            Self::InvalidState => "wrong state",
            Self::InvalidInput => "refused",
            Self::Unsupported => "not supported by this driver",
            Self::Unavailable => "not available on this host",
            Self::NoSpace => "no space left",
            Self::PermissionDenied => "permission denied",
            Self::Corrupt => "corrupt",
            Self::Busy => "busy",
            Self::Other => "failed",
        }
    }
}

/// An error of a driver: one word wide, so that `Result<()>` stays small.
///
/// `Display` is one line and never prints the source; whoever shows it prints the chain
/// (see [`Error::chain`]).
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    context: Vec<(&'static str, String)>,
    reason: Option<String>,
    hint: Option<String>,
    source: Option<BoxError>,
    rollback: Option<Error>,
}

impl Error {
    /// An error of `kind` met in `operation`.
    pub fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self(Box::new(Inner {
            kind,
            operation,
            context: Vec::new(),
            reason: None,
            hint: None,
            source: None,
            rollback: None,
        }))
    }

    /// An error whose kind follows from the errno of `source`.
    pub fn io(operation: &'static str, source: std::io::Error) -> Self {
        Self::new(kind_of(&source), operation).caused_by(source)
    }

    /// Adds a value that tells which object this is about.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        if !self.0.context.iter().any(|(known, _)| *known == key) {
            self.0.context.push((key, value.to_string()));
        }
        self
    }

    /// Leaves out a value that means nothing to whoever is told.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.0.context.retain(|(known, _)| *known != key);
        self
    }

    /// Says why in words.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// Says the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the error below.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Names the operation of the contract in which a lower-level error surfaced.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        self.0.operation = operation;
        self
    }

    /// Keeps the failure of the clean-up beside the failure that made it necessary.
    #[must_use]
    pub fn with_rollback(mut self, rollback: Error) -> Self {
        self.0.rollback = Some(rollback);
        self
    }

    /// What a caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The way out, if it is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The context value under `key`.
    pub fn context(&self, key: &str) -> Option<&str> {
        self.0
            .context
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, value)| value.as_str())
    }

    /// The error and everything below it on one line, for logs and the command line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut below = std::error::Error::source(self);
        while let Some(error) = below {
            let line = error.to_string();
            if !text.ends_with(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            below = error.source();
        }
        if let Some(rollback) = &self.0.rollback {
            text.push_str("; and the clean-up failed: ");
            text.push_str(&rollback.chain());
        }
        text
    }

    /// An error for work that panicked or was cancelled with its runtime.
    pub(crate) fn from_join(join: tokio::task::JoinError) -> Self {
        Self::new(ErrorKind::Other, "driver work")
            .because("the work was torn down")
            .caused_by(join)
    }
}

/// A failed kernel call is its own operation until [`Error::during`] names the caller's.
impl From<strata_sys::SysError> for Error {
    fn from(error: strata_sys::SysError) -> Self {
        let kind = if error.is_unsupported() {
            ErrorKind::Unavailable
        } else if error.errno().is_none() && error.source.kind() == std::io::ErrorKind::InvalidInput
        {
            ErrorKind::InvalidInput
        } else {
            kind_of(&error.source)
        };
        Self::new(kind, error.step).caused_by(error)
    }
}

/// The kind that an errno means to a caller. By the kind of the standard library and not by the
/// number, which an error loses when `fs_err` adds the path.
fn kind_of(error: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::NoSpace,
        Io::PermissionDenied => ErrorKind::PermissionDenied,
        Io::ResourceBusy | Io::ExecutableFileBusy => ErrorKind::Busy,
        Io::NotFound => ErrorKind::NotFound,
        Io::AlreadyExists => ErrorKind::AlreadyExists,
        Io::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.operation, self.0.kind.phrase())?;
        if let Some(reason) = &self.0.reason {
            write!(f, ": {reason}")?;
        }
        for (index, (key, value)) in self.0.context.iter().enumerate() {
            f.write_str(if index == 0 { " (" } else { ", " })?;
            write!(f, "{key}=`{value}`")?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain())?;
        match &self.0.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_operation_kind_and_context_but_not_source() {
        let error = Error::new(ErrorKind::AlreadyExists, "prepare")
            .with("key", "build-7")
            .caused_by(std::io::Error::other("deep"));
        assert_eq!(error.to_string(), "prepare: already exists (key=`build-7`)");
        assert_eq!(
            error.chain(),
            "prepare: already exists (key=`build-7`): deep"
        );
    }

    #[test]
    fn io_errno_decides_the_kind() {
        let full = std::io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        assert_eq!(Error::io("apply", full).kind(), ErrorKind::NoSpace);
    }

    #[test]
    fn kind_is_found_below_a_path() {
        let error = fs_err::read("/no/such/file").unwrap_err();
        assert_eq!(Error::io("read", error).kind(), ErrorKind::NotFound);
    }

    #[test]
    fn error_is_one_word() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }
}
