//! One script of edits on every driver over every file system: the same changesets.

use strata_harness::cross::same_diffs;
use strata_harness::fixture::FileSystemKind;
use strata_harness::seed::Seed;

#[test]
fn same_edits_give_the_same_changesets_everywhere() -> anyhow::Result<()> {
    let kinds = [
        FileSystemKind::Ext4,
        FileSystemKind::Xfs,
        FileSystemKind::Btrfs,
    ];
    let report = same_diffs(strata_drivers::registry().factories(), &kinds, Seed(1))?;
    eprint!("{}", report.render());
    Ok(())
}
