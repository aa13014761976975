//! Native diff: the upper directory says what changed.

use crate::mechanism::{Mechanism, OPAQUE, RESERVED, WHITEOUT, open_directory};
use std::ffi::CString;
use std::os::fd::AsFd as _;
use strata_driver::catalog::SnapshotId;
use strata_driver::diff::{
    CompareOptions, Comparison, Mark, Marks, Outcome, Upper, UpperEntry, compare,
};
use strata_driver::mount::Detached;
use strata_driver::{Error, ErrorKind, Result, SnapshotName};

/// Reads aufs's marks: `.wh.NAME` beside the name that it hides, `.wh..wh..opq` in an opaque
/// directory; what else begins with `.wh..wh.` is a record of the union's own.
#[derive(Clone, Copy, Debug)]
struct Whiteouts;

impl Marks for Whiteouts {
    fn classify(&self, entry: &UpperEntry<'_>) -> Result<Mark> {
        if entry.name().starts_with(RESERVED) {
            return Ok(Mark::Hidden);
        }
        if let Some(hidden) = entry.name().strip_prefix(WHITEOUT) {
            let hidden = CString::new(hidden).expect("a part of a name has no NUL");
            return Ok(Mark::WhiteoutOf(hidden));
        }
        if entry.holds(OPAQUE)? {
            return Ok(Mark::OpaqueDirectory);
        }
        Ok(Mark::Plain)
    }
}

/// A comparison, and the mounts that it still reads from.
///
/// The daemon of a mount is waited for when the mount goes, and ends when all files of it are
/// closed: the comparison goes first.
pub(crate) struct Difference {
    pub(crate) comparison: Comparison,
    _mounts: Vec<Detached>,
}

/// The difference between `lower` (nothing, if none) and `upper`.
pub(crate) fn difference(
    mechanism: &Mechanism,
    lower: Option<&SnapshotName>,
    upper: &SnapshotName,
) -> Result<Difference> {
    let layers = |name| mechanism.catalog.layers(&mechanism.catalog.get(name)?);
    let upper_chain = layers(upper)?;
    let lower_chain = match lower {
        Some(lower) => layers(lower)?,
        None => Vec::new(),
    };
    let options = CompareOptions::default();
    let below = match lower {
        Some(lower) if !lower_chain.is_empty() => Some(mechanism.merged(lower, &lower_chain)?),
        _ => None,
    };
    let below_root = below.as_ref().map(strata_driver::mount::Detached::root);

    if let Some((own, rest)) = own_layer(&upper_chain, &lower_chain)
        && rest
        && !mechanism.lacks_names(own)?
    {
        let directory = open_directory(&mechanism.layout.upper(own))?;
        let partial = Upper::Partial {
            root: directory.as_fd(),
            marks: &Whiteouts,
        };
        match compare(below_root, partial, &options, &mechanism.counters)? {
            Outcome::Compared(comparison) => {
                return Ok(Difference {
                    comparison,
                    _mounts: below.into_iter().collect(),
                });
            }
            Outcome::NeedsWholeTrees => {}
        }
    }
    let above = mechanism.merged(upper, &upper_chain)?;
    match compare(
        below_root,
        Upper::Whole(above.root()),
        &options,
        &mechanism.counters,
    )? {
        Outcome::Compared(comparison) => Ok(Difference {
            comparison,
            _mounts: below.into_iter().chain([above]).collect(),
        }),
        Outcome::NeedsWholeTrees => Err(Error::new(ErrorKind::Other, "diff")
            .because("whole trees were compared and still more was asked for")),
    }
}

/// The one layer by which `upper` differs from `lower`, and whether `lower` is all the rest.
fn own_layer(upper: &[SnapshotId], lower: &[SnapshotId]) -> Option<(SnapshotId, bool)> {
    upper.split_first().map(|(own, rest)| (*own, rest == lower))
}
