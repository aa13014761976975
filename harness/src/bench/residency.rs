//! What the page cache holds of files that several containers see, by cachestat(2).
//!
//! A stacking driver reads through to the one file of the lower layer; a container of a copying or
//! snapshotting driver has a file of its own, cached for itself. Which it is shows without knowing
//! a driver: files of the wanted names are looked for both in the containers and anywhere on the
//! cell's file system, and each (device, inode) is counted once.

use anyhow::{Context, Result};
use rustix::fs::{Advice, FileType, Mode, OFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Device and inode.
type Identity = (u64, u64);

/// Bytes in the page cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Residency {
    /// Of files that no single container has for itself: those of the layers.
    pub base: u64,
    /// Of each container's own files.
    pub containers: Vec<u64>,
}

impl Residency {
    /// All of it.
    pub(crate) fn total(&self) -> u64 {
        self.base + self.containers.iter().sum::<u64>()
    }

    /// The mean of the containers.
    pub(crate) fn per_container(&self) -> f64 {
        let sum: u64 = self.containers.iter().sum();
        sum as f64 / self.containers.len().max(1) as f64
    }

    /// From the bytes of each file on the file system, and of each container's files.
    fn of(on_bed: &BTreeMap<Identity, u64>, seen: &[BTreeMap<Identity, u64>]) -> Self {
        let mut seers: BTreeMap<&Identity, u32> = BTreeMap::new();
        for identity in seen.iter().flat_map(BTreeMap::keys) {
            *seers.entry(identity).or_default() += 1;
        }
        let is_own = |identity: &Identity| seers.get(identity) == Some(&1);
        // What several containers see is theirs together, and so the base's.
        let mut shared = on_bed.clone();
        shared.extend(seen.iter().flatten());
        shared.retain(|identity, _| !is_own(identity));
        let own = |files: &BTreeMap<Identity, u64>| -> u64 {
            let files = files.iter().filter(|(identity, _)| is_own(identity));
            files.map(|(_, bytes)| bytes).sum()
        };
        Self {
            base: shared.values().sum(),
            containers: seen.iter().map(own).collect(),
        }
    }
}

/// The files to look at: `names` below each of `containers`, and by their last components
/// anywhere on the file system at `bed`.
#[derive(Debug)]
pub(crate) struct Watched {
    on_bed: Vec<OwnedFd>,
    in_containers: Vec<Vec<OwnedFd>>,
}

impl Watched {
    /// Opens them all.
    pub(crate) fn open(bed: &Path, names: &[PathBuf], containers: &[&Path]) -> Result<Self> {
        let wanted: BTreeSet<&OsStr> = names.iter().filter_map(|name| name.file_name()).collect();
        let mut on_bed = Vec::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(bed, flags, Mode::empty())
            .with_context(|| format!("{} cannot be read", bed.display()))?;
        find(root.as_fd(), &wanted, &mut on_bed)?;
        let open = |path: PathBuf| {
            rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .with_context(|| format!("{} cannot be read", path.display()))
        };
        let in_one = |container: &&Path| {
            let paths = names.iter().map(|name| container.join(name));
            paths.map(open).collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            on_bed,
            in_containers: containers.iter().map(in_one).collect::<Result<_>>()?,
        })
    }

    /// Drops what is cached of them; what is dirty stays.
    pub(crate) fn evict(&self) -> Result<()> {
        let all = self.in_containers.iter().flatten().chain(&self.on_bed);
        for file in all {
            rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }

    /// What is cached now; none where the kernel cannot tell (before Linux 6.5).
    pub(crate) fn residency(&self) -> Result<Option<Residency>> {
        let Some(on_bed) = cached(&self.on_bed)? else {
            return Ok(None);
        };
        let mut seen = Vec::new();
        for files in &self.in_containers {
            seen.extend(cached(files)?);
        }
        Ok(Some(Residency::of(&on_bed, &seen)))
    }
}

fn cached(files: &[OwnedFd]) -> Result<Option<BTreeMap<Identity, u64>>> {
    let page = rustix::param::page_size() as u64;
    let mut found = BTreeMap::new();
    for file in files {
        let identity = rustix::fs::fstat(file)?;
        match strata_sys::file::cachestat(file, 0, 0) {
            Ok(stat) => {
                found.insert((identity.st_dev, identity.st_ino), stat.cached * page);
            }
            Err(error) if error.is_unsupported() => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(found))
}

/// Opens the regular files of these names below `directory`. Looks at names and kinds only, so
/// that it fills no caches with attributes.
fn find(
    directory: BorrowedFd<'_>,
    wanted: &BTreeSet<&OsStr>,
    found: &mut Vec<OwnedFd>,
) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut below = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        match entry.file_type() {
            FileType::Directory if name != c"." && name != c".." => below.push(name.to_owned()),
            FileType::RegularFile if wanted.contains(OsStr::from_bytes(name.to_bytes())) => {
                found.push(rustix::fs::openat(directory, name, flags, Mode::empty())?);
            }
            _ => {}
        }
    }
    for name in below {
        let flags = flags | OFlags::DIRECTORY;
        let child = rustix::fs::openat(directory, name.as_c_str(), flags, Mode::empty())?;
        find(child.as_fd(), wanted, found)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_once_for_the_base_or_for_the_container_that_has_it() {
        let files = |list: &[(u64, u64)]| -> BTreeMap<Identity, u64> {
            list.iter()
                .map(|(ino, bytes)| ((1, *ino), *bytes))
                .collect()
        };
        // Shared: the containers' own descriptors hold nothing.
        let base = files(&[(1, 100)]);
        let through = [files(&[(8, 0)]), files(&[(9, 0)])];
        let shared = Residency::of(&base, &through);
        assert_eq!((shared.base, shared.total()), (100, 100));
        assert_eq!(shared.containers, [0, 0]);
        // Copied: what a container has is no part of the base.
        let bed = files(&[(1, 0), (2, 100), (3, 100)]);
        let copied = Residency::of(&bed, &[files(&[(2, 100)]), files(&[(3, 100)])]);
        assert_eq!((copied.base, copied.total()), (0, 200));
        assert_eq!(copied.containers, [100, 100]);
        // One file in two containers counts once, and is nobody's own.
        let same = Residency::of(&bed, &[files(&[(2, 100)]), files(&[(2, 100)])]);
        assert_eq!((same.base, same.total()), (200, 200));
        let alone = Residency::of(&files(&[]), &[files(&[(2, 100)]), files(&[(2, 100)])]);
        assert_eq!((alone.base, alone.total()), (100, 100));
    }

    #[test]
    fn reading_fills_and_evicting_empties_the_cache() {
        let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
        let bed = scratch.path().join("bed");
        fs_err::create_dir_all(bed.join("layer/d")).unwrap();
        let path = bed.join("layer/d/blob");
        fs_err::write(&path, vec![1; 1 << 20]).unwrap();
        fs_err::File::open(&path).unwrap().sync_all().unwrap();
        let layer = bed.join("layer");
        let watched = Watched::open(&bed, &["d/blob".into()], &[&layer]).unwrap();
        let Some(before) = watched.residency().unwrap() else {
            eprintln!("skipped: needs cachestat(2), Linux 6.5");
            return;
        };
        assert_eq!((before.base, before.total()), (0, 1 << 20));
        watched.evict().unwrap();
        let kind = strata_driver::Host::file_system_of(&path).unwrap();
        if kind != "tmpfs" && kind != "overlay" {
            assert!(watched.residency().unwrap().unwrap().total() < 1 << 20);
        }
    }
}
