//! Trees as the recordings list them.

use anyhow::{Context as _, Result};
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::Path;

/// Content up to this size is listed itself, more as the first half of its SHA-256.
const SHOWN: u64 = 64;

/// Of files of more than this it is said whether half of them or more are holes.
const WITH_HOLES: u64 = 64 * 1024;

/// What depends on the run, not on the driver.
#[derive(Clone, Debug)]
pub(super) struct Lister {
    /// Seconds at which the run began: what is not older was set now.
    pub began: i64,
    /// Programs of this host, the size and content of which are not listed.
    pub programs: BTreeSet<String>,
}

/// A listing: everything below a directory in order of paths, the directory itself as `.`.
pub(super) type Listing = Vec<Value>;

impl Lister {
    /// Lists what is below `root`.
    pub(super) fn list(&self, root: &Path) -> Result<Listing> {
        let mut found = BTreeMap::new();
        self.visit(root, ".", &mut found)
            .with_context(|| format!("list `{}`", root.display()))?;
        let mut names_of: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        for inode in found.values().filter_map(|(_, inode)| *inode) {
            *names_of.entry(inode).or_default() += 1;
        }
        let mut groups = BTreeMap::new();
        let mut listing = Vec::new();
        for (mut node, inode) in found.into_values() {
            if let Some(inode) = inode.filter(|inode| names_of[inode] > 1) {
                let next = groups.len() + 1;
                let group = *groups.entry(inode).or_insert(next);
                node.insert("group".into(), group.into());
            }
            listing.push(Value::Object(node));
        }
        Ok(listing)
    }

    fn visit(&self, root: &Path, path: &str, found: &mut Found) -> Result<()> {
        let at = root.join(path);
        let stat = match rustix::fs::lstat(&at) {
            Ok(stat) => stat,
            Err(errno) => {
                let mut node = Map::new();
                node.insert("path".into(), path.into());
                node.insert("lstat_errno".into(), errno_name(errno).into());
                found.insert(path.to_owned(), (node, None));
                return Ok(());
            }
        };
        let is_directory = kind(&stat) == FileType::Directory;
        let node = self.node(&at, path, &stat)?;
        let inode = (!is_directory).then_some((stat.st_dev, stat.st_ino));
        found.insert(shown_path(path), (node, inode));
        if is_directory {
            for (name, _) in read_directory(&at, OFlags::NOATIME)? {
                let below = if path == "." {
                    name
                } else {
                    format!("{path}/{name}")
                };
                self.visit(root, &below, found)?;
            }
        }
        Ok(())
    }

    fn node(&self, at: &Path, path: &str, stat: &Stat) -> Result<Map<String, Value>> {
        let mut node = Map::new();
        node.insert("path".into(), shown_path(path).into());
        node.insert("type".into(), type_name(stat).into());
        node.insert("mode".into(), mode_text(stat).into());
        if (stat.st_uid, stat.st_gid) != (0, 0) {
            node.insert("uid".into(), stat.st_uid.into());
            node.insert("gid".into(), stat.st_gid.into());
        }
        node.insert("mtime".into(), self.time(stat.st_mtime));
        let kind = kind(stat);
        if kind != FileType::Directory {
            node.insert("nlink".into(), stat.st_nlink.into());
        }
        match kind {
            FileType::RegularFile if !self.programs.contains(path) => {
                let size = stat.st_size as u64;
                node.insert("size".into(), size.into());
                let content = read_unseen(at)?;
                if size <= SHOWN {
                    node.insert("data".into(), String::from_utf8_lossy(&content).into());
                } else {
                    let digest = hex::encode(&Sha256::digest(&content)[..8]);
                    node.insert("sha256".into(), digest.into());
                    if size > WITH_HOLES {
                        let holes = (stat.st_blocks as u64) * 512 < size / 2;
                        node.insert("sparse".into(), holes.into());
                    }
                }
            }
            FileType::Symlink => {
                let target = fs_err::read_link(at)?;
                node.insert("target".into(), target.to_string_lossy().into());
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let (major, minor) = (
                    rustix::fs::major(stat.st_rdev),
                    rustix::fs::minor(stat.st_rdev),
                );
                node.insert("rdev".into(), format!("{major}:{minor}").into());
            }
            _ => {}
        }
        let xattrs = attributes(at);
        if !xattrs.is_empty() {
            node.insert("xattrs".into(), xattrs.into());
        }
        Ok(node)
    }

    /// Seconds, or that it was now.
    pub(super) fn time(&self, seconds: i64) -> Value {
        if seconds >= self.began {
            "now".into()
        } else {
            seconds.into()
        }
    }
}

/// Nodes by path, with the inode of what is no directory.
type Found = BTreeMap<String, (Map<String, Value>, Option<(u64, u64)>)>;

/// A file's content; its access time stays.
fn read_unseen(at: &Path) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOATIME | OFlags::CLOEXEC;
    let mut content = Vec::new();
    fs::File::from(rustix::fs::open(at, flags, Mode::empty())?).read_to_end(&mut content)?;
    Ok(content)
}

/// What is new or different in `after`.
pub(super) fn changed(before: &[Value], after: &[Value]) -> Listing {
    let is_new = |node: &&Value| !before.contains(node);
    after.iter().filter(is_new).cloned().collect()
}

/// All attributes; or, where one cannot be read, the errno alone.
fn attributes(at: &Path) -> Map<String, Value> {
    let read = || -> Result<Map<String, Value>, Errno> {
        let mut found = BTreeMap::new();
        for key in attribute_names(at)? {
            let value = attribute(at, &key)?;
            found.insert(key, value);
        }
        // The kernels of old have none, and it is random.
        found.remove("trusted.overlay.uuid");
        Ok(found.into_iter().collect())
    };
    read().unwrap_or_else(|errno| {
        [("!".to_owned(), errno_name(errno).into())]
            .into_iter()
            .collect()
    })
}

/// Names of the attributes of a path itself, in order.
pub(super) fn attribute_names(at: &Path) -> Result<BTreeSet<String>, Errno> {
    let mut list = vec![0_u8; 64 * 1024];
    let length = rustix::fs::llistxattr(at, &mut list)?;
    let names = list[..length].split(|byte| *byte == 0);
    let names = names.filter(|name| !name.is_empty());
    Ok(names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect())
}

/// An attribute's value as text, or as `hex:` and digits.
pub(super) fn attribute(at: &Path, key: &str) -> Result<Value, Errno> {
    let mut value = vec![0_u8; 64 * 1024];
    let length = rustix::fs::lgetxattr(at, key, &mut value)?;
    value.truncate(length);
    if key == "trusted.overlay.origin" {
        return Ok("<handle>".into());
    }
    let is_text = value.iter().all(|byte| (0x20..0x7f).contains(byte));
    Ok(match String::from_utf8(value) {
        Ok(text) if is_text => text.into(),
        Ok(text) => format!("hex:{}", hex::encode(text)).into(),
        Err(error) => format!("hex:{}", hex::encode(error.into_bytes())).into(),
    })
}

/// The names in a directory, sorted, each as often as it was given, with its inode.
pub(super) fn read_directory(at: &Path, flags: OFlags) -> Result<Vec<(String, u64)>, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(at, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if name != "." && name != ".." {
            names.push((name.into_owned(), entry.ino()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What `stat` and the like return.
pub(super) fn facts(stat: &Stat, keys: &[&str]) -> Value {
    let mut facts = Map::new();
    for key in keys {
        let fact = match *key {
            "type" => type_name(stat).into(),
            "mode" => mode_text(stat).into(),
            "nlink" => json!(stat.st_nlink),
            "uid" => json!(stat.st_uid),
            "gid" => json!(stat.st_gid),
            // A directory's is the file system's own affair.
            _ if kind(stat) == FileType::Directory => continue,
            _ => json!(stat.st_size),
        };
        facts.insert((*key).to_owned(), fact);
    }
    facts.into()
}

/// Two inode numbers, which differ from run to run.
pub(super) fn shown_name(name: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match name.split_once('.') {
        Some((one, two)) if is_number(one) && is_number(two) => "<plink>",
        _ => name,
    }
}

fn shown_path(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((directory, name)) => format!("{directory}/{}", shown_name(name)),
        None => shown_name(path).to_owned(),
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn type_name(stat: &Stat) -> &'static str {
    match kind(stat) {
        FileType::RegularFile => "file",
        FileType::Directory => "dir",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "sock",
        FileType::CharacterDevice => "chr",
        FileType::BlockDevice => "blk",
        FileType::Unknown => "unknown",
    }
}

fn mode_text(stat: &Stat) -> String {
    format!("{:04o}", stat.st_mode & 0o7777)
}

/// The name of an errno; of two names for one number, the recordings' choice.
pub(super) fn errno_name(errno: Errno) -> String {
    match nix::errno::Errno::from_raw(errno.raw_os_error()) {
        nix::errno::Errno::EOPNOTSUPP => "ENOTSUP".to_owned(),
        known => format!("{known:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_errnos_are_the_recorded_ones() {
        for (errno, name) in [
            (Errno::NOTSUP, "ENOTSUP"),
            (Errno::WOULDBLOCK, "EAGAIN"),
            (Errno::XDEV, "EXDEV"),
            (Errno::TXTBSY, "ETXTBSY"),
        ] {
            assert_eq!(errno_name(errno), name);
        }
    }

    #[test]
    fn list_shows_groups_times_and_targets() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        fs_err::write(root.join("b"), "text").unwrap();
        fs_err::hard_link(root.join("b"), root.join("a")).unwrap();
        fs_err::os::unix::fs::symlink("b", root.join("l")).unwrap();
        let lister = Lister {
            began: 0,
            programs: BTreeSet::new(),
        };
        let listing = lister.list(root).unwrap();
        let paths: Vec<_> = listing.iter().map(|node| &node["path"]).collect();
        assert_eq!(paths, [".", "a", "b", "l"]);
        assert_eq!(listing[1]["group"], 1);
        assert_eq!(listing[2]["group"], 1);
        assert_eq!(listing[2]["data"], "text");
        assert_eq!(listing[2]["mtime"], "now");
        assert_eq!(listing[3]["target"], "b");
        assert_eq!(listing[3].get("group"), None);
    }

    #[test]
    fn pseudo_links_are_shown_without_their_numbers() {
        assert_eq!(shown_path(".wh..wh.plnk/12.345"), ".wh..wh.plnk/<plink>");
        assert_eq!(shown_path("d/a.1"), "d/a.1");
    }
}
