//! Native diff: the upper directory says what changed.

use crate::mechanism::{Mechanism, Namespace, open_directory};
use std::ffi::CStr;
use std::os::fd::AsFd as _;
use strata_driver::catalog::SnapshotId;
use strata_driver::diff::{
    CompareOptions, Comparison, Mark, Marks, Outcome, Upper, UpperEntry, compare,
};
use strata_driver::{Error, ErrorKind, Result, SnapshotName};

/// Reads overlay's marks: whiteouts in both forms, opaque directories, and what only a merged
/// view can tell (overlayfs.rst, "whiteouts and opaque directories", "Metadata only copy up").
#[derive(Clone, Copy, Debug)]
struct OverlayMarks(Namespace);

impl OverlayMarks {
    fn key(self, trusted: &'static CStr, user: &'static CStr) -> &'static CStr {
        match self.0 {
            Namespace::Trusted => trusted,
            Namespace::User => user,
        }
    }
}

impl Marks for OverlayMarks {
    fn classify(&self, entry: &UpperEntry<'_>) -> Result<Mark> {
        use rustix::fs::FileType;
        match entry.file_type() {
            FileType::CharacterDevice if entry.device() == (0, 0) => Ok(Mark::Whiteout),
            FileType::Directory => {
                let redirect = self.key(c"trusted.overlay.redirect", c"user.overlay.redirect");
                if entry.xattr(redirect)?.is_some() {
                    return Ok(Mark::Elsewhere);
                }
                // `x` marks a directory that holds whiteouts in attribute form, not an opaque one.
                Ok(match entry.xattr(self.0.opaque())?.as_deref() {
                    Some(b"y") => Mark::OpaqueDirectory,
                    Some(b"x") => Mark::Elsewhere,
                    _ => Mark::Plain,
                })
            }
            _ => Ok(Mark::Plain),
        }
    }
}

/// The difference between `lower` (nothing, if none) and `upper`.
pub(crate) fn difference(
    mechanism: &Mechanism,
    lower: Option<&SnapshotName>,
    upper: &SnapshotName,
) -> Result<Comparison> {
    let layers = |name| mechanism.catalog.layers(&mechanism.catalog.get(name)?);
    let upper_chain = layers(upper)?;
    let lower_chain = match lower {
        Some(lower) => layers(lower)?,
        None => Vec::new(),
    };
    if let Some(own) = upper_chain.first() {
        mechanism.refuse_groups(*own, "diff")?;
    }
    let options = CompareOptions::default();
    let below = match lower {
        Some(lower) if !lower_chain.is_empty() => Some(mechanism.merged(lower, &lower_chain)?),
        _ => None,
    };
    let below_root = below.as_ref().map(strata_driver::mount::Detached::root);

    if let Some((own, rest)) = own_layer(&upper_chain, &lower_chain)
        && mechanism.config.hides_changes().is_none()
        && rest
    {
        let directory = open_directory(&mechanism.layout.upper(own))?;
        let marks = OverlayMarks(mechanism.namespace);
        let partial = Upper::Partial {
            root: directory.as_fd(),
            marks: &marks,
        };
        match compare(below_root, partial, &options, &mechanism.counters)? {
            Outcome::Compared(comparison) => return Ok(comparison),
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
        Outcome::Compared(comparison) => Ok(comparison),
        Outcome::NeedsWholeTrees => Err(Error::new(ErrorKind::Other, "diff")
            .because("whole trees were compared and still more was asked for")),
    }
}

/// The one layer by which `upper` differs from `lower`, and whether `lower` is all the rest.
fn own_layer(upper: &[SnapshotId], lower: &[SnapshotId]) -> Option<(SnapshotId, bool)> {
    upper.split_first().map(|(own, rest)| (*own, rest == lower))
}
