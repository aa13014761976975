//! The table of quirks in `docs/semantics.md` against what is observed here.

use anyhow::Context as _;
use strata_harness::fixture::FileSystemKind;
use strata_harness::matrix::Matrix;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/semantics.md");
const START: &str = "<!-- observed: `cargo xtask docs` writes this table -->\n";
const END: &str = "<!-- end of what was observed -->\n";
/// Set by `cargo xtask docs`: the table is written, not compared.
const WRITE: &str = "STRATA_WRITE_DOCS";

#[test]
fn the_table_of_quirks_is_what_is_observed() -> anyhow::Result<()> {
    let kinds = [
        FileSystemKind::Ext4,
        FileSystemKind::Xfs,
        FileSystemKind::Btrfs,
    ];
    let mut matrix = Matrix::observe(strata_drivers::registry().factories(), &kinds)?;
    for (column, reason) in &matrix.skipped {
        eprintln!("skipped: {column}: {reason}");
    }
    let document = fs_err::read_to_string(DOCUMENT)?;
    let (before, rest) = document
        .split_once(START)
        .context("the table's start is missing")?;
    let (table, after) = rest.split_once(END).context("the table's end is missing")?;
    matrix.fill_from(table);
    let observed = matrix.render();
    if std::env::var_os(WRITE).is_some() {
        fs_err::write(DOCUMENT, [before, START, &observed, END, after].concat())?;
        return Ok(());
    }
    anyhow::ensure!(
        observed == table,
        "`docs/semantics.md` says otherwise; `cargo xtask docs` writes what is observed:\n{observed}"
    );
    Ok(())
}
