//! The ways a run ends that are no crash, and the exit code of each.

use std::fmt;
use std::process::ExitCode;

/// A known end of the run. Travels inside an [`anyhow::Error`] up to `main`.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The command line makes no sense: exit code 2.
    Usage(String),
    /// This host or this user cannot do what was asked: exit code 3.
    Impossible(String),
    /// Something was checked and is wrong, and the report is already printed: exit code 1.
    Reported,
    /// A command that this one runs on behalf of ended with this exit code, and said why.
    Code(u8),
}

impl Stop {
    /// What is still to be said, if anything.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::Usage(message) | Self::Impossible(message) => Some(format!("error: {message}")),
            Self::Reported | Self::Code(_) => None,
        }
    }

    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Impossible(_) => ExitCode::from(3),
            Self::Reported => ExitCode::FAILURE,
            Self::Code(code) => ExitCode::from(*code),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Impossible(message) => formatter.write_str(message),
            Self::Code(code) => write!(formatter, "exit code {code}"),
            Self::Reported => formatter.write_str("some checks did not pass"),
        }
    }
}

impl std::error::Error for Stop {}
