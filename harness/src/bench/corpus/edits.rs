//! Our own layers on the large tree: files edited and added, a directory removed and made again.

use super::EDIT_TIME;
use crate::seed::Seed;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An edit of a mounted tree: root and seed.
pub(super) type Edit = fn(&Path, u64) -> Result<()>;

/// The layers, lowest first. What they touch depends on the names in the tree alone, so that
/// every cell gets the same.
pub(super) const LAYERS: &[Edit] = &[edit_and_add, remove_and_make_again];

/// Files that are edited.
const EDITED: usize = 24;
/// Files that are added, as a small package would.
const ADDED: usize = 60;

/// Sets the modification time of `path` to seconds and nanoseconds, not following a link.
pub(super) fn set_time(path: &Path, (seconds, nanoseconds): (i64, i64)) -> Result<()> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("the time of {} cannot be set", path.display()))
}

fn sorted(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn edit_and_add(root: &Path, seed: u64) -> Result<()> {
    let touched = (EDIT_TIME, 0);
    let etc = root.join("etc");
    fs_err::create_dir_all(&etc)?;
    let mut edited = 0;
    for path in sorted(&etc)? {
        let found = fs_err::symlink_metadata(&path)?;
        // A file of several names is left alone: whether all of them change is a declared quirk.
        if edited < EDITED && found.is_file() && found.nlink() == 1 {
            let mut file = fs_err::OpenOptions::new().append(true).open(&path)?;
            file.write_all(b"# edited\n")?;
            drop(file);
            set_time(&path, touched)?;
            edited += 1;
        }
    }
    let package = root.join("opt/strata-package");
    fs_err::create_dir_all(&package)?;
    let mut random = Seed(seed).generator("package");
    for number in 0..ADDED {
        let path = package.join(format!("file-{number}"));
        let length = 1024 + random.below(7 * 1024);
        fs_err::write(&path, random.bytes(length))?;
        set_time(&path, touched)?;
    }
    for directory in [package, root.join("opt"), etc] {
        set_time(&directory, touched)?;
    }
    Ok(())
}

fn remove_and_make_again(root: &Path, _seed: u64) -> Result<()> {
    let chosen = choose_directory(root)?.context("the tree has no directory to remove")?;
    fs_err::remove_dir_all(&chosen)?;
    fs_err::create_dir(&chosen)?;
    for number in 0..3 {
        let path = chosen.join(format!("again-{number}"));
        fs_err::write(&path, format!("{number}\n"))?;
        set_time(&path, (EDIT_TIME, 1))?;
    }
    set_time(&chosen, (EDIT_TIME, 1))?;
    set_time(chosen.parent().unwrap_or(root), (EDIT_TIME, 1))
}

/// The first directory, by name, that has five entries or more and stands two levels down or more.
fn choose_directory(root: &Path) -> Result<Option<PathBuf>> {
    let directories = |path: &Path| -> Result<Vec<PathBuf>> {
        let mut found = sorted(path)?;
        found.retain(|path| path.symlink_metadata().is_ok_and(|found| found.is_dir()));
        Ok(found)
    };
    // Breadth first keeps the walk short.
    let mut level = directories(root)?;
    for _ in 0..4 {
        let mut next = Vec::new();
        for parent in &level {
            for candidate in directories(parent)? {
                if sorted(&candidate)?.len() >= 5 && candidate.parent() != Some(root) {
                    return Ok(Some(candidate));
                }
                next.push(candidate);
            }
        }
        level = next;
    }
    Ok(None)
}
