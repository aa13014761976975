//! Killed processes and reopening. Law 10.

pub(super) mod kill;
pub(super) mod reopen;
