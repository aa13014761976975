//! How the active snapshot stands to the layer below it: where the corners of a union are.

use super::Model;
use super::inode::{Body, Inode, Mtime};
use crate::tree::TreePath;

/// Paths at which something of the layer below is met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Below {
    /// Files of the layer below that nobody has changed yet, not empty, with their size.
    pub files: Vec<(TreePath, u64)>,
    /// Directories in which the layer below has something, there and here.
    pub directories: Vec<TreePath>,
    /// Symbolic links of the layer below that are still there.
    pub links: Vec<TreePath>,
    /// Names of the layer below that are free now, in directories that are there.
    pub gone: Vec<TreePath>,
    /// The same of directories in which it has something.
    pub gone_directories: Vec<TreePath>,
    /// What differs, but neither in kind nor in size, with the time that it has below.
    pub alike: Vec<(TreePath, i64)>,
}

impl Model {
    /// What is met of the layer that the active snapshot stands on.
    pub fn below(&self) -> Below {
        let mut met = Below::default();
        let Some(base) = self.base.map(|base| &self.layers[base]) else {
            return met;
        };
        for (path, old) in base.files.paths() {
            if path.is_root() {
                continue;
            }
            let old = base.files.inode(old);
            let is_full = old.names().is_some_and(|names| !names.is_empty());
            let Ok(now) = self.files.at(&path) else {
                let parent = path.parent().map(|parent| self.files.at(&parent));
                if let Some(Ok(parent)) = parent
                    && self.files.inode(parent).is_directory()
                {
                    met.gone.push(path.clone());
                    if is_full {
                        met.gone_directories.push(path);
                    }
                }
                continue;
            };
            let now = self.files.inode(now);
            match (&old.body, &now.body) {
                (Body::Directory(_), Body::Directory(_)) if is_full => met.directories.push(path),
                (Body::File(content), Body::File(_)) if now.below && content.size() > 0 => {
                    met.files.push((path, content.size()));
                }
                (Body::Symlink(_), Body::Symlink(_)) if now.below => met.links.push(path),
                _ => met.alike.extend(hidden(old, now).map(|time| (path, time))),
            }
        }
        met
    }
}

/// The time that `now` must be given to look in kind, size and time like `old`, which is another.
fn hidden(old: &Inode, now: &Inode) -> Option<i64> {
    let is_alike = match (&old.body, &now.body) {
        (Body::File(one), Body::File(two)) => one.size() == two.size() && one != two,
        (Body::Symlink(one), Body::Symlink(two)) => one.len() == two.len() && one != two,
        _ => false,
    };
    match old.mtime {
        Mtime::At(time) if is_alike && now.mtime != old.mtime => i64::try_from(time).ok(),
        _ => None,
    }
}
