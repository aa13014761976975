//! A layer's tree against what its journal says, by what a look at each name tells.

use crate::journal::{Kind, Stated, Statement};
use rustix::fs::{FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::BorrowedFd;
use strata_driver::changeset::{EntryPath, Timestamp};
use strata_driver::{Error, Result};
use strata_sys::file::{Stat, open_in_root, statx};

/// Findings of one layer that are told; a tree that is lost as a whole says so with the first.
const MOST: usize = 100;

/// What every file system can store as a time: seconds in 32 bits.
const STORABLE: std::ops::RangeInclusive<i64> = i32::MIN as i64..=i32::MAX as i64;

/// Names that are not as the layer says, with what is wrong; and how many were looked at.
pub(super) fn compare(
    said: &Statement,
    root: BorrowedFd<'_>,
) -> Result<(u64, Vec<(String, String)>)> {
    let mut differing = Vec::new();
    let mut count = 0;
    // The attributes of a file with several names are those of whichever name came last.
    let targets: HashSet<&EntryPath> = said
        .entries
        .values()
        .filter_map(|stated| match &stated.kind {
            Kind::HardLink(target) => Some(target),
            _ => None,
        })
        .collect();
    for (path, stated) in &said.entries {
        // Where a name leads through a link of the layer, its path says nothing.
        if said.is_linked || path.is_root() {
            continue;
        }
        count += 1;
        let is_single = !targets.contains(path) && !matches!(stated.kind, Kind::HardLink(_));
        let why = match found(root, path)? {
            None => Some("it is gone".to_owned()),
            Some(stat) => difference(said, (path, stated), &stat, is_single)
                .or(target_differs(root, path, stated)?),
        };
        differing.extend(why.map(|why| (path.to_string(), why)));
        if differing.len() >= MOST {
            return Ok((count, differing));
        }
    }
    for path in &said.whiteouts {
        let is_given =
            said.is_linked || said.entries.contains_key(path) || said.below(path).next().is_some();
        if !is_given && found(root, path)?.is_some() {
            differing.push((
                path.to_string(),
                "it is there, and hidden by the layer".into(),
            ));
        }
    }
    Ok((count, differing))
}

fn found(root: BorrowedFd<'_>, path: &EntryPath) -> Result<Option<Stat>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let outcome = open_in_root(root, path.as_bytes(), flags, Mode::empty())
        .and_then(|file| statx(file, "", StatxFlags::BASIC_STATS));
    match outcome {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if error.is(Errno::NOENT) || error.is(Errno::NOTDIR) => Ok(None),
        Err(error) => Err(Error::from(error).during("check layer").with("path", path)),
    }
}

fn difference(
    said: &Statement,
    (path, stated): (&EntryPath, &Stated),
    stat: &Stat,
    is_single: bool,
) -> Option<String> {
    let (_, file) = said.linked(path)?;
    let kind = FileType::from_raw_mode(stat.mode);
    let is_kind = match &file.kind {
        Kind::File(_) => kind == FileType::RegularFile,
        Kind::Symlink(_) => kind == FileType::Symlink,
        Kind::Directory => kind == FileType::Directory,
        Kind::HardLink(_) | Kind::Special => matches!(
            kind,
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo
        ),
    };
    if !is_kind {
        return Some("it is of another type".to_owned());
    }
    if let Kind::File(size) = file.kind
        && stat.size != size
    {
        return Some(format!("it has {} bytes instead of {size}", stat.size));
    }
    if is_single && !matches!(file.kind, Kind::Directory) && !is_time(stated.metadata.mtime, stat) {
        return Some("its time of modification is another".to_owned());
    }
    let metadata = &stated.metadata;
    if is_single && (stat.uid, stat.gid) != (metadata.uid, metadata.gid) {
        return Some(format!(
            "its owner is {}:{} instead of {}:{}",
            stat.uid, stat.gid, metadata.uid, metadata.gid
        ));
    }
    let mode = stat.mode & 0o7777;
    if is_single && !matches!(file.kind, Kind::Symlink(_)) && mode != metadata.mode & 0o7777 {
        return Some(format!(
            "its mode is {mode:04o} instead of {:04o}",
            metadata.mode & 0o7777
        ));
    }
    None
}

/// Some file systems keep whole seconds, or no times beyond their range.
fn is_time(stated: Timestamp, stat: &Stat) -> bool {
    let (seconds, nanoseconds) = stat.mtime;
    !STORABLE.contains(&stated.seconds)
        || (seconds == stated.seconds && (nanoseconds == stated.nanoseconds || nanoseconds == 0))
}

fn target_differs(
    root: BorrowedFd<'_>,
    path: &EntryPath,
    stated: &Stated,
) -> Result<Option<String>> {
    let Kind::Symlink(target) = &stated.kind else {
        return Ok(None);
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let link = open_in_root(root, path.as_bytes(), flags, Mode::empty())
        .map_err(|error| Error::from(error).during("check layer").with("path", path))?;
    let found = rustix::fs::readlinkat(link, "", Vec::new())
        .map_err(|errno| Error::io("check layer", errno.into()).with("path", path))?;
    Ok((found.as_bytes() != target.as_slice()).then(|| "it leads elsewhere".to_owned()))
}
