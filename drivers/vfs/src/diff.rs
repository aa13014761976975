//! The shared naive diff of two whole trees, helped by the copy's record where there is one.

use crate::mechanism::{Mechanism, open_directory};
use std::os::fd::AsFd as _;
use strata_driver::diff::{CompareOptions, Comparison, Outcome, Upper, compare};
use strata_driver::{Error, ErrorKind, Result, SnapshotKind, SnapshotName};

/// The difference between `lower` (nothing, if none) and `upper`.
pub(crate) fn difference(
    mechanism: &Mechanism,
    lower: Option<&SnapshotName>,
    upper: &SnapshotName,
) -> Result<Comparison> {
    let upper_row = mechanism.catalog.get(upper)?;
    let lower_row = lower
        .map(|lower| mechanism.catalog.get(lower))
        .transpose()?;
    let above = open_directory(&mechanism.tree_of(&upper_row))?;
    let below = match &lower_row {
        Some(row) => Some(open_directory(&mechanism.tree_of(row))?),
        None => None,
    };
    let copied_from_lower = upper_row.kind != SnapshotKind::View
        && lower_row.as_ref().is_some_and(|lower| {
            lower.kind == SnapshotKind::Committed && upper_row.parent == Some(lower.id)
        });
    let record = if copied_from_lower {
        mechanism.load_record(upper_row.id)
    } else {
        None
    };
    let options = match &record {
        Some(record) => CompareOptions::default().with_record(record),
        None => CompareOptions::default(),
    };
    let below = below.as_ref().map(|directory| directory.as_fd());
    match compare(
        below,
        Upper::Whole(above.as_fd()),
        &options,
        &mechanism.counters,
    )? {
        Outcome::Compared(comparison) => Ok(comparison),
        Outcome::NeedsWholeTrees => Err(Error::new(ErrorKind::Other, "diff")
            .because("whole trees were compared and still more was asked for")),
    }
}
