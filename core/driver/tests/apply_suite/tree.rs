//! What a directory holds, as text that two of them can be compared by.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// Each path with its type, mode, owner, time, content, link target, device and attributes.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut groups = BTreeMap::new();
    visit(root, "", &mut found, &mut groups);
    found
}

fn visit(
    path: &Path,
    name: &str,
    found: &mut BTreeMap<String, String>,
    groups: &mut BTreeMap<u64, String>,
) {
    let meta = fs_err::symlink_metadata(path).unwrap();
    let kind = meta.file_type();
    let what = if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_symlink() {
        format!("-> {}", fs_err::read_link(path).unwrap().display())
    } else if kind.is_file() {
        let group = groups.entry(meta.ino()).or_insert_with(|| name.to_owned());
        let content = fs_err::read(path).unwrap();
        format!("file {:?} of {group}", String::from_utf8_lossy(&content))
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        format!("device {:x}", meta.rdev())
    };
    // The time of the root is no part of a layer.
    let mtime = if name.is_empty() { 0 } else { meta.mtime() };
    found.insert(
        name.to_owned(),
        format!(
            "{what} {:o} {}:{} {mtime} {:?}",
            meta.mode() & 0o7777,
            meta.uid(),
            meta.gid(),
            xattrs(path)
        ),
    );
    if !kind.is_dir() {
        return;
    }
    let mut names: Vec<_> = fs_err::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    for inner in names {
        let inner_name = inner.to_string_lossy();
        let full = match name {
            "" => inner_name.into_owned(),
            _ => format!("{name}/{inner_name}"),
        };
        visit(&path.join(inner), &full, found, groups);
    }
}

/// Attributes that layers carry, and their values.
pub(crate) fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0_u8; 65536];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    let names = list[..length].split(|&byte| byte == 0);
    names
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .filter(|name| !name.starts_with("security.sel") && !name.starts_with("trusted.overlay."))
        .map(|name| {
            let mut value = vec![0_u8; 65536];
            let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..]).unwrap();
            value.truncate(length);
            (name, value)
        })
        .collect()
}

/// The paths of a tree, without the root.
pub(crate) fn paths(root: &Path) -> Vec<String> {
    tree(root)
        .into_keys()
        .filter(|path| !path.is_empty())
        .collect()
}
