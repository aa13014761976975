//! Reading directories: the names of all parts, each once.

use super::branch::SysErrorOnly;
use super::lookup::top;
use super::names::{self, Meaning};
use super::node::{Directory, Node};
use super::place::{errno, file_type, find_at};
use super::state::Union;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use strata_fuse::{DirectorySink, NodeId, ReaddirKind};
use strata_sys::dir::DirectoryReader;

/// Offsets 1 and 2 stand for `.` and `..`.
const FIRST: u64 = 2;

/// A name as it was listed.
#[derive(Debug)]
struct Listed {
    name: CString,
    kind: FileType,
    /// Number in the branch.
    inode: u64,
    part: u16,
    place: u64,
}

/// A directory that callers read.
///
/// A name has its place by a hash of it, as in ext4: a listing goes on after a place whatever came
/// and went meanwhile, and gives no name twice. So what is kept here can be found out anew at any
/// time.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    names: Mutex<Arc<Vec<Listed>>>,
}

impl Reading {
    /// The names in order of places: found out anew by who begins.
    fn from(
        &self,
        offset: u64,
        fresh: impl FnOnce() -> Result<Vec<Listed>, Errno>,
    ) -> Result<Arc<Vec<Listed>>, Errno> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 || names.is_empty() {
            let mut fresh = fresh()?;
            fresh.sort_unstable_by_key(|listed| listed.place);
            *names = Arc::new(fresh);
        }
        Ok(names.clone())
    }

    /// Somebody came to the end.
    fn end(&self) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }
}

/// The place of a name; after those of `.` and `..`, and a positive `off_t`.
fn place(places: &RandomState, name: &CStr) -> u64 {
    (places.hash_one(name.to_bytes()) >> 2) + FIRST + 1
}

/// Opens a directory to read it.
pub(crate) fn open_to_read(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, ".", flags, Mode::empty())
}

/// Likewise for ourselves, which is no access of a caller's.
pub(crate) fn open_to_look(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, ".", flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(directory, ".", flags, Mode::empty()),
        other => other,
    }
}

fn listed(
    places: &RandomState,
    directory: &Directory,
    open: fn(&OwnedFd) -> Result<OwnedFd, Errno>,
) -> Result<Vec<Listed>, Errno> {
    let mut names: Vec<Listed> = Vec::new();
    let mut hidden: HashSet<Box<[u8]>> = HashSet::new();
    let mut reader = DirectoryReader::new();
    let last = directory.parts.len() - 1;
    for (index, part) in directory.parts.iter().enumerate() {
        let open = open(&part.directory)?;
        let mut whiteouts = Vec::new();
        let mut opaque = false;
        let begin = names.len();
        reader
            .read(&open, |entry| -> Result<(), SysErrorOnly> {
                match names::meaning(entry.name) {
                    Meaning::Name => {
                        if !hidden.contains(entry.name_bytes()) {
                            names.push(Listed {
                                name: entry.name.to_owned(),
                                kind: entry.file_type,
                                inode: entry.inode,
                                part: index as u16,
                                place: place(places, entry.name),
                            });
                        }
                    }
                    Meaning::Whiteout(name) => whiteouts.push(Box::from(name)),
                    Meaning::Opaque => opaque = true,
                    Meaning::Reserved => {}
                }
                Ok(())
            })
            .map_err(|error| errno(&error.0))?;
        if index < last {
            let here = names[begin..].iter();
            hidden.extend(here.map(|listed| Box::from(listed.name.to_bytes())));
            if part.branch.whiteouts {
                hidden.extend(whiteouts.iter().cloned());
            }
        }
        part.marks.learn(whiteouts.into_iter(), opaque);
    }
    for listed in &mut names {
        if listed.kind == FileType::Unknown {
            let part = &directory.parts[usize::from(listed.part)];
            if let Some(stat) = find_at(part.directory.as_fd(), &listed.name)? {
                listed.kind = file_type(&stat);
            }
        }
    }
    Ok(names)
}

/// The names that a directory shows.
pub(crate) fn names_of(directory: &Directory) -> Result<Vec<CString>, Errno> {
    let names = listed(&RandomState::new(), directory, open_to_look)?.into_iter();
    Ok(names.map(|listed| listed.name).collect())
}

/// Whether a directory shows no name at all.
pub(crate) fn is_empty(directory: &Directory) -> Result<bool, Errno> {
    Ok(listed(&RandomState::new(), directory, open_to_look)?.is_empty())
}

/// Whether names of parts below the topmost one show, or would if it did not have them: such a
/// directory cannot be renamed.
pub(crate) fn shows_from_below(directory: &Directory, above: usize) -> Result<bool, Errno> {
    let mut hidden: HashSet<Box<[u8]>> = HashSet::new();
    let mut found = false;
    let mut reader = DirectoryReader::new();
    for (index, part) in directory.parts.iter().enumerate() {
        let open = open_to_look(&part.directory)?;
        reader
            .read(&open, |entry| -> Result<(), SysErrorOnly> {
                match names::meaning(entry.name) {
                    Meaning::Name => {
                        found |= index >= above && !hidden.contains(entry.name_bytes());
                    }
                    Meaning::Whiteout(name) if part.branch.whiteouts => {
                        hidden.insert(name.into());
                    }
                    _ => {}
                }
                Ok(())
            })
            .map_err(|error| errno(&error.0))?;
    }
    Ok(found)
}

impl Union {
    /// Lists from `offset`.
    pub(crate) fn list(
        &self,
        node: &Arc<Node>,
        open: &Reading,
        offset: u64,
        kind: ReaddirKind,
        sink: &mut dyn DirectorySink,
    ) -> Result<(), Errno> {
        let directory = node.directory()?;
        let names = open.from(offset, || {
            if directory.removed {
                Ok(Vec::new())
            } else {
                listed(&self.places, &directory, open_to_read)
            }
        })?;
        let directory_bits = FileType::Directory.as_raw_mode();
        if offset < 1 && !Self::dot(c".", node.number(), directory_bits, 1, kind, sink) {
            return Ok(());
        }
        if offset < FIRST {
            let above = directory
                .home
                .as_ref()
                .map_or(node.number(), |(up, _)| up.number());
            if !Self::dot(c"..", above, directory_bits, FIRST, kind, sink) {
                return Ok(());
            }
        }
        let ttl = self.name_ttl(&directory);
        let begin = names.partition_point(|listed| listed.place <= offset);
        // Until the first part that may change, what was listed is what is there.
        let fixed = directory
            .parts
            .iter()
            .take_while(|part| !part.branch.is_writable());
        let fixed = fixed.count();
        for listed in &names[begin..] {
            let next = listed.place;
            let part = usize::from(listed.part);
            if part >= directory.parts.len() {
                continue;
            }
            let fits = match kind {
                ReaddirKind::Plain => {
                    let ino = Self::listed_number(&directory, listed);
                    sink.name(&listed.name, ino, listed.kind.as_raw_mode(), next)
                }
                ReaddirKind::Plus => {
                    let from = if part < fixed { part } else { 0 };
                    let Some(top) = top(&directory, from, &listed.name)? else {
                        continue;
                    };
                    let entry = self.entry_of(node, &directory, &listed.name, &top, ttl);
                    match entry {
                        Ok(entry) => {
                            let fits = sink.entry(&listed.name, &entry, next);
                            if !fits {
                                self.table.forget(entry.node, 1);
                            }
                            fits
                        }
                        Err(_) => continue,
                    }
                }
            };
            if !fits {
                return Ok(());
            }
        }
        if begin >= names.len() {
            open.end();
        }
        Ok(())
    }

    fn dot(
        name: &CStr,
        ino: u64,
        bits: u32,
        next: u64,
        kind: ReaddirKind,
        sink: &mut dyn DirectorySink,
    ) -> bool {
        match kind {
            ReaddirKind::Plain => sink.name(name, ino, bits, next),
            ReaddirKind::Plus => {
                let mut entry = Self::no_entry(strata_fuse::Ttl::ZERO);
                entry.node = NodeId(0);
                entry.attr.ino = ino;
                entry.attr.mode = bits;
                sink.entry(name, &entry, next)
            }
        }
    }

    /// The number that stat(2) would give.
    fn listed_number(directory: &Directory, listed: &Listed) -> u64 {
        let part = &directory.parts[usize::from(listed.part)];
        let numbers = part.branch.numbers.as_ref();
        if numbers.is_some_and(|numbers| numbers.may_know(listed.inode))
            && let Ok(Some(stat)) = find_at(part.directory.as_fd(), &listed.name)
        {
            return part.branch.number(&stat);
        }
        part.branch.raw_number(listed.inode)
    }
}
