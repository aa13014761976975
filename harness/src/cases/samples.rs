//! Trees that several cases start from.

use crate::edit::{Dir, Owner};
use anyhow::Result;

/// A `security.capability` value: version 2, `cap_net_raw` permitted and effective.
pub(crate) const FILE_CAPABILITY: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A POSIX ACL in its attribute form: the owner `rw`, user 1000 `r`, everybody else `r`.
pub(crate) fn access_list() -> Vec<u8> {
    access_list_of(&[
        (1, 6, u32::MAX),
        (2, 4, 1000),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 4, u32::MAX),
    ])
}

/// A default ACL for directories.
pub(crate) fn default_access_list() -> Vec<u8> {
    access_list_of(&[
        (1, 7, u32::MAX),
        (2, 5, 1001),
        (4, 5, u32::MAX),
        (16, 5, u32::MAX),
        (32, 0, u32::MAX),
    ])
}

/// Entries are tag, permissions and id, as `linux/posix_acl_xattr.h` lays them out.
fn access_list_of(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// Files, directories and links with plain modes, that any user may make.
pub(crate) fn plain(dir: &Dir) -> Result<()> {
    dir.dir("etc")?
        .file("etc/hosts", "127.0.0.1 localhost\n")?
        .file("etc/passwd", "root\n")?;
    dir.dirs("usr/share/doc")?
        .file("usr/share/doc/a", vec![b'a'; 5000])?
        .file("usr/share/doc/b", "")?;
    dir.symlink("lib", "usr/lib")?
        .dir("tmp")?
        .mode("tmp", 0o1777)?;
    dir.file("run.sh", "#!/bin/sh\n")?.mode("run.sh", 0o755)?;
    Ok(())
}

/// Everything that a changeset can carry. Needs ownership, devices and trusted attributes.
pub(crate) fn rich(dir: &Dir) -> Result<()> {
    plain(dir)?;
    dir.file("owned", "x")?.owner(
        "owned",
        Owner {
            uid: 1000,
            gid: 2000,
        },
    )?;
    dir.file("suid", "x")?
        .owner("suid", Owner { uid: 1, gid: 2 })?
        .mode("suid", 0o6755)?;
    dir.file("capable", "x")?
        .owner("capable", Owner { uid: 3, gid: 4 })?
        .xattr("capable", "security.capability", FILE_CAPABILITY)?;
    dir.file("listed", "x")?
        .xattr("listed", "system.posix_acl_access", access_list())?;
    dir.dir("inherits")?.xattr(
        "inherits",
        "system.posix_acl_default",
        default_access_list(),
    )?;
    dir.file("tagged", "x")?
        .xattr("tagged", "user.text", "two\nlines")?
        .xattr("tagged", "user.empty", "")?
        .xattr("tagged", "user.binary", [0, 255, b'\n', b'='])?
        .xattr("tagged", "trusted.t", "kept")?;
    dir.dir("tagged-dir")?.xattr("tagged-dir", "user.d", "1")?;
    dir.symlink("link", "nowhere/at/all")?
        .owner("link", Owner { uid: 5, gid: 6 })?;
    dir.xattr("link", "trusted.l", "on a link")?;
    dir.fifo("fifo")?.mode("fifo", 0o600)?;
    dir.character_device("null", (1, 3))?.mode("null", 0o666)?;
    dir.block_device("disk", (7, 200))?
        .owner("disk", Owner { uid: 0, gid: 6 })?;
    dir.file("one", "shared")?
        .hard_link("one", "two")?
        .hard_link("one", "etc/three")?;
    dir.file("hole", "start")?
        .truncate("hole", 300_000)?
        .overwrite("hole", 200_000, b"end")?;
    dir.file("late", "x")?
        .time("late", 1_234_567_890, 123_456_789)?;
    dir.file("early", "x")?.time("early", -1_000, 5)?;
    dir.time("link", 1_000_000_000, 1)?
        .time("fifo", 5, 0)?
        .time("etc", 77, 7)?;
    Ok(())
}
