//! Trying again after failures that pass, later each time.

use crate::{ImageError, Result};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// How often and how patiently a request is repeated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Attempts in all. The first failure after the last one is final.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first_wait: Duration,
    /// The longest wait, also where the registry asks for a longer one.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_mins(1),
        }
    }
}

impl RetryPolicy {
    /// Sets the number of attempts.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Sets the wait after the first failure.
    #[must_use]
    pub fn with_first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    /// Sets the longest wait.
    #[must_use]
    pub fn with_longest_wait(mut self, wait: Duration) -> Self {
        self.longest_wait = wait;
        self
    }

    /// The wait after the failure number `failures`, from 1: what the registry asked for, or
    /// twice the last one with up to a quarter more, so that clients that failed together do not
    /// come back together.
    fn wait(&self, failures: u32, error: &ImageError) -> Duration {
        let wait = error.retry_after().unwrap_or_else(|| {
            let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
            let wait = self.first_wait.saturating_mul(doubled);
            // The standard library's random state is the one source of chance at hand.
            let chance = RandomState::new().hash_one(failures) % 256;
            wait.saturating_add(wait / 1024 * chance as u32)
        });
        wait.min(self.longest_wait)
    }
}

/// A failure after which there will be another attempt.
#[derive(Clone, Copy, Debug)]
pub struct Retry<'a> {
    /// How many attempts have failed.
    pub failures: u32,
    /// How many there are in all.
    pub attempts: u32,
    /// When the next one begins: "Retrying in N seconds".
    pub wait: Duration,
    /// What went wrong.
    pub error: &'a ImageError,
}

/// Told of each retry before its wait.
pub type Notify<'a> = dyn Fn(&Retry<'_>) + Send + Sync + 'a;

/// Counts failures, and waits after each that passes.
#[derive(Debug)]
pub(crate) struct Patience<'a> {
    policy: &'a RetryPolicy,
    failures: u32,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(policy: &'a RetryPolicy) -> Self {
        Self {
            policy,
            failures: 0,
        }
    }

    /// Waits, or gives the error back if it is final or there were enough.
    pub(crate) async fn after(&mut self, error: ImageError, notify: &Notify<'_>) -> Result<()> {
        self.failures += 1;
        if !error.is_transient() || self.failures >= self.policy.attempts {
            return Err(error);
        }
        let wait = self.policy.wait(self.failures, &error);
        tracing::debug!(%error, failures = self.failures, ?wait, "request failed, will be repeated");
        notify(&Retry {
            failures: self.failures,
            attempts: self.policy.attempts,
            wait,
            error: &error,
        });
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Repeats `attempt` while it fails with what passes.
pub async fn retry<T, F: Future<Output = Result<T>>>(
    policy: &RetryPolicy,
    notify: &Notify<'_>,
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let mut patience = Patience::new(policy);
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => patience.after(error, notify).await?,
        }
    }
}
