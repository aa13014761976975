//! The cases, one line each, sorted by name.

use crate::case::Case;
use crate::conformance::ChildOrder;
use crate::context::Context;
use anyhow::Result;
use std::sync::Arc;
use strata_driver::DriverFactory;

/// All cases.
pub const ALL: &[Case] = &[];

pub(crate) fn demand_full_walk(_context: &mut Context) -> Result<()> {
    Ok(())
}
pub(crate) fn demand_own_blocks(_context: &mut Context) -> Result<()> {
    Ok(())
}
pub(crate) fn obey(_factories: &[Arc<dyn DriverFactory>], _order: &ChildOrder) -> Result<()> {
    Ok(())
}
