//! The difference of two snapshots: looked at where the kernel's send stream says, else the shared
//! naive diff of two whole trees.

mod names;
mod native;
mod stream;

pub use native::changed_names;

use crate::mechanism::{Mechanism, Moment, open_directory, refuse_nested};
use std::io::Write;
use std::os::fd::AsFd as _;
use strata_driver::catalog::Row;
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
    let row = |name: &SnapshotName| mechanism.catalog.get(name);
    let (lower, upper) = (lower.map(row).transpose()?, row(upper)?);
    let mut moments = Vec::new();
    let mut open = |row: &Row| {
        let path = mechanism.tree_of(row);
        if row.kind != SnapshotKind::Active {
            return open_directory(&path);
        }
        refuse_nested(&path, "diff")?;
        let moment = Moment::of(&mechanism.layout, &path)?;
        let directory = open_directory(&moment.path());
        moments.push(moment);
        directory
    };
    let below = lower.as_ref().map(&mut open).transpose()?;
    let above = open(&upper)?;
    let compare = |upper: Upper<'_>| {
        let below = below.as_ref().map(|directory| directory.as_fd());
        compare(
            below,
            upper,
            &CompareOptions::default(),
            &mechanism.counters,
        )
    };
    let done = |comparison| Difference {
        comparison,
        _moments: moments,
    };

    if let (Some(below), Some(lower)) = (&below, &lower)
        && descends(mechanism, &upper, lower)?
        && let Some(names) = changed_names(below.as_fd(), above.as_fd())?
    {
        let root = above.as_fd();
        match compare(Upper::Named {
            root,
            names: &names,
        })? {
            Outcome::Compared(comparison) => return Ok(done(comparison)),
            Outcome::NeedsWholeTrees => {}
        }
    }
    match compare(Upper::Whole(above.as_fd()))? {
        Outcome::Compared(comparison) => Ok(done(comparison)),
        Outcome::NeedsWholeTrees => Err(Error::new(ErrorKind::Other, "diff")
            .because("whole trees were compared and still more was asked for")),
    }
}

/// Whether the tree of `upper` began as that of `lower`, a committed layer or a view of one.
fn descends(mechanism: &Mechanism, upper: &Row, lower: &Row) -> Result<bool> {
    let chain = mechanism.catalog.layers(upper)?;
    let below = mechanism.catalog.layers(lower)?;
    let mut ancestors = chain.iter().skip(1);
    Ok(lower.kind != SnapshotKind::Active && ancestors.any(|id| below.first() == Some(id)))
}
