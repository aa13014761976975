//! Rules about the conformance cases: each is listed, and what documents say is checked by a case
//! is checked by a case.

use super::source::{has_word, lines};
use super::{Finding, Tree};
use std::collections::BTreeSet;

const CASES: &str = "harness/src/cases/";

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    listed(tree, findings);
    let known = names(tree);
    for (path, text) in tree.below("core/driver/src/") {
        behaviour(path, text, &known, findings);
    }
    if let Some(text) = tree.get("docs/testing.md") {
        upstream(text, &known, findings);
    }
}

/// Each file and folder below `cases/` is declared by the `mod.rs` beside it.
fn listed(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, _) in tree.rust(CASES) {
        let below = &path[CASES.len()..];
        let (folder, name) = match below.rsplit_once('/') {
            Some((folder, "mod.rs")) => match folder.rsplit_once('/') {
                Some((outer, inner)) => (format!("{CASES}{outer}/"), inner),
                None => (CASES.to_owned(), folder),
            },
            Some((folder, file)) => (format!("{CASES}{folder}/"), file),
            None => (CASES.to_owned(), below),
        };
        let name = name.trim_end_matches(".rs");
        if matches!(name, "mod" | "tests") {
            continue;
        }
        // A folder's list stands in its own `mod.rs`, or in the one of all cases.
        let own = format!("{folder}mod.rs");
        let list = if tree.has(&own) {
            own
        } else {
            format!("{CASES}mod.rs")
        };
        let is_listed = tree
            .get(&list)
            .is_some_and(|text| lines(text).iter().any(|line| has_word(&line.code, name)));
        if !is_listed {
            let message = format!("the case is not listed in `{list}`");
            findings.push(Finding {
                file: path.to_owned(),
                line: 0,
                message,
            });
        }
    }
}

/// The names of all cases; none if there is no suite yet.
///
/// A case is a file of its name, a `name: "..."`, or a function.
fn names(tree: &Tree) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for (path, text) in tree.rust(CASES) {
        if let Some(stem) = path.rsplit('/').next() {
            known.insert(stem.trim_end_matches(".rs").to_owned());
        }
        for line in lines(text) {
            for (at, literal) in &line.literals {
                if line.code[..*at].trim_end().ends_with("name:") {
                    known.insert(literal.clone());
                }
            }
            if let Some((_, rest)) = line.code.split_once("fn ") {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                known.insert(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    }
    known
}

/// Each bullet under a heading `Behaviour` ends with the cases that check it.
fn behaviour(path: &str, text: &str, known: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    let mut inside = false;
    let mut bullets: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some(line) = line.trim_start().strip_prefix("///") else {
            inside = false;
            continue;
        };
        let line = line.trim();
        if line.starts_with('#') {
            inside = line.trim_start_matches('#').trim() == "Behaviour";
        } else if !inside {
        } else if let Some(bullet) = line.strip_prefix("- ") {
            bullets.push((number, bullet.to_owned()));
        } else if line.is_empty() {
            // Whatever follows an empty line belongs to no bullet unless it is one.
            bullets.push((0, String::new()));
        } else if let Some((_, bullet)) = bullets.last_mut() {
            bullet.push(' ');
            bullet.push_str(line);
        }
    }
    for (line, bullet) in bullets.into_iter().filter(|(line, _)| *line > 0) {
        let mut say = |message: String| {
            findings.push(Finding {
                file: path.to_owned(),
                line,
                message,
            });
        };
        let named = trailing_cases(&bullet);
        if named.is_empty() {
            say("the bullet does not end with the case that checks it: (`case`)".to_owned());
        }
        for name in named
            .iter()
            .filter(|name| !known.is_empty() && !known.contains(**name))
        {
            say(format!("no case is named `{name}`"));
        }
    }
}

/// The names in the parentheses at the end: ``(`a`, `b`)``.
fn trailing_cases(bullet: &str) -> Vec<&str> {
    let bullet = bullet.trim_end().trim_end_matches('.');
    let inside = bullet
        .strip_suffix(')')
        .and_then(|bullet| bullet.rsplit_once('('));
    inside
        .map(|(_, inside)| in_backticks(inside))
        .unwrap_or_default()
}

fn in_backticks(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Each row of the table `| upstream | case |` names cases that exist.
fn upstream(text: &str, known: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    let mut in_table = false;
    for (number, line) in (1..).zip(text.lines()) {
        let Some(row) = line.trim().strip_prefix('|') else {
            in_table = false;
            continue;
        };
        let cells: Vec<&str> = row
            .trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let (Some(first), Some(last)) = (cells.first(), cells.last()) else {
            continue;
        };
        if first.to_lowercase().starts_with("upstream") && last.to_lowercase().starts_with("case") {
            in_table = true;
            continue;
        }
        let is_ruler = cells
            .iter()
            .all(|cell| cell.chars().all(|c| matches!(c, '-' | ':')));
        if !in_table || is_ruler {
            continue;
        }
        let mut say = |message: String| {
            let file = "docs/testing.md".to_owned();
            findings.push(Finding {
                file,
                line: number,
                message,
            });
        };
        let named = in_backticks(last);
        if named.is_empty() {
            say(format!("the row of `{first}` names no case"));
        }
        for name in named
            .iter()
            .filter(|name| !known.is_empty() && !known.contains(**name))
        {
            say(format!("no case is named `{name}`"));
        }
    }
}
