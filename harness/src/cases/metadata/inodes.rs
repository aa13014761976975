//! Inode numbers while layers are written.

use crate::prelude::*;
use std::os::unix::fs::MetadataExt as _;

/// Upstream: `DirectoryInodeStability`, unwritten in containerd.
pub(crate) const DIRECTORY_INODE_IS_STABLE: Case = Case {
    name: "directory_inode_is_stable",
    group: Group::Metadata,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| dir.dirs("d/e")?.file("d/f", "1").map(drop))?;
        let key = context.active(Some(&base))?;
        let live = context.mount(&key)?;
        let held = fs_err::File::open(live.at("d"))?;
        let before = live.inode("d")?;
        live.file("d/new", "1")?.unlink("d/f")?.mode("d", 0o700)?;
        let after = live.inode("d")?;
        let seen = held.metadata()?.ino();
        drop(held);
        ensure!(
            before == after,
            "the directory's inode went from {before} to {after}"
        );
        ensure!(
            seen == before,
            "the held directory says {seen} and not {before}"
        );
        live.unmount()
    },
};

/// Upstream: `OpenFileInodeStability`, unwritten in containerd.
pub(crate) const OPEN_FILE_INODE_IS_STABLE: Case = Case {
    name: "open_file_inode_is_stable",
    group: Group::Metadata,
    needs: &[],
    run: |context| {
        let key = context.active(None)?;
        let live = context.mount(&key)?;
        live.file("own", "1")?;
        let held = fs_err::File::open(live.at("own"))?;
        let before = held.metadata()?.ino();
        live.append("own", "2")?
            .mode("own", 0o600)?
            .rename("own", "moved")?;
        let (by_name, by_handle) = (live.inode("moved")?, held.metadata()?.ino());
        drop(held);
        ensure!(
            by_handle == before,
            "the open file's inode went from {before} to {by_handle}"
        );
        ensure!(
            by_name == before,
            "its name says {by_name} and not {before}"
        );
        live.unmount()
    },
};

/// What readdir(3) says of an inode is what stat(2) says.
pub(crate) const LISTED_INODES_ARE_TRUE: Case = Case {
    name: "listed_inodes_are_true",
    group: Group::Metadata,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            dir.file("a", "1")?.dir("d")?.file("b", "2").map(drop)
        })?;
        let key = context.active(Some(&base))?;
        let live = context.mount(&key)?;
        live.file("c", "3")?.append("a", "x")?.file("d/up", "1")?;
        let handle = fs_err::File::open(live.path())?;
        for entry in rustix::fs::Dir::read_from(&handle)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let (listed, stat) = (entry.ino(), live.inode(name)?);
                let shown = name.escape_ascii();
                ensure!(
                    listed == stat,
                    "`{shown}` is listed as {listed} and is {stat}"
                );
            }
        }
        drop(handle);
        live.unmount()
    },
};
