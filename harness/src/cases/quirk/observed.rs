//! One case a quirk: declared and not seen fails, seen and not declared fails.

use crate::prelude::*;
use rustix::io::Errno;
use std::io::{Seek as _, SeekFrom, Write as _};

fn errno_of(error: &anyhow::Error) -> Option<Errno> {
    error.chain().find_map(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.and_then(Errno::from_io_error)
            .or_else(|| cause.downcast_ref::<Errno>().copied())
    })
}

/// Upstream: `Rename` of containerd, its directory part, which it skips by the driver's name
/// (docker#25409).
pub(crate) const QUIRK_DIRECTORY_RENAME_EXDEV: Case = Case {
    name: "quirk_directory_rename_exdev",
    group: Group::Quirk,
    needs: &[],
    run: |context| {
        let [empty, _] = renames_refused(context)?;
        context.judge_quirk(
            Quirk::DirectoryRenameExdev,
            empty,
            "a lower directory was renamed",
        )
    },
};

pub(crate) const QUIRK_MERGED_DIRECTORY_RENAME_EXDEV: Case = Case {
    name: "quirk_merged_directory_rename_exdev",
    group: Group::Quirk,
    needs: &[],
    run: |context| {
        let [empty, full] = renames_refused(context)?;
        context.judge_quirk(
            Quirk::MergedDirectoryRenameExdev,
            full && !empty,
            "a lower directory with names in it was renamed, or an empty one was not",
        )
    },
};

/// Whether renaming an empty directory of the layer below is refused, and one with names.
fn renames_refused(context: &mut Context) -> Result<[bool; 2]> {
    let base = context.layer(None, |dir| {
        dir.dirs("empty")?
            .dirs("old/sub")?
            .file("old/f", "1")
            .map(drop)
    })?;
    let key = context.active(Some(&base))?;
    let live = context.mount(&key)?;
    let refused = |from: &str, to: &str| match rustix::fs::rename(live.at(from), live.at(to)) {
        Ok(()) => Ok(false),
        Err(Errno::XDEV) => Ok(true),
        Err(errno) => bail!("rename gives {errno}, neither success nor EXDEV"),
    };
    let empty = refused("empty", "moved")?;
    let full = refused("old", "new")?;
    ensure!(
        live.has("old/f") == full && live.has("new/f") != full,
        "half renamed"
    );
    ensure!(
        live.has("empty") == empty && live.has("moved") != empty,
        "half renamed"
    );
    live.unmount()?;
    context.checked_diff(Some(&base), &key)?;
    Ok([empty, full])
}

pub(crate) const QUIRK_HARD_LINK_SPLITS: Case = Case {
    name: "quirk_hard_link_splits",
    group: Group::Quirk,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            dir.file("one", "1")?.hard_link("one", "two").map(drop)
        })?;
        let key = context.active(Some(&base))?;
        let live = context.mount(&key)?;
        live.append("one", "+")?;
        let (one, two) = (live.read("one")?, live.read("two")?);
        ensure!(one == b"1+", "the written name reads {one:?}");
        live.unmount()?;
        context.checked_diff(Some(&base), &key)?;
        let detail = format!("the other name reads {:?}", String::from_utf8_lossy(&two));
        context.judge_quirk(Quirk::HardLinkSplits, two != one, &detail)
    },
};

pub(crate) const QUIRK_HELD_MAP_KEEPS_OLD_DATA: Case = Case {
    name: "quirk_held_map_keeps_old_data",
    group: Group::Quirk,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| dir.file("f", "old data").map(drop))?;
        let key = context.active(Some(&base))?;
        let live = context.mount(&key)?;
        let file = fs_err::File::open(live.at("f"))?;
        let map = strata_sys::map::SharedMap::read_only(&file, 8)?;
        ensure!(
            map.read(0, 3) == b"old",
            "the map reads {:?}",
            map.read(0, 3)
        );
        live.overwrite("f", 0, b"NEW")?;
        let seen = map.read(0, 3);
        drop((map, file));
        live.unmount()?;
        ensure!(seen == b"old" || seen == b"NEW", "the map reads {seen:?}");
        let detail = format!("the held map reads {:?}", String::from_utf8_lossy(&seen));
        context.judge_quirk(Quirk::HeldMapKeepsOldData, seen == b"old", &detail)
    },
};

pub(crate) const QUIRK_LATE_WRITER_POSSIBLE: Case = Case {
    name: "quirk_late_writer_possible",
    group: Group::Quirk,
    needs: &[],
    run: |context| {
        let key = context.active(None)?;
        let live = context.mount(&key)?;
        live.file("f", "early")?;
        let mut held = fs_err::OpenOptions::new().write(true).open(live.at("f"))?;
        // The mount goes out of sight, and the descriptor keeps it alive.
        rustix::mount::unmount(live.path(), rustix::mount::UnmountFlags::DETACH)?;
        drop(live);
        let frozen = name("frozen");
        let observed = match context.commit(&key, &frozen) {
            Err(error) if error.kind() == ErrorKind::InUse => false,
            Err(error) => return Err(error.into()),
            Ok(()) => {
                held.seek(SeekFrom::Start(0))?;
                // A write that is refused is as good as one that goes nowhere.
                let written = held.write_all(b"LATE!").and_then(|()| held.sync_all());
                let content = context.look(&frozen, |root| Ok(fs_err::read(root.join("f"))?))?;
                written.is_ok() && content == b"LATE!"
            }
        };
        drop(held);
        context.judge_quirk(
            Quirk::LateWriterPossible,
            observed,
            "a held descriptor wrote",
        )
    },
};

pub(crate) const QUIRK_DEVICE_ZERO_REFUSED: Case = Case {
    name: "quirk_device_zero_refused",
    group: Group::Quirk,
    needs: &[Capability::Devices],
    run: |context| {
        let key = context.active(None)?;
        let live = context.mount(&key)?;
        let refused = match live.character_device("zero", (0, 0)) {
            Ok(_) => false,
            Err(error) if errno_of(&error) == Some(Errno::PERM) => true,
            Err(error) => return Err(error),
        };
        ensure!(live.has("zero") != refused, "refused and made");
        live.unmount()?;
        context.judge_quirk(Quirk::DeviceZeroRefused, refused, "a device 0:0 was made")
    },
};

pub(crate) const QUIRK_HIDDEN_NAMES_COUNTED: Case = Case {
    name: "quirk_hidden_names_counted",
    group: Group::Quirk,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| {
            dir.file("one", "1")?.hard_link("one", "two").map(drop)
        })?;
        let less = context.layer(Some(&base), |dir| dir.unlink("one").map(drop))?;
        let count = context.look(&less, |root| {
            use std::os::unix::fs::MetadataExt as _;
            Ok(fs_err::metadata(root.join("two"))?.nlink())
        })?;
        ensure!((1..=2).contains(&count), "a file with one name has {count}");
        context.judge_quirk(
            Quirk::HiddenNamesCounted,
            count == 2,
            "only the name that shows was counted",
        )
    },
};

pub(crate) const QUIRK_RESERVED_NAMES: Case = Case {
    name: "quirk_reserved_names",
    group: Group::Quirk,
    needs: &[],
    run: |context| {
        let key = context.active(None)?;
        let live = context.mount(&key)?;
        let long = "n".repeat(243);
        let mut refused = Vec::new();
        for (made, wanted) in [(".wh.a", Errno::PERM), (&*long, Errno::NAMETOOLONG)] {
            refused.push(match live.file(made, "x") {
                Ok(_) => false,
                Err(error) if errno_of(&error) == Some(wanted) => true,
                Err(error) => return Err(error),
            });
        }
        live.file("n".repeat(242), "x")?;
        live.unmount()?;
        ensure!(refused[0] == refused[1], "one is refused: {refused:?}");
        context.judge_quirk(Quirk::ReservedNames, refused[0], "both names were made")
    },
};

pub(crate) const QUIRK_INODE_CHANGES: Case = Case {
    name: "quirk_inode_changes",
    group: Group::Quirk,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| dir.file("f", "1").map(drop))?;
        let key = context.active(Some(&base))?;
        let live = context.mount(&key)?;
        let before = live.inode("f")?;
        live.append("f", "2")?;
        let after = live.inode("f")?;
        live.unmount()?;
        let detail = format!("{before} before the first write, {after} after it");
        context.judge_quirk(Quirk::InodeChanges, before != after, &detail)
    },
};

/// Found by the model: a file of a lower layer gets a name in a directory of this layer, and after
/// a remount, when that was listed, another one.
pub(crate) const QUIRK_ENTRY_INODE_DIFFERS: Case = Case {
    name: "quirk_entry_inode_differs",
    group: Group::Quirk,
    needs: &[],
    run: |context| {
        use std::os::unix::fs::DirEntryExt as _;
        let base = context.layer(None, |dir| dir.file("f", "1").map(drop))?;
        let key = context.active(Some(&base))?;
        context.edit(&key, |dir| {
            dir.dir("new")?.hard_link("f", "new/one").map(drop)
        })?;
        let live = context.mount(&key)?;
        ensure!(live.names("new")? == ["one"], "the link is gone");
        live.hard_link("f", "new/two")?;
        let mut differs = false;
        for entry in fs_err::read_dir(live.at("new"))? {
            let entry = entry?;
            let name = format!("new/{}", entry.file_name().to_string_lossy());
            differs |= entry.ino() != live.inode(name)?;
        }
        live.unmount()?;
        context.judge_quirk(Quirk::EntryInodeDiffers, differs, "a hard link was listed")
    },
};

pub(crate) const QUIRK_SMALL_HOLES_FILLED: Case = Case {
    name: "quirk_small_holes_filled",
    group: Group::Quirk,
    needs: &[],
    run: |context| {
        const SIZE: u64 = 900 << 10;
        let base = context.layer(None, |dir| {
            dir.file("f", "1")?
                .truncate("f", SIZE)?
                .append("f", "2")
                .map(drop)
        })?;
        let key = context.active(Some(&base))?;
        let live = context.mount(&key)?;
        live.append("f", "3")?;
        let taken = rustix::fs::stat(live.at("f"))?.st_blocks.unsigned_abs() * 512;
        live.unmount()?;
        let detail = format!("{taken} bytes are taken by a file of three");
        context.judge_quirk(Quirk::SmallHolesFilled, taken > SIZE / 2, &detail)
    },
};

/// Found by the model: a directory of a lower layer is removed and made again, and cannot replace
/// one that is not empty.
pub(crate) const QUIRK_REFUSED_RENAME_TOUCHES: Case = Case {
    name: "quirk_refused_rename_touches",
    group: Group::Quirk,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| dir.dir("again").map(drop))?;
        let key = context.active(Some(&base))?;
        let live = context.mount(&key)?;
        fs_err::remove_dir(live.at("again"))?;
        live.dir("again")?.dir("full")?.file("full/f", "1")?;
        let before = fs_err::symlink_metadata(live.path())?.modified()?;
        let refused = fs_err::rename(live.at("again"), live.at("full"));
        ensure!(
            refused.is_err(),
            "a directory that is not empty was replaced"
        );
        let after = fs_err::symlink_metadata(live.path())?.modified()?;
        live.unmount()?;
        let detail = format!("{before:?} before the refusal, {after:?} after it");
        context.judge_quirk(Quirk::RefusedRenameTouches, before != after, &detail)
    },
};
