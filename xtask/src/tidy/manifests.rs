//! Rules about who may depend on whom, and on what from outside.

use super::{Finding, Tree};

/// A line `name = ...` or `name.workspace = true` of a dependency section.
struct Dependency<'a> {
    section: &'a str,
    name: &'a str,
    line: usize,
    text: &'a str,
}

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let drivers: Vec<String> = tree
        .driver_folders()
        .iter()
        .map(|folder| format!("strata-{folder}"))
        .collect();
    for (path, text) in tree.below("") {
        let Some(folder) = path.strip_suffix("/Cargo.toml") else {
            continue;
        };
        // Crates outside the workspace take part through public API and their own versions.
        if folder.starts_with("docs/") {
            continue;
        }
        for dependency in dependencies(text) {
            let mut say = |message: String| {
                let Dependency { line, .. } = dependency;
                findings.push(Finding {
                    file: path.to_owned(),
                    line,
                    message,
                });
            };
            if !dependency.text.contains("workspace") {
                say(format!(
                    "`{}` has a version of its own: versions stand in the root manifest",
                    dependency.name
                ));
            }
            if is_ours(dependency.name) && !may_depend(folder, &dependency, &drivers) {
                let Dependency { section, name, .. } = dependency;
                say(format!(
                    "`{folder}` must not depend on `{name}` ({section})"
                ));
            }
        }
    }
    bans(tree, findings);
}

fn is_ours(name: &str) -> bool {
    name == "strata" || name.starts_with("strata-") || name == "xtask"
}

/// The arrows of docs/architecture.md.
fn may_depend(folder: &str, dependency: &Dependency<'_>, drivers: &[String]) -> bool {
    let name = dependency.name;
    let is_for_tests = dependency.section == "dev-dependencies";
    let is_driver = drivers.iter().any(|driver| driver == name) || name == "strata-drivers";
    match folder {
        "xtask" | "core/sys" => false,
        "core/driver" | "core/fuse" => name == "strata-sys",
        "core/store" => matches!(name, "strata-sys" | "strata-driver"),
        "core/image" => {
            // Itself with more features, for its own tests, and the harness's real registry.
            matches!(name, "strata-sys" | "strata-driver" | "strata-store")
                || (is_for_tests && matches!(name, "strata-image" | "strata-harness"))
        }
        "harness" => !is_driver && name != "strata" && name != "xtask",
        "drivers/all" => name != "strata" && (name != "strata-harness" || is_for_tests),
        _ if folder.starts_with("drivers/") => {
            matches!(name, "strata-sys" | "strata-driver" | "strata-fuse")
                || (is_for_tests && name == "strata-harness")
        }
        _ => name != "xtask",
    }
}

fn dependencies(text: &str) -> Vec<Dependency<'_>> {
    let mut found: Vec<Dependency<'_>> = Vec::new();
    let mut section = None;
    for (line, text) in (1..).zip(text.lines()) {
        let trimmed = text.trim();
        if let Some(header) = trimmed.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            section = ["dev-dependencies", "build-dependencies", "dependencies"]
                .into_iter()
                .find(|section| header == *section || header.ends_with(&format!(".{section}")));
            // `[dependencies.name]`, also below a target.
            if section.is_none()
                && let Some((before, name)) = header.rsplit_once('.')
                && let Some(table) = before.rsplit('.').next()
                && table.ends_with("dependencies")
                && !before.starts_with("workspace")
            {
                found.push(Dependency {
                    section: table,
                    name,
                    line,
                    text: "workspace",
                });
            }
            continue;
        }
        let name_ends = trimmed.find(['.', ' ', '=']).unwrap_or(trimmed.len());
        if let Some(section) = section
            && !trimmed.is_empty()
            && !trimmed.starts_with('#')
        {
            found.push(Dependency {
                section,
                name: &trimmed[..name_ends],
                line,
                text: trimmed,
            });
        }
    }
    found
}

/// What `deny.toml` bans is not in the lock file, and everything there is from crates.io or ours.
///
/// cargo-deny checks this too, and licences; this part holds also where it is not installed.
fn bans(tree: &Tree, findings: &mut Vec<Finding>) {
    const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
    let (Some(lock), Some(deny)) = (tree.get("Cargo.lock"), tree.get("deny.toml")) else {
        return;
    };
    let banned: Vec<&str> = deny
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ crate = \"")?.split('"').next())
        .collect();
    for (number, line) in (1..).zip(lock.lines()) {
        let value = |key: &str| line.strip_prefix(key)?.strip_suffix('"');
        let mut say = |message: String| {
            findings.push(Finding {
                file: "Cargo.lock".to_owned(),
                line: number,
                message,
            });
        };
        if let Some(name) = value("name = \"").filter(|name| banned.contains(name)) {
            say(format!("`{name}` is banned by deny.toml"));
        }
        if let Some(source) = value("source = \"").filter(|source| *source != CRATES_IO) {
            say(format!("`{source}` is not crates.io"));
        }
    }
}
