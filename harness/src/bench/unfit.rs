//! The error of an environment that cannot be measured in.

use std::fmt;

/// The environment is unfit for measuring: exit code 3. Says what is wrong and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit(String);

impl Unfit {
    /// What is wrong, and the way out.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this environment is unfit for measuring: {}", self.0)
    }
}

impl std::error::Error for Unfit {}
