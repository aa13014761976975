//! Which operation of a workload meets a quirk, found out in a plain directory.

use super::run::{open, run_operation};
use super::{Operation, UserWorkload};
use anyhow::{Context as _, Result};
use rustix::fs::OFlags;
use std::collections::HashSet;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use strata_driver::{Capabilities, Quirk};

/// Runs `workload` in the plain directory `place`, layer upon layer.
///
/// Ends early before the first operation that a quirk which is declared may bend, and says which.
pub(super) fn run_plainly(
    workload: &UserWorkload,
    place: &Path,
    seed: u64,
    capabilities: &Capabilities,
) -> Result<Option<String>> {
    let root = fs_err::File::open(place)?;
    let root = root.file().as_fd();
    for (number, layer) in workload.layers.iter().enumerate() {
        let mut below = Below::read(place, capabilities)?;
        for (index, operation) in layer.ops.iter().enumerate() {
            if let Some(quirk) = below.meets(operation, root) {
                return Ok(Some(format!(
                    "layer {number}, operation {index}, {operation}, meets the declared quirk {}",
                    quirk.as_str()
                )));
            }
            run_operation(layer, index, root, seed).with_context(|| format!("layer {number}"))?;
            if matches!(
                operation,
                Operation::Remove { .. } | Operation::Rename { .. }
            ) {
                below.forget_removed(place, capabilities)?;
            }
        }
    }
    Ok(None)
}

/// Inode numbers of what comes from the layers below, as far as a declared quirk is about it.
#[derive(Debug, Default)]
struct Below {
    directories: HashSet<u64>,
    /// Files with more names than one.
    linked: HashSet<u64>,
}

impl Below {
    fn read(place: &Path, capabilities: &Capabilities) -> Result<Self> {
        let mut below = Self::default();
        let wants_directories = capabilities.declares(Quirk::DirectoryRenameExdev)
            || capabilities.declares(Quirk::MergedDirectoryRenameExdev);
        let wants_linked = capabilities.declares(Quirk::HardLinkSplits);
        if !wants_directories && !wants_linked {
            return Ok(below);
        }
        let mut unread = vec![place.to_owned()];
        while let Some(directory) = unread.pop() {
            for entry in fs_err::read_dir(directory)? {
                let entry = entry?;
                let facts = entry.metadata()?;
                if facts.is_dir() {
                    below
                        .directories
                        .extend(wants_directories.then_some(facts.ino()));
                    unread.push(entry.path());
                } else if facts.nlink() > 1 {
                    below.linked.extend(wants_linked.then_some(facts.ino()));
                }
            }
        }
        Ok(below)
    }

    /// Inode numbers are given again; what is gone now is not what has its number later.
    fn forget_removed(&mut self, place: &Path, capabilities: &Capabilities) -> Result<()> {
        if self.directories.is_empty() && self.linked.is_empty() {
            return Ok(());
        }
        let present = Self::read(place, capabilities)?;
        self.directories
            .retain(|inode| present.directories.contains(inode));
        self.linked.retain(|inode| present.linked.contains(inode));
        Ok(())
    }

    fn meets(&self, operation: &Operation, root: BorrowedFd<'_>) -> Option<Quirk> {
        let inode = |path: &str, flags: OFlags| {
            let file = open(root, path, OFlags::PATH | flags).ok()?;
            rustix::fs::fstat(file).ok().map(|stat| stat.st_ino)
        };
        let (followed, itself) = (OFlags::empty(), OFlags::NOFOLLOW);
        let touched: Vec<u64> = match operation {
            Operation::Mkdir { .. } | Operation::Remove { .. } | Operation::Symlink { .. } => {
                return None;
            }
            _ if self.directories.is_empty() && self.linked.is_empty() => return None,
            Operation::Fill { path, count, .. } => (0..*count)
                .filter_map(|number| inode(&format!("{path}/{number}"), followed))
                .collect(),
            Operation::Rename { from: path, .. }
            | Operation::Link { from: path, .. }
            | Operation::Chown { path, .. } => inode(path, itself).into_iter().collect(),
            Operation::Write { path, .. }
            | Operation::Append { path, .. }
            | Operation::Patch { path, .. }
            | Operation::Truncate { path, .. }
            | Operation::Chmod { path, .. }
            | Operation::Xattr { path, .. } => inode(path, followed).into_iter().collect(),
        };
        let is_rename = matches!(operation, Operation::Rename { .. });
        if is_rename && touched.iter().any(|inode| self.directories.contains(inode)) {
            return Some(Quirk::DirectoryRenameExdev);
        }
        let splits = touched.iter().any(|inode| self.linked.contains(inode));
        splits.then_some(Quirk::HardLinkSplits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a workload with these layers on a driver with both quirks.
    fn met(layers: &str) -> Option<String> {
        let text = format!("name: w\nlayers:\n{layers}");
        let workload: UserWorkload = serde_yaml::from_str(&text).unwrap();
        let place = tempfile::tempdir().unwrap();
        let mut capabilities = Capabilities::default();
        assert_eq!(
            run_plainly(&workload, place.path(), 1, &capabilities).unwrap(),
            None,
            "without quirks nothing meets one"
        );
        let place = tempfile::tempdir().unwrap();
        capabilities
            .quirks
            .extend([Quirk::DirectoryRenameExdev, Quirk::HardLinkSplits]);
        run_plainly(&workload, place.path(), 1, &capabilities).unwrap()
    }

    const BASE: &str = "- ops: [{mkdir: {path: d}}, {write: {path: d/a, size: 3}}, \
                        {link: {from: d/a, to: b}}, {symlink: {path: s, target: d}}, \
                        {write: {path: c, size: 1}}]\n";

    fn met_on_base(operations: &str) -> Option<String> {
        met(&format!("{BASE}- ops: [{operations}]\n"))
    }

    #[test]
    fn lower_directories_and_link_groups_meet_their_quirks() {
        let rename = met_on_base("{write: {path: c, size: 2}}, {rename: {from: d, to: e}}");
        assert_eq!(
            rename.unwrap(),
            "layer 1, operation 1, {\"rename\":{\"from\":\"d\",\"to\":\"e\"}}, meets the declared \
             quirk directory_rename_exdev"
        );
        for operation in [
            "{append: {path: s/a, size: 1}}",
            "{fill: {path: new, count: 1, size: 1}}, {chmod: {path: b, mode: '0600'}}",
            "{rename: {from: b, to: x}}",
            "{link: {from: b, to: x}}",
        ] {
            let met = met_on_base(operation);
            assert!(
                met.is_some_and(|met| met.ends_with("hard_link_splits")),
                "{operation}"
            );
        }
    }

    #[test]
    fn what_is_of_the_same_layer_meets_none() {
        for operations in [
            "{mkdir: {path: new}}, {rename: {from: new, to: newer}}",
            "{remove: {path: d}}, {mkdir: {path: d}}, {rename: {from: d, to: e}}",
            "{rename: {from: c, to: e}}, {rename: {from: s, to: t}}",
            "{remove: {path: b}}, {write: {path: b, size: 1}}, {link: {from: b, to: x}}, \
             {append: {path: x, size: 1}}",
        ] {
            assert_eq!(met_on_base(operations), None, "{operations}");
        }
    }
}
