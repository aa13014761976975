//! `cargo xtask tidy`: the house rules that neither the compiler nor clippy checks.
//!
//! A rule about files that are not there yet says nothing, and holds as soon as they are.

mod cases;
mod drivers;
mod manifests;
mod source;
mod sources;
#[cfg(test)]
mod tests;

use crate::exit::Stop;
use crate::workspace;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use xshell::Shell;

#[derive(Debug)]
pub(crate) struct Tidy;

impl Tidy {
    #[expect(clippy::unused_self, reason = "one shape for all commands")]
    pub(crate) fn run(&self, _sh: &Shell) -> anyhow::Result<()> {
        let findings = Tree::read(&workspace())?.check();
        for finding in &findings {
            eprintln!("{finding}");
        }
        if findings.is_empty() {
            return Ok(());
        }
        eprintln!("tidy: {} findings", findings.len());
        Err(Stop::Reported.into())
    }
}

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Path below the root of the checkout.
    file: String,
    /// Line number from 1; 0 if it is about the whole file.
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.file, self.message),
            line => write!(formatter, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// The texts of the checkout, by path below its root.
#[derive(Debug, Default)]
struct Tree {
    files: BTreeMap<String, String>,
    /// Prefixes of paths that only this machine has, and no text may name.
    private_paths: Vec<String>,
}

impl Tree {
    fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self {
            files: BTreeMap::new(),
            private_paths: private_paths(root),
        };
        let mut pending = vec![root.to_path_buf()];
        while let Some(directory) = pending.pop() {
            for entry in fs_err::read_dir(&directory)? {
                let entry = entry?;
                let (path, kind) = (entry.path(), entry.file_type()?);
                let name = entry.file_name().to_string_lossy().into_owned();
                if kind.is_dir() {
                    let is_ours = !name.starts_with('.') || name == ".ci" || name == ".cargo";
                    if is_ours && name != "target" {
                        pending.push(path);
                    }
                } else if kind.is_file() && is_text(&path, &name) {
                    let below = path.strip_prefix(root).expect("the walk started there");
                    let text = fs_err::read_to_string(&path)?;
                    tree.files.insert(below.display().to_string(), text);
                }
            }
        }
        Ok(tree)
    }

    fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        sources::check(self, &mut findings);
        manifests::check(self, &mut findings);
        drivers::check(self, &mut findings);
        cases::check(self, &mut findings);
        findings.sort();
        findings
    }

    fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// All files below a directory; `directory` ends with a slash.
    fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .range(directory.to_owned()..)
            .take_while(move |(path, _)| path.starts_with(directory))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The Rust files below a directory, as [`Tree::below`] gives them.
    fn rust<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.below(directory)
            .filter(|(path, _)| Path::new(path).extension().is_some_and(|kind| kind == "rs"))
    }

    /// The folders of the driver crates, without the registry.
    fn driver_folders(&self) -> Vec<&str> {
        let manifests = self
            .below("drivers/")
            .filter_map(|(path, _)| path.strip_prefix("drivers/")?.strip_suffix("/Cargo.toml"));
        manifests
            .filter(|folder| *folder != "all" && !folder.contains('/'))
            .collect()
    }
}

fn is_text(path: &Path, name: &str) -> bool {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    matches!(
        extension,
        "rs" | "toml" | "md" | "yaml" | "yml" | "sh" | "lock" | "py"
    ) || path
        .parent()
        .and_then(Path::file_name)
        .is_some_and(|folder| folder == ".ci")
        || name == ".gitignore"
}

/// The checkout's own place, and the directories above it that are not everybody's.
fn private_paths(root: &Path) -> Vec<String> {
    const EVERYBODYS: &[&str] = &[
        "/", "/bin", "/boot", "/builds", "/dev", "/etc", "/home", "/media", "/mnt", "/opt",
        "/proc", "/root", "/run", "/srv", "/sys", "/tmp", "/usr", "/usr/src", "/var", "/var/tmp",
        "/dev/shm",
    ];
    let ancestors = root.ancestors().map(|path| path.display().to_string());
    ancestors
        .filter(|path| !EVERYBODYS.contains(&path.as_str()))
        .map(|path| format!("{path}/"))
        .collect()
}

/// Whether a file holds tests rather than the thing tested.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}
