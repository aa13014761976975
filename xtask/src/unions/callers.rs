//! What is done on a mount: by this process where system calls are what is meant, and so at the
//! same small cost everywhere; by the usual tools where they are.

use super::content::BIG_BYTES;
use super::seeded::Seeded;
use crate::quiet::run_silently;
use anyhow::ensure;
use fs_err::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

const PAGE: usize = 4096;

/// Of one read(2), so large that calls do not count.
const BUFFER: usize = 1 << 20;

const RANDOM_READS: usize = 60_000;

const SMALL_FILES: usize = 2_000;

/// How many walk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Threads {
    One,
    OneEach,
}

/// Looks at every entry below `directory` (getdents64 and statx), and counts them.
pub(super) fn walk(directory: &Path) -> anyhow::Result<u64> {
    let mut entries = 0;
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        entries += 1;
        if entry.metadata()?.is_dir() {
            entries += walk(&entry.path())?;
        }
    }
    Ok(entries)
}

/// Walks directories, by one thread one after the other or by a thread for each.
pub(super) fn walk_by(threads: Threads, directories: &[PathBuf]) -> anyhow::Result<u64> {
    match threads {
        Threads::One => directories.iter().map(|directory| walk(directory)).sum(),
        Threads::OneEach => std::thread::scope(|scope| {
            let walks: Vec<_> = directories
                .iter()
                .map(|directory| scope.spawn(|| walk(directory)))
                .collect();
            let ended = walks
                .into_iter()
                .map(|walk| walk.join().expect("a walk does not panic"));
            ended.sum()
        }),
    }
}

/// Reads a file from end to end, and gives its bytes.
pub(super) fn read(path: &Path) -> anyhow::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(bytes),
            some => bytes += some as u64,
        }
    }
}

/// Reads pages of a file that has [`BIG_BYTES`], here and there.
pub(super) fn read_pages(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path)?;
    let mut seeded = Seeded::new(5);
    let mut page = [0; PAGE];
    for _ in 0..RANDOM_READS {
        let at = seeded.below(BIG_BYTES / PAGE as u64) * PAGE as u64;
        file.file().read_exact_at(&mut page, at)?;
    }
    Ok(())
}

/// Makes small files in a directory of its own, and takes them away again.
pub(super) fn small_files(directory: &Path) -> anyhow::Result<()> {
    let page = [b'x'; PAGE];
    let names: Vec<_> = (0..SMALL_FILES)
        .map(|number| directory.join(number.to_string()))
        .collect();
    for name in &names {
        File::create_new(name)?.write_all(&page)?;
    }
    for name in &names {
        fs_err::remove_file(name)?;
    }
    Ok(())
}

/// Unpacks `archive` into `directory`.
pub(super) fn unpack(sh: &Shell, archive: &Path, directory: &Path) -> anyhow::Result<()> {
    run_silently(cmd!(sh, "tar -xf {archive} -C {directory}"))
}

/// Takes `directory` away with all that is in it.
pub(super) fn remove(sh: &Shell, directory: &Path) -> anyhow::Result<()> {
    run_silently(cmd!(sh, "rm -rf -- {directory}"))?;
    ensure!(!directory.exists(), "`rm -rf` left something");
    Ok(())
}

/// Writes the first byte of a file.
pub(super) fn write_one(path: &Path) -> anyhow::Result<()> {
    let mut file = fs_err::OpenOptions::new().write(true).open(path)?;
    file.write_all(b"x")?;
    Ok(())
}
