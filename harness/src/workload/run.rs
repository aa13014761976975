//! Runs the operations of one layer below a directory.

use super::{Operation, UserLayer};
use anyhow::Context as _;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Runs `layer` below `root`; `seed` decides the contents. Nothing outside `root` is touched.
pub fn run_layer(layer: &UserLayer, root: impl AsFd, seed: u64) -> anyhow::Result<()> {
    let root = root.as_fd();
    (0..layer.ops.len()).try_for_each(|index| run_operation(layer, index, root, seed))
}

/// Runs the operation `index` of `layer`, as [`run_layer`] does.
pub(super) fn run_operation(
    layer: &UserLayer,
    index: usize,
    root: BorrowedFd<'_>,
    seed: u64,
) -> anyhow::Result<()> {
    let operation = &layer.ops[index];
    let seed = seed
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(index as u64);
    run(operation, root, seed).with_context(|| format!("operation {index}: {operation}"))
}

fn run(operation: &Operation, root: BorrowedFd<'_>, seed: u64) -> anyhow::Result<()> {
    match operation {
        Operation::Mkdir { path } => make_directories(root, path)?,
        Operation::Write { path, size } => {
            let file = open(root, path, OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY)?;
            write_content(&file, 0, *size, seed)?;
        }
        Operation::Fill { path, count, size } => {
            make_directories(root, path)?;
            for number in 0..*count {
                let file = open(
                    root,
                    &format!("{path}/{number}"),
                    OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY,
                )?;
                write_content(&file, 0, *size, seed ^ u64::from(number))?;
            }
        }
        Operation::Append { path, size } => {
            let file = open(root, path, OFlags::WRONLY)?;
            let end = rustix::fs::fstat(&file)?.st_size as u64;
            write_content(&file, end, *size, seed)?;
        }
        Operation::Patch { path, offset, size } => {
            write_content(&open(root, path, OFlags::WRONLY)?, *offset, *size, seed)?;
        }
        Operation::Truncate { path, size } => {
            rustix::fs::ftruncate(open(root, path, OFlags::WRONLY)?, *size)?;
        }
        Operation::Remove { path } => remove(root, path)?,
        Operation::Rename { from, to } => {
            let ((old, old_name), (new, new_name)) = (parent(root, from)?, parent(root, to)?);
            rustix::fs::renameat(&old, old_name, &new, new_name)?;
        }
        Operation::Link { from, to } => {
            let ((old, old_name), (new, new_name)) = (parent(root, from)?, parent(root, to)?);
            rustix::fs::linkat(&old, old_name, &new, new_name, AtFlags::empty())?;
        }
        Operation::Symlink { path, target } => {
            let (directory, name) = parent(root, path)?;
            rustix::fs::symlinkat(target.as_str(), &directory, name)?;
        }
        Operation::Chmod { path, mode } => {
            let bits = u32::from_str_radix(mode, 8)?;
            rustix::fs::fchmod(open(root, path, OFlags::RDONLY)?, Mode::from_raw_mode(bits))?;
        }
        Operation::Chown { path, uid, gid } => {
            let (directory, name) = parent(root, path)?;
            rustix::fs::chownat(
                &directory,
                name,
                Some(Uid::from_raw(*uid)),
                Some(Gid::from_raw(*gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        Operation::Xattr { path, name, value } => {
            let file = open(root, path, OFlags::RDONLY)?;
            rustix::fs::fsetxattr(file, name.as_str(), value.as_bytes(), XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// Opens below `root`; symbolic links are followed inside it, as a container would.
pub(super) fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat2(
        root,
        path,
        flags | OFlags::CLOEXEC,
        if flags.contains(OFlags::CREATE) {
            Mode::from_raw_mode(0o644)
        } else {
            Mode::empty()
        },
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

fn parent<'a>(root: BorrowedFd<'_>, path: &'a str) -> rustix::io::Result<(OwnedFd, &'a str)> {
    let (directory, name) = path.rsplit_once('/').unwrap_or((".", path));
    Ok((
        open(root, directory, OFlags::PATH | OFlags::DIRECTORY)?,
        name,
    ))
}

fn make_directories(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<()> {
    let ends = path
        .match_indices('/')
        .map(|(end, _)| end)
        .chain([path.len()]);
    for end in ends {
        let (directory, name) = parent(root, &path[..end])?;
        match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn remove(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<()> {
    let (directory, name) = parent(root, path)?;
    remove_at(directory.as_fd(), name.as_ref())
}

fn remove_at(directory: BorrowedFd<'_>, name: &std::ffi::OsStr) -> rustix::io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(rustix::io::Errno::ISDIR) => {}
        other => return other,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&inner)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(std::ffi::OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
        }
    }
    for child in names {
        remove_at(inner.as_fd(), &child)?;
    }
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
}

/// Writes `size` bytes made from `seed` at `offset`: splitmix64, so that nothing compresses or
/// deduplicates by accident.
fn write_content(file: &OwnedFd, offset: u64, size: u64, mut seed: u64) -> anyhow::Result<()> {
    let mut block = vec![0_u8; (size.min(256 * 1024)) as usize];
    let mut written = 0;
    while written < size {
        for chunk in block.chunks_mut(8) {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut word = seed;
            word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
        }
        let wanted = (size - written).min(block.len() as u64) as usize;
        let done = rustix::io::pwrite(file, &block[..wanted], offset + written)?;
        written += done as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_change_only_what_they_name() {
        let directory = tempfile::tempdir().unwrap();
        let root = rustix::fs::open(
            directory.path(),
            OFlags::PATH | OFlags::DIRECTORY,
            Mode::empty(),
        )
        .unwrap();
        let layer = |ops: Vec<Operation>| UserLayer { ops };
        let path = |text: &str| text.to_owned();
        run_layer(
            &layer(vec![
                Operation::Fill {
                    path: path("a/b"),
                    count: 3,
                    size: 10,
                },
                Operation::Append {
                    path: path("a/b/1"),
                    size: 5,
                },
                Operation::Rename {
                    from: path("a/b/2"),
                    to: path("a/c"),
                },
                Operation::Remove {
                    path: path("a/b/0"),
                },
            ]),
            &root,
            1,
        )
        .unwrap();
        let length =
            |name: &str| fs_err::metadata(directory.path().join(name)).map_or(0, |meta| meta.len());
        assert_eq!(
            (length("a/b/1"), length("a/c"), length("a/b/0")),
            (15, 10, 0)
        );
        run_layer(
            &layer(vec![Operation::Remove { path: path("a") }]),
            &root,
            1,
        )
        .unwrap();
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 0);
    }
}
