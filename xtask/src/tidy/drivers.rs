//! Rules about the driver crates: the same rooms in each, the same headings in their documents,
//! and nobody else who knows their names.

use super::source::{Line, lines};
use super::{Finding, Tree, is_test};

/// Each is `src/ROOM.rs` or `src/ROOM/`.
const ROOMS: &[&str] = &[
    "config",
    "diff",
    "driver",
    "error",
    "layout",
    "mechanism",
    "probe",
];

/// A mechanism that is a program of its own: driver, room.
const FURTHER_ROOMS: &[(&str, &str)] = &[("aufs", "union")];

const HEADINGS: &[&str] = &[
    "Idea",
    "On disk",
    "Needs",
    "Capabilities",
    "Life of a layer",
    "Costs",
    "Quirks",
    "Recovery",
    "References",
];

/// Drivers that were or will be here, so that a name is caught before its crate exists.
const NAMES: &[&str] = &["aufs", "btrfs", "devicemapper", "overlay", "vfs", "zfs"];

/// Names that are types of file systems as well.
const ALSO_FILE_SYSTEMS: &[&str] = &["aufs", "btrfs", "overlay", "zfs"];

/// Where a file system's type is compared, and so may look like a driver's name. Path prefix, name.
const COMPARES_FILE_SYSTEMS: &[(&str, &str)] = &[
    ("core/driver/src/mount", "overlay"),
    ("core/driver/src/plan", "overlay"),
    ("core/driver/src/host", "btrfs"),
    ("core/driver/src/backing", "btrfs"),
    ("core/driver/src/probe", "btrfs"),
    ("harness/src/fixture", "btrfs"),
    ("harness/src/bench/", "btrfs"),
];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for folder in tree.driver_folders() {
        // The crate is being built up until it has its driver.
        if tree.has(&format!("drivers/{folder}/src/driver.rs")) {
            rooms(tree, folder, findings);
            if !tree.has(&document(folder)) {
                let message = "the driver has no such document".to_owned();
                findings.push(Finding {
                    file: document(folder),
                    line: 0,
                    message,
                });
            }
        }
        headings(tree, folder, findings);
    }
    for (path, text) in tree.rust("") {
        let knows_no_driver = path.starts_with("core/") || path.starts_with("harness/src/");
        if knows_no_driver && !is_test(path) {
            for (number, line) in (1..).zip(&lines(text)).filter(|(_, line)| !line.is_test) {
                names(path, number, line, findings);
            }
        }
    }
}

fn document(folder: &str) -> String {
    format!("docs/drivers/{folder}.md")
}

fn rooms(tree: &Tree, folder: &str, findings: &mut Vec<Finding>) {
    let source = format!("drivers/{folder}/src/");
    let mut found: Vec<&str> = tree
        .below(&source)
        .filter_map(|(path, _)| path[source.len()..].split('/').next())
        .map(|name| name.trim_end_matches(".rs"))
        .collect();
    found.dedup();
    for room in ROOMS.iter().filter(|room| !found.contains(room)) {
        let file = format!("{source}{room}.rs");
        findings.push(Finding {
            file,
            line: 0,
            message: "this room is missing".to_owned(),
        });
    }
    for name in found.iter().filter(|name| !["lib", "tests"].contains(name)) {
        if !ROOMS.contains(name) && !FURTHER_ROOMS.contains(&(folder, *name)) {
            let message = format!(
                "`{name}` is no room of a driver crate ({})",
                ROOMS.join(", ")
            );
            findings.push(Finding {
                file: format!("{source}{name}"),
                line: 0,
                message,
            });
        }
    }
    let suite = format!("drivers/{folder}/tests/conformance.rs");
    if !tree.has(&suite) {
        let message = "the driver does not run the conformance suite".to_owned();
        findings.push(Finding {
            file: suite,
            line: 0,
            message,
        });
    }
}

fn headings(tree: &Tree, folder: &str, findings: &mut Vec<Finding>) {
    let Some(text) = tree.get(&document(folder)) else {
        return;
    };
    let mut in_code = false;
    let found: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            in_code ^= line.trim_start().starts_with("```");
            line.strip_prefix("## ").filter(|_| !in_code).map(str::trim)
        })
        .collect();
    if found != HEADINGS {
        let message = format!(
            "the headings are not `{}` in this order, but `{}`",
            HEADINGS.join("`, `"),
            found.join("`, `")
        );
        findings.push(Finding {
            file: document(folder),
            line: 0,
            message,
        });
    }
}

fn names(path: &str, number: usize, line: &Line, findings: &mut Vec<Finding>) {
    for (at, literal) in &line.literals {
        if !NAMES.contains(&literal.as_str()) {
            continue;
        }
        let is_allowed = COMPARES_FILE_SYSTEMS
            .iter()
            .any(|(prefix, name)| path.starts_with(prefix) && name == literal);
        let is_forbidden = if ALSO_FILE_SYSTEMS.contains(&literal.as_str()) {
            is_compared(&line.code, *at) && !is_allowed
        } else {
            true
        };
        if is_forbidden {
            let message = format!("knows a driver's name: `\"{literal}\"`");
            findings.push(Finding {
                file: path.to_owned(),
                line: number,
                message,
            });
        }
    }
}

/// Whether the literal at `at` (two quotes) is a pattern or an operand of a comparison.
fn is_compared(code: &str, at: usize) -> bool {
    let before = code[..at].trim_end();
    let after = code[at + 2..].trim_start();
    let is_operand = ["==", "!=", ".eq(", ".ne(", ".starts_with(", ".contains("]
        .iter()
        .any(|comparison| before.ends_with(comparison))
        || after.starts_with("==")
        || after.starts_with("!=");
    let is_pattern = after.starts_with("=>")
        || after.starts_with('|')
        || (before.ends_with('|') && !before.ends_with("||"))
        || after.starts_with(") =>")
        || (before.contains("matches!(") && before.ends_with(','))
        || before.ends_with("let Some(");
    is_operand || is_pattern
}
