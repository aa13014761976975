//! The shared naive diff of two whole trees.

use crate::mechanism::{Mechanism, Moment, open_directory};
use std::io::Write;
use std::os::fd::AsFd as _;
use strata_driver::diff::{CompareOptions, Comparison, Outcome, Upper, compare};
use strata_driver::{Change, DiffOptions, Error, ErrorKind, Result, SnapshotKind, SnapshotName};

/// A difference, and what has to stay until it is written.
#[derive(Debug)]
pub(crate) struct Difference {
    comparison: Comparison,
    _moments: Vec<Moment>,
}

impl Difference {
    /// The paths that differ.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.comparison.changes()
    }

    /// Writes the changeset. A method, since a closure would take the comparison alone along.
    pub(crate) fn write(&self, out: &mut dyn Write, options: &DiffOptions) -> Result<()> {
        self.comparison.write(out, options).map(drop)
    }
}

/// The difference between `lower` (nothing, if none) and `upper`. Both are read-only subvolumes,
/// or the empty directory: of an active snapshot one is made for the moment.
pub(crate) fn difference(
    mechanism: &Mechanism,
    lower: Option<&SnapshotName>,
    upper: &SnapshotName,
) -> Result<Difference> {
    let mut moments = Vec::new();
    let mut open = |name: &SnapshotName| {
        let row = mechanism.catalog.get(name)?;
        let path = mechanism.tree_of(&row);
        if row.kind != SnapshotKind::Active {
            return open_directory(&path);
        }
        let moment = Moment::of(&mechanism.layout, &path)?;
        let directory = open_directory(&moment.path());
        moments.push(moment);
        directory
    };
    let below = lower.map(&mut open).transpose()?;
    let above = open(upper)?;
    let outcome = compare(
        below.as_ref().map(|directory| directory.as_fd()),
        Upper::Whole(above.as_fd()),
        &CompareOptions::default(),
        &mechanism.counters,
    )?;
    match outcome {
        Outcome::Compared(comparison) => Ok(Difference {
            comparison,
            _moments: moments,
        }),
        Outcome::NeedsWholeTrees => Err(Error::new(ErrorKind::Other, "diff")
            .because("whole trees were compared and still more was asked for")),
    }
}
