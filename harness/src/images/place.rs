//! Where `cargo xtask test` has put what it made once.

use super::Skip;
use std::path::{Path, PathBuf};

/// The tree of tools; `xtask/src/peers/tree.rs` makes it under this name.
pub(super) const TREE: &str = "tools/peers-2-";

/// The image layout; `xtask/src/images/mod.rs` makes it under this name.
pub(super) const IMAGES: &str = "images-1-";

/// The entry of the cache whose name begins with `prefix`; suite and processor follow. `witness` is
/// a file in it without which it is of no use.
pub(super) fn find(prefix: &str, witness: &str) -> Result<PathBuf, Skip> {
    let missing = |home: Option<&Path>| {
        let home = home.map_or_else(|| "the cache".into(), |home| home.display().to_string());
        Skip::because(format!(
            "no `{prefix}*` in {home}: `cargo xtask test` makes it, which takes root and network"
        ))
    };
    let home = home().ok_or_else(|| missing(None))?;
    look(&home, prefix, witness).ok_or_else(|| missing(Some(&home)))
}

fn look(home: &Path, prefix: &str, witness: &str) -> Option<PathBuf> {
    let prefix = home.join(prefix);
    let start = prefix.file_name()?.to_string_lossy().into_owned();
    let mut found: Vec<PathBuf> = fs_err::read_dir(prefix.parent()?)
        .ok()?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&start))
        .map(|entry| entry.path())
        .filter(|path| path.join(witness).is_file())
        .collect();
    found.sort();
    found.into_iter().next()
}

/// `$XDG_CACHE_HOME/strata`, or `~/.cache/strata`.
fn home() -> Option<PathBuf> {
    let set = |name: &str| {
        let value = std::env::var_os(name).map(PathBuf::from);
        value.filter(|path| path.is_absolute())
    };
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("strata"))
}

#[cfg(test)]
mod tests {
    use super::look;

    #[test]
    fn only_whole_entries_are_found() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        for directory in ["images-1-a", "images-1-b", "images-2-a", ".images-1-c.7"] {
            fs_err::create_dir(home.join(directory)).unwrap();
        }
        fs_err::write(home.join("images-1-a.lock"), "").unwrap();
        assert_eq!(look(home, "images-1-", "index.json"), None);
        fs_err::write(home.join("images-1-b/index.json"), "").unwrap();
        fs_err::write(home.join("images-2-a/index.json"), "").unwrap();
        fs_err::write(home.join(".images-1-c.7/index.json"), "").unwrap();
        assert_eq!(
            look(home, "images-1-", "index.json"),
            Some(home.join("images-1-b"))
        );
        assert_eq!(look(home, "tools/peers-2-", "index.json"), None);
    }
}
