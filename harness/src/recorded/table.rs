//! Differences that may be, as a table in a document: one row each, with the reason.

use super::judge::Difference;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;

/// The heading that the table stands under, at whatever depth.
const HEADING: &str = "Differences from the recordings";

/// The reason that a new row has: none.
const OPEN: &str = "TODO";

/// A difference that may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub scenario: String,
    pub difference: Difference,
    pub why: String,
}

/// A document with such a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    /// The document up to the first row, and after the last.
    around: (String, String),
    pub rows: Vec<Row>,
}

impl Table {
    /// Reads the table `scenario | field | ours | recorded | why` of a document.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut lines = text.split_inclusive('\n').peekable();
        let mut table = Self::default();
        let mut found = false;
        for line in lines.by_ref() {
            table.around.0.push_str(line);
            let heading = line.starts_with('#') && line.trim_start_matches('#').trim() == HEADING;
            found |= heading;
            if found && line.starts_with("|-") {
                break;
            }
        }
        ensure!(
            found && table.around.0.trim_end().ends_with('|'),
            "the document has no table under the heading `{HEADING}`"
        );
        while let Some(line) = lines.next_if(|line| line.starts_with('|')) {
            table
                .rows
                .push(row(line).with_context(|| format!("row `{}`", line.trim()))?);
        }
        table.around.1.extend(lines);
        Ok(table)
    }

    /// What may differ in a scenario.
    pub(super) fn of(&self, scenario: &str) -> Vec<&Difference> {
        let rows = self.rows.iter().filter(|row| row.scenario == scenario);
        rows.map(|row| &row.difference).collect()
    }

    /// What is wrong with the rows themselves: scenarios that are `known` to nobody, reasons that
    /// nobody gave.
    pub(super) fn faults(&self, known: impl Fn(&str) -> bool) -> Vec<String> {
        let faults = self.rows.iter().filter_map(|row| {
            let Row { scenario, difference, why } = row;
            if !known(scenario) {
                Some(format!("the table of differences has a row for `{scenario}`, and there is no such scenario"))
            } else if why.is_empty() || why == OPEN {
                Some(format!("{scenario}: {difference}: the table does not say why"))
            } else {
                None
            }
        });
        faults.collect()
    }

    /// The document with rows for what was `seen` in place of those that it had for the same
    /// scenarios. A row keeps its reason; a new one has that of its scenario, if all others agree.
    pub(super) fn with(&self, seen: &BTreeMap<String, Vec<Difference>>) -> String {
        let mut rows: Vec<Row> = self.rows.clone();
        rows.retain(|row| !seen.contains_key(&row.scenario));
        for (scenario, differences) in seen {
            rows.extend(differences.iter().map(|difference| Row {
                scenario: scenario.clone(),
                difference: difference.clone(),
                why: self.reason(scenario, difference),
            }));
        }
        rows.sort_by(|one, two| one.scenario.cmp(&two.scenario));
        let lines: String = rows.iter().map(line).collect();
        format!("{}{lines}{}", self.around.0, self.around.1)
    }

    fn reason(&self, scenario: &str, difference: &Difference) -> String {
        let own = |row: &&Row| row.scenario == scenario;
        let mut rows = self.rows.iter().filter(own);
        let same = rows.clone().find(|row| row.difference == *difference);
        let first = rows.next();
        let agreed = first.filter(|first| rows.all(|row| row.why == first.why));
        same.or(agreed)
            .map_or_else(|| OPEN.to_owned(), |row| row.why.clone())
    }
}

fn row(line: &str) -> Result<Row> {
    let cells = cells(line);
    let cells: [String; 5] = cells.try_into().ok().context("not five cells")?;
    let [scenario, field, ours, recorded, why] = cells;
    let value = |cell: String| {
        let code = cell
            .strip_prefix('`')
            .and_then(|cell| cell.strip_suffix('`'));
        code.map(str::to_owned).context("a value is no code")
    };
    let difference = Difference {
        field,
        ours: value(ours)?,
        recorded: value(recorded)?,
    };
    Ok(Row {
        scenario,
        difference,
        why,
    })
}

/// What is between the bars; `\|` is no bar.
fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|');
    let marked = inner.replace("\\|", "\0");
    let inner = marked.strip_suffix('|').unwrap_or(&marked);
    let cells = inner.split('|');
    cells.map(|cell| cell.trim().replace('\0', "|")).collect()
}

fn line(row: &Row) -> String {
    let Difference {
        field,
        ours,
        recorded,
    } = &row.difference;
    let cells = [
        &row.scenario,
        field,
        &format!("`{ours}`"),
        &format!("`{recorded}`"),
        &row.why,
    ];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A driver\n\n| a | table |\n|---|---|\n| of | others |\n\n\
        ### Differences from the recordings\n\nWords.\n\n\
        | scenario | field | ours | aufs | why |\n|---|---|---|---|---|\n\
        | one | operation 1, Open { flags: A \\| B }: answer | `\"now\"` | `1` | a reason |\n\
        | two | merged `d`: mtime | `1` | `2` | another |\n\n## Next\n";

    fn difference(field: &str) -> Difference {
        Difference {
            field: field.to_owned(),
            ours: "\"now\"".to_owned(),
            recorded: "1".to_owned(),
        }
    }

    #[test]
    fn rows_are_read() {
        let table = Table::parse(TEXT).unwrap();
        let flags = difference("operation 1, Open { flags: A | B }: answer");
        assert_eq!(table.of("one"), [&flags]);
        assert_eq!(table.of("two")[0].field, "merged `d`: mtime");
        assert_eq!(table.rows[1].why, "another");
    }

    #[test]
    fn document_without_the_table_is_refused() {
        for text in [
            "# A driver\n",
            "## Differences from the recordings\n\nnone\n",
        ] {
            assert!(Table::parse(text).is_err(), "{text}");
        }
        let odd = TEXT.replace("| `1` | `2` |", "| `1` |");
        let error = format!("{:#}", Table::parse(&odd).unwrap_err());
        assert!(error.contains("merged `d`"), "{error}");
    }

    #[test]
    fn rows_without_scenario_or_reason_are_faults() {
        let mut table = Table::parse(TEXT).unwrap();
        assert_eq!(table.faults(|_| true), [""; 0]);
        let faults = table.faults(|name| name == "one");
        assert!(
            faults.len() == 1 && faults[0].contains("`two`"),
            "{faults:?}"
        );
        table.rows[0].why = OPEN.to_owned();
        let faults = table.faults(|_| true);
        assert!(
            faults.len() == 1 && faults[0].contains("say why"),
            "{faults:?}"
        );
    }

    #[test]
    fn rewritten_rows_keep_their_reasons() {
        let table = Table::parse(TEXT).unwrap();
        let same = table.rows[0].difference.clone();
        let seen = [
            (
                "one".to_owned(),
                vec![same, difference("merged `x`: mtime")],
            ),
            ("three".to_owned(), vec![difference("upper `x`: mtime")]),
        ];
        let text = table.with(&seen.into_iter().collect());
        let new = Table::parse(&text).unwrap();
        let reasons: Vec<_> = new.rows.iter().map(|row| row.why.as_str()).collect();
        assert_eq!(reasons, ["a reason", "a reason", OPEN, "another"]);
        assert_eq!(new.around, table.around);
        assert_eq!(table.with(&BTreeMap::new()), TEXT);
    }
}
