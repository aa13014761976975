//! Which quirk each driver shows on which file system: observed, never taken from what it claims.

use crate::case::{Check, Verdict};
use crate::cases;
use crate::conformance::Place;
use crate::fixture::FileSystemKind;
use crate::runner;
use crate::seed::Seed;
use crate::stand::Stand;
use anyhow::{Context as _, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strata_driver::{DriverFactory, Quirk};

/// A table's column: a driver on a file system.
type Column = (String, String);

/// What was observed.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    shown: BTreeMap<Column, BTreeMap<Quirk, bool>>,
    /// Columns that could not be observed here, with the reason.
    pub skipped: Vec<(String, String)>,
}

impl Matrix {
    /// Runs the case of each quirk, for each driver on each file system.
    pub fn observe(factories: &[Arc<dyn DriverFactory>], kinds: &[FileSystemKind]) -> Result<Self> {
        let runtime = crate::interrupt::runtime()?;
        let mut matrix = Self::default();
        for factory in factories {
            for kind in kinds {
                let column = (factory.name().to_string(), kind.to_string());
                let asked = (&Place::FileSystem(*kind), &BTreeMap::new(), Seed::default());
                match Stand::take(factory, asked, &runtime)? {
                    Ok(stand) => {
                        let shown = observe(&stand)?;
                        stand.fixture.close()?;
                        matrix.shown.insert(column, shown);
                    }
                    Err(reason) => {
                        matrix
                            .skipped
                            .push((format!("{} on {}", column.0, column.1), reason));
                    }
                }
            }
        }
        Ok(matrix)
    }

    /// The table in Markdown: a line a quirk, a column a driver on a file system.
    pub fn render(&self) -> String {
        let mut lines = Vec::new();
        let heads = self
            .shown
            .keys()
            .map(|(driver, kind)| format!(" {driver} on {kind} |"));
        lines.push(format!("| quirk |{}", heads.collect::<String>()));
        lines.push(format!("|---|{}", "---|".repeat(self.shown.len())));
        for quirk in Quirk::ALL {
            let cells = self.shown.values().map(|shown| match shown.get(quirk) {
                Some(true) => " shows |",
                Some(false) => " - |",
                None => " not observed |",
            });
            lines.push(format!(
                "| `{}` |{}",
                quirk.as_str(),
                cells.collect::<String>()
            ));
        }
        lines.join("\n") + "\n"
    }

    /// Takes over from a table that was rendered what could not be observed here.
    pub fn fill_from(&mut self, table: &str) {
        let cells = |line: &str| -> Vec<String> {
            let inner = line.trim().trim_matches('|');
            inner
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        };
        let observed: BTreeSet<Column> = self.shown.keys().cloned().collect();
        let mut lines = table.lines().filter(|line| line.starts_with('|'));
        let Some(head) = lines.next().map(cells) else {
            return;
        };
        for row in lines.skip(1).map(cells) {
            let quirk = Quirk::ALL
                .iter()
                .find(|quirk| row[0] == format!("`{}`", quirk.as_str()));
            for (column, cell) in head.iter().zip(&row).skip(1) {
                let (Some(quirk), Some((driver, kind))) = (quirk, column.split_once(" on ")) else {
                    continue;
                };
                let column = (driver.to_owned(), kind.to_owned());
                if let ("shows" | "-", false) = (cell.as_str(), observed.contains(&column)) {
                    let shown = self.shown.entry(column).or_default();
                    shown.insert(*quirk, cell == "shows");
                }
            }
        }
    }
}

/// A case passes only where the quirk shows exactly if it is declared.
fn observe(stand: &Stand) -> Result<BTreeMap<Quirk, bool>> {
    let mut shown = BTreeMap::new();
    for quirk in Quirk::ALL {
        let name = format!("quirk_{}", quirk.as_str());
        let case = cases::ALL.iter().find(|case| case.name == name);
        let case = case.with_context(|| format!("there is no case `{name}`"))?;
        let outcome = runner::run(Check::Case(case), &stand.setting);
        match outcome.verdict {
            Verdict::Passed => shown.insert(*quirk, stand.capabilities.declares(*quirk)),
            Verdict::Skipped(_) => None,
            Verdict::Failed(reason) => bail!("{}: {name}: {reason}", stand.setting.factory.name()),
        };
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_observed_is_taken_from_the_table() {
        let mut first = Matrix::default();
        let shown = BTreeMap::from([(Quirk::InodeChanges, true), (Quirk::HardLinkSplits, false)]);
        first.shown.insert(("d".into(), "ext4".into()), shown);
        let table = first.render();
        assert!(table.contains("| `inode_changes` | shows |"), "{table}");
        let mut second = Matrix::default();
        let other = BTreeMap::from([(Quirk::InodeChanges, false)]);
        second
            .shown
            .insert(("d".into(), "ext4".into()), other.clone());
        second.fill_from(&table);
        assert_eq!(
            second.shown[&("d".into(), "ext4".into())],
            other,
            "observed stays"
        );
        second.shown.clear();
        second.fill_from(&table);
        assert_eq!(second.render(), table);
    }
}
