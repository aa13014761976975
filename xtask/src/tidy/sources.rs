//! Rules about each file by itself.

use super::source::{Line, has_word, lines};
use super::{Finding, Tree, is_test};

const LONGEST: usize = 600;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "helper", "helpers", "manager", "misc", "common", "core",
];

/// Code that promises instead of doing, and lints switched off for good.
const FORBIDDEN: &[(&str, &str)] = &[
    ("todo!", "`todo!`: write it, or leave it out"),
    (
        "unimplemented!",
        "`unimplemented!`: write it, or leave it out",
    ),
    (
        "#[ignore",
        "`#[ignore]`: probe at run time and say what is missing",
    ),
    (
        "#[should_panic",
        "`#[should_panic]`: assert the error instead",
    ),
    (
        "#[allow(",
        "`#[allow]`: use `#[expect(lint, reason = \"...\")]`",
    ),
    (
        "#![allow(",
        "`#![allow]`: use `#![expect(lint, reason = \"...\")]`",
    ),
];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let mut crossings = Vec::new();
    for (path, text) in tree.rust("") {
        file(path, text, findings);
        let lines = lines(text);
        for (number, line) in (1..).zip(&lines) {
            code(path, number, line, findings);
        }
        let crosses = |line: &&Line| !line.is_test && has_word(&line.code, "spawn_blocking");
        if !is_test(path) && lines.iter().any(|line| crosses(&line)) {
            crossings.push(path);
        }
    }
    if crossings.len() > 1 {
        for path in &crossings {
            let message = format!("`spawn_blocking` stands in {} files", crossings.len());
            findings.push(Finding {
                file: (*path).to_owned(),
                line: 0,
                message,
            });
        }
    }
    roots(tree, findings);
    places(tree, findings);
}

fn file(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut say = |message: String| {
        findings.push(Finding {
            file: path.to_owned(),
            line: 0,
            message,
        });
    };
    let first = text.lines().next().unwrap_or_default();
    if !first.starts_with("//!") && !first.starts_with("#![doc") {
        say("does not begin with `//!` and what lives here".to_owned());
    }
    let length = text.lines().count();
    if length > LONGEST && !is_test(path) && !first.contains("@generated") {
        say(format!("{length} lines, more than {LONGEST}"));
    }
    let stem = path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
    let stem = stem.rsplit('/').next().unwrap_or(stem);
    if EMPTY_NAMES.contains(&stem) {
        say(format!("`{stem}` says nothing about what is inside"));
    }
}

fn code(path: &str, number: usize, line: &Line, findings: &mut Vec<Finding>) {
    let mut say = |message: &str| {
        findings.push(Finding {
            file: path.to_owned(),
            line: number,
            message: message.to_owned(),
        });
    };
    if !path.starts_with("core/sys/") && has_word(&line.code, "unsafe") {
        say("`unsafe` outside `core/sys`");
    }
    for (word, message) in FORBIDDEN {
        let mut found = line.code.match_indices(word);
        // `#![allow(` and `#[allow(` do not overlap, but `not_todo!` is another macro.
        if found
            .any(|(at, _)| !line.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        {
            say(message);
        }
    }
}

/// Each crate root but that of `core/sys` forbids `unsafe`.
fn roots(tree: &Tree, findings: &mut Vec<Finding>) {
    let manifests = tree
        .below("")
        .filter_map(|(path, _)| path.strip_suffix("Cargo.toml"));
    for folder in manifests.filter(|folder| *folder != "core/sys/") {
        for root in ["src/lib.rs", "src/main.rs"] {
            let path = format!("{folder}{root}");
            if let Some(text) = tree.get(&path)
                && !lines(text)
                    .iter()
                    .any(|line| line.code.trim() == "#![forbid(unsafe_code)]")
            {
                let message = "the crate root lacks `#![forbid(unsafe_code)]`".to_owned();
                findings.push(Finding {
                    file: path,
                    line: 0,
                    message,
                });
            }
        }
    }
}

/// No text names a path that only this machine has.
fn places(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.below("") {
        for (number, line) in (1..).zip(text.lines()) {
            for private in &tree.private_paths {
                let starts_there = line.match_indices(private.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "/._-}".contains(c))
                });
                if starts_there {
                    let message = format!("names `{private}`, which only this machine has");
                    findings.push(Finding {
                        file: path.to_owned(),
                        line: number,
                        message,
                    });
                    break;
                }
            }
        }
    }
}
