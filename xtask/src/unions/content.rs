//! What callers find: trees, files and an archive, the same in every run.

use super::seeded::Seeded;
use crate::quiet::run_silently;
use fs_err::File;
use fs_err::os::unix::fs::symlink;
use std::io::Write;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// The halves of [`TREE`]; each of two threads walks one.
pub(super) const HALVES: [&str; 2] = ["left", "right"];

/// Entries below each half: 18,000 with the halves themselves.
const HALF: usize = 8_999;

/// What is walked, in the lower directory.
pub(super) const TREE: &str = "tree";

/// What is walked holds so many.
pub(super) const TREE_ENTRIES: u64 = 2 * (HALF as u64 + 1);

/// What is read, in the lower directory.
pub(super) const BIG: &str = "big";

/// What is read in the upper directory.
pub(super) const UPPER_BIG: &str = "upper-big";

/// Bytes of either.
pub(super) const BIG_BYTES: u64 = 1 << 30;

/// What is copied up, in the lower directory.
pub(super) const COPIED: &str = "copied";

/// Its bytes.
pub(super) const COPIED_BYTES: u64 = 256 << 20;

/// Entries of the archive: 45 MB.
pub(super) const ARCHIVE_ENTRIES: usize = 3_300;

/// Files of a package are small, and some are large: even over the powers of two from this on.
const LEAST_BYTES: u64 = 60;
const POWERS: u64 = 11;

const MEBIBYTE: usize = 1 << 20;

/// Makes [`TREE`] in `lower`. Nobody reads its files, so they are holes of the right sizes.
pub(super) fn tree(lower: &Path) -> anyhow::Result<()> {
    let tree = lower.join(TREE);
    fs_err::create_dir(&tree)?;
    for (seed, half) in (1..).zip(HALVES) {
        let half = tree.join(half);
        fs_err::create_dir(&half)?;
        grow(&half, HALF, Seeded::new(seed), |path, size, _| {
            Ok(File::create(path)?.set_len(size)?)
        })?;
    }
    Ok(())
}

/// Makes a tar archive of [`ARCHIVE_ENTRIES`] files, directories and symbolic links.
pub(super) fn archive(sh: &Shell, archive: &Path) -> anyhow::Result<()> {
    let packed = archive.with_extension("packed");
    fs_err::create_dir(&packed)?;
    grow(
        &packed,
        ARCHIVE_ENTRIES,
        Seeded::new(3),
        |path, size, seeded| Ok(fs_err::write(path, seeded.bytes(size as usize))?),
    )?;
    let fixed = ["--sort=name", "--mtime=@0", "--mode=u=rwX,go=rX"];
    run_silently(
        cmd!(sh, "tar --create --file={archive} --directory={packed}")
            .args(fixed)
            .args(["--owner=0", "--group=0", "--numeric-owner", "."]),
    )?;
    Ok(fs_err::remove_dir_all(&packed)?)
}

/// Makes a file of so many bytes, a whole number of MiB, with no holes in it.
pub(super) fn file(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let part = Seeded::new(4).bytes(MEBIBYTE);
    let mut file = File::create(path)?;
    for _ in 0..bytes / MEBIBYTE as u64 {
        file.write_all(&part)?;
    }
    Ok(())
}

/// Makes so many entries below `top`: one in nine a directory, one in twelve a symbolic link, and
/// files. Directories are filled mostly one after another, as those of packages are.
fn grow(
    top: &Path,
    entries: usize,
    mut seeded: Seeded,
    write: impl Fn(&Path, u64, &mut Seeded) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut directories = vec![(top.to_owned(), 0)];
    let mut current = 0;
    for number in 0..entries {
        let (parent, depth): &(PathBuf, usize) = &directories[current];
        let width = 4 + seeded.below(20) as usize;
        let path = parent.join(format!("{number:0width$x}"));
        let depth = depth + 1;
        match seeded.below(36) {
            0..4 if depth < 8 => {
                fs_err::create_dir(&path)?;
                directories.push((path, depth));
                current = if seeded.below(2) == 0 {
                    directories.len() - 1
                } else {
                    seeded.below(directories.len() as u64) as usize
                };
            }
            4..7 => symlink(format!("../{number:x}"), &path)?,
            _ => {
                let least = LEAST_BYTES << seeded.below(POWERS);
                let size = least + seeded.below(least);
                write(&path, size, &mut seeded)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{HALVES, TREE, TREE_ENTRIES, tree};
    use crate::unions::callers::walk;
    use xshell::Shell;

    #[test]
    fn tree_is_the_same_every_time_and_halves_are_alike() {
        let sh = Shell::new().unwrap();
        let made = [(); 2].map(|()| {
            let lower = sh.create_temp_dir().unwrap();
            tree(lower.path()).unwrap();
            let [left, right] = HALVES.map(|half| {
                let half = lower.path().join(TREE).join(half);
                walk(&half).unwrap()
            });
            assert_eq!(left, right);
            assert_eq!(left + right + 2, TREE_ENTRIES);
            let directory = lower.path();
            let listed = xshell::cmd!(
                sh,
                "find {directory} -mindepth 1 ( -type d -printf '%P\n' -o -printf '%P %s %l\n' )"
            );
            let listed = listed.quiet().read().unwrap();
            let mut lines: Vec<_> = listed.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        });
        assert!(made[0] == made[1], "two trees differ");
    }
}
