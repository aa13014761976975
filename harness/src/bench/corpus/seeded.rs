//! A generated tree of the shape of a small distribution.

use crate::seed::{Generator, Seed};
use anyhow::Result;
use rustix::fs::XattrFlags;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Directories, as many as a minimal Debian has.
const DIRECTORIES: usize = 900;
/// Regular files.
const FILES: usize = 5_000;
/// Bytes of all files together, about.
const BYTES: usize = 120_000_000;

/// A size such that four fifths are below 4 KiB and few files hold most bytes.
fn size(random: &mut Generator) -> usize {
    match random.below(1000) {
        0..800 => 64 + random.below(4_000),
        800..970 => 4_096 + random.below(60_000),
        970..997 => 65_536 + random.below(900_000),
        _ => 1_000_000 + random.below(5_000_000),
    }
}

/// Makes the tree at `root`, which must not exist, with one in `share` of its files and
/// directories. The same seed gives the same tree.
pub(super) fn make(root: &Path, seed: u64, share: usize) -> Result<()> {
    let mut random = Seed(seed).generator("seeded root file system");
    fs_err::create_dir(root)?;
    let mut directories = vec![root.to_owned()];
    for top in ["bin", "etc", "lib", "usr", "var", "opt"] {
        directories.push(root.join(top));
    }
    while directories.len() < DIRECTORIES / share {
        let parent = random.pick(&directories[1..]).clone();
        if parent.components().count() < root.components().count() + 8 {
            directories.push(parent.join(format!("d{:03}", directories.len())));
        }
    }
    for directory in &directories[1..] {
        fs_err::create_dir_all(directory)?;
    }
    let mut left = BYTES / share;
    for number in 0..FILES / share {
        let directory = if number < 120 {
            root.join("etc")
        } else {
            random.pick(&directories[1..]).clone()
        };
        let path = directory.join(format!("f{number:04}"));
        let length = size(&mut random).min(left);
        left -= length;
        fs_err::write(&path, random.bytes(length))?;
        let mode = match number % 100 {
            0 => 0o4755,
            1..30 => 0o755,
            _ => 0o644,
        };
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        match number % 40 {
            0 => fs_err::hard_link(&path, path.with_extension("link"))?,
            1..6 => {
                fs_err::os::unix::fs::symlink(format!("f{number:04}"), path.with_extension("so"))?;
            }
            6 => rustix::fs::lsetxattr(&path, c"user.origin", b"seeded", XattrFlags::empty())?,
            _ => {}
        }
    }
    // Deepest first, since making an entry changes its directory's time.
    directories.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for directory in &directories {
        for entry in fs_err::read_dir(directory)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                set_time(&entry.path())?;
            }
        }
        set_time(directory)?;
    }
    Ok(())
}

/// Gives `path` the time of the seeded tree, nanoseconds included.
fn set_time(path: &Path) -> Result<()> {
    super::edits::set_time(path, (1_600_000_000, 123_456_789))
}
