//! Link groups of a copy: the first name met is copied, the others are linked to it at the end.
//!
//! Linking at the end needs no open file per group and no thread that waits for another. It changes
//! times of directories that were finished, so those are put back.

use super::attributes::{set_times, times_of};
use super::inode::Inode;
use super::record::Row;
use super::trail::Trail;
use crate::error::Result;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// An inode of the source.
type Key = (u64, u64);

/// A name in the copy.
#[derive(Debug)]
struct Place {
    directory: Arc<Trail>,
    name: CString,
}

/// What is to be linked.
#[derive(Debug, Default)]
pub(super) struct Links {
    first: HashMap<Key, Arc<Place>>,
    later: Vec<(Place, Arc<Place>, Key)>,
}

/// What became of a name with several links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is the first of its group: copy it.
    First,
    /// It will be linked.
    Later,
}

impl Links {
    /// Takes notice of `name`, one of several of the inode `stat`.
    pub(super) fn meet(
        links: &Mutex<Self>,
        directory: &Arc<Trail>,
        name: &CStr,
        stat: &Stat,
    ) -> Turn {
        let place = Place {
            directory: Arc::clone(directory),
            name: name.to_owned(),
        };
        let key = (stat.st_dev, stat.st_ino);
        let mut links = links.lock().unwrap_or_else(PoisonError::into_inner);
        match links.first.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(Arc::new(place));
                Turn::First
            }
            Entry::Occupied(first) => {
                let first = Arc::clone(first.get());
                links.later.push((place, first, key));
                Turn::Later
            }
        }
    }

    /// Makes the links below `root`; tells how many, and records what they changed.
    pub(super) fn make(
        mut self,
        root: BorrowedFd<'_>,
        record: Option<&mut Vec<Row>>,
    ) -> Result<u64> {
        let count = self.later.len() as u64;
        // Names of one directory together, so that it is opened once.
        self.later
            .sort_by_cached_key(|(place, ..)| place.directory.path());
        let mut made = Vec::new();
        let mut opened: Option<(Arc<Trail>, OwnedFd, Stat)> = None;
        for (place, first, (_, source)) in &self.later {
            let here = match &opened {
                Some((trail, directory, _)) if Arc::ptr_eq(trail, &place.directory) => directory,
                _ => {
                    leave(opened.take())?;
                    let directory = open(root, &place.directory)?;
                    let stat = stat(directory.as_fd(), c"", &place.directory)?;
                    &opened
                        .insert((Arc::clone(&place.directory), directory, stat))
                        .1
                }
            };
            let blame = |errno| place.directory.error("link the copy", &place.name, errno);
            let there = open(root, &first.directory)?;
            let flags = AtFlags::empty();
            rustix::fs::linkat(&there, &*first.name, here, &*place.name, flags).map_err(blame)?;
            if record.is_some() {
                made.push((*source, stat(here.as_fd(), &place.name, &place.directory)?));
            }
        }
        leave(opened.take())?;
        if let Some(rows) = record {
            rows.extend(made.iter().map(|(source, stat)| Row::new(*source, stat)));
        }
        Ok(count)
    }
}

/// Gives a directory the times back that it had before names were linked into it.
fn leave(opened: Option<(Arc<Trail>, OwnedFd, Stat)>) -> Result<()> {
    let Some((trail, directory, stat)) = opened else {
        return Ok(());
    };
    set_times(Inode::Open(directory.as_fd()), &times_of(&stat))
        .map_err(|errno| trail.error("set times", c"", errno))
}

fn stat(directory: BorrowedFd<'_>, name: &CStr, trail: &Trail) -> Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    rustix::fs::statat(directory, name, flags)
        .map_err(|errno| trail.error("read the attributes", name, errno))
}

/// Opens a directory of the copy, a component at a time: its path may be longer than the kernel
/// takes at once.
fn open(root: BorrowedFd<'_>, trail: &Trail) -> Result<OwnedFd> {
    let blame = |errno| trail.error("open the directory", c"", errno);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |from: BorrowedFd<'_>, name: &[u8]| {
        rustix::fs::openat(from, name, flags, Mode::empty()).map_err(blame)
    };
    let mut directory = open(root, b".")?;
    let path = trail.path();
    for name in path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
    {
        directory = open(directory.as_fd(), name)?;
    }
    Ok(directory)
}
