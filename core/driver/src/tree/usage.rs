//! The space that a directory tree holds.

use super::inode::errno;
use super::names::Names;
use super::trail::Trail;
use crate::counters::Counters;
use crate::error::Result;
use crate::snapshot::{Bytes, Inodes, Usage};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use strata_sys::dir::DirectoryReader;

/// Allocated bytes (`st_blocks`) and inodes of `directory` and everything below it, each inode
/// once. Blocks that are shared with other files count.
pub fn usage(directory: BorrowedFd<'_>, counters: &Counters) -> Result<Usage> {
    let trail = Trail::root("usage");
    let mut sum = Sum::default();
    let root = rustix::fs::fstat(directory)
        .map_err(|errno| trail.error("read the attributes", c"", errno))?;
    sum.add(&root);
    let mut reader = DirectoryReader::new();
    let mut open = vec![enter(directory, c".", trail, (&mut reader, &mut sum))?];
    while let Some(level) = open.last_mut() {
        let Some(name) = level.subfolders.pop() else {
            open.pop();
            continue;
        };
        let trail = level.trail.below(&name);
        let next = enter(
            level.directory.as_fd(),
            &name,
            trail,
            (&mut reader, &mut sum),
        )?;
        open.push(next);
    }
    counters.add_entries_walked(sum.walked);
    Ok(Usage {
        bytes: Bytes(sum.blocks * 512),
        inodes: Inodes(sum.inodes),
        shared: None,
    })
}

struct Level {
    trail: Arc<Trail>,
    directory: OwnedFd,
    subfolders: Vec<CString>,
}

#[derive(Default)]
struct Sum {
    blocks: u64,
    inodes: u64,
    walked: u64,
    linked: HashSet<(u64, u64)>,
}

impl Sum {
    fn add(&mut self, stat: &Stat) {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if directory || stat.st_nlink == 1 || self.linked.insert((stat.st_dev, stat.st_ino)) {
            self.blocks += stat.st_blocks.unsigned_abs();
            self.inodes += 1;
        }
    }
}

/// Opens a directory and adds what is in it.
fn enter(
    above: BorrowedFd<'_>,
    name: &CStr,
    trail: Arc<Trail>,
    (reader, sum): (&mut DirectoryReader, &mut Sum),
) -> Result<Level> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(above, name, flags, Mode::empty())
        .map_err(|errno| trail.error("open the directory", c"", errno))?;
    let mut names = Names::default();
    names
        .read(reader, directory.as_fd())
        .map_err(|error| trail.error("read the directory", c"", errno(&error)))?;
    let mut subfolders = Vec::new();
    for name in names.iter() {
        let stat = rustix::fs::statat(&directory, name.text, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| trail.error("read the attributes", name.text, errno))?;
        sum.add(&stat);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            subfolders.push(name.text.to_owned());
        }
    }
    sum.walked += names.len() as u64;
    Ok(Level {
        trail,
        directory,
        subfolders,
    })
}
