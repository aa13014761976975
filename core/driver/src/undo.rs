//! Rollback as a stack.

use crate::error::{Error, Result};

type Step<'a> = Box<dyn FnOnce() -> Result<()> + 'a>;

/// Steps that put things back, run last first unless [disarmed](Undo::disarm).
#[derive(Default)]
pub struct Undo<'a> {
    steps: Vec<Step<'a>>,
}

impl<'a> Undo<'a> {
    /// Nothing to undo yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the step that undoes what was just done.
    pub fn push(&mut self, step: impl FnOnce() -> Result<()> + 'a) {
        self.steps.push(Box::new(step));
    }

    /// Everything went well: forgets the steps.
    pub fn disarm(mut self) {
        self.steps.clear();
    }

    /// Undoes everything now and keeps any failure of that beside `error`.
    pub fn fail(mut self, mut error: Error) -> Error {
        while let Some(step) = self.steps.pop() {
            if let Err(rollback) = step() {
                error = error.with_rollback(rollback);
            }
        }
        error
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some(step) = self.steps.pop() {
            if let Err(error) = step() {
                tracing::warn!(error = %error.chain(), "clean-up failed, something is left behind");
            }
        }
    }
}

impl std::fmt::Debug for Undo<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Undo")
            .field("steps", &self.steps.len())
            .finish()
    }
}
