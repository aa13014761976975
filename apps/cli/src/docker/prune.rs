//! What `rmi`, `image prune` and `system prune` ask and tell.
//!
//! Source: docker/cli `cli/command/{image,system}/prune.go`, v28.

use super::rows::DeletedItem;
use super::units;

/// What a prune takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prey {
    /// Containers that do not run.
    StoppedContainers,
    /// Images without a name.
    DanglingImages,
    /// Images without a container.
    UnusedImages,
    /// Build cache that nothing uses.
    UnusedBuildCache,
    /// All of the build cache.
    AllBuildCache,
}

impl Prey {
    fn text(self) -> &'static str {
        match self {
            Self::StoppedContainers => "all stopped containers",
            Self::DanglingImages => "all dangling images",
            Self::UnusedImages => "all images without at least one container associated to them",
            Self::UnusedBuildCache => "unused build cache",
            Self::AllBuildCache => "all build cache",
        }
    }
}

const QUESTION: &str = "Are you sure you want to continue? [y/N] ";

/// What `system prune` asks. `filters` are those given, each `key=value`.
pub(crate) fn ask_system(prey: &[Prey], filters: &[String]) -> String {
    let point = |text: &str| format!("  - {text}\n");
    let mut out = "WARNING! This will remove:\n".to_owned();
    out.extend(prey.iter().map(|prey| point(prey.text())));
    if !filters.is_empty() {
        out.push_str("\n  Items to be pruned will be filtered with:\n");
        let mut filters = filters.to_vec();
        filters.sort();
        out.extend(filters.iter().map(|filter| point(filter)));
    }
    out + "\n" + QUESTION
}

/// What `image prune` asks.
pub(crate) fn ask_images(prey: Prey) -> String {
    format!("WARNING! This will remove {}.\n{QUESTION}", prey.text())
}

/// Whether the answer is yes.
pub(crate) fn is_yes(answer: &str) -> bool {
    answer.trim().eq_ignore_ascii_case("y")
}

/// `Deleted Images:` and what follows, with an empty line after it; nothing for nothing.
pub(crate) fn deleted_images(items: &[DeletedItem]) -> String {
    list(
        "Deleted Images:",
        items.iter().map(|item| {
            if item.untagged.is_empty() {
                format!("deleted: {}", item.deleted)
            } else {
                format!("untagged: {}", item.untagged)
            }
        }),
    )
}

/// `Deleted build cache objects:` and their ids.
pub(crate) fn deleted_build_cache(ids: &[String]) -> String {
    list("Deleted build cache objects:", ids.iter().cloned())
}

/// The last line of every prune.
pub(crate) fn total(bytes: i64) -> String {
    format!("Total reclaimed space: {}\n", units::fine_size(bytes))
}

/// What `rmi` tells.
pub(crate) fn removed(items: &[DeletedItem]) -> String {
    items
        .iter()
        .map(|item| {
            if item.deleted.is_empty() {
                format!("Untagged: {}\n", item.untagged)
            } else {
                format!("Deleted: {}\n", item.deleted)
            }
        })
        .collect()
}

fn list(title: &str, lines: impl Iterator<Item = String>) -> String {
    let mut out = String::new();
    for line in lines {
        if out.is_empty() {
            out = format!("{title}\n");
        }
        out.push_str(&line);
        out.push('\n');
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}
