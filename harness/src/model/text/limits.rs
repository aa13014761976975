//! What scripts can say: where file systems differ, or hosts run out of memory, they say nothing.

use crate::model::operation::{Data, FileOperation as Op, Operation, Special};
use crate::tree::TreePath;
use anyhow::{Result, ensure};

/// Bytes of a file: the model holds them in memory.
const LARGEST_FILE: u64 = 64 << 20;
/// Bytes of a path: system calls take 4,096 with what stands before it.
const LONGEST_PATH: usize = 3500;
/// Bytes of a symbolic link's target: xfs takes 1,023.
const LONGEST_TARGET: usize = 1023;
/// Bytes of an attribute's name, and of its value with room for others: ext4 has 4 KiB for all.
const LONGEST_KEY: usize = 255;
const LONGEST_VALUE: usize = 2048;
/// Major and minor numbers that Linux keeps: `include/linux/kdev_t.h`.
const LARGEST_DEVICE: (u32, u32) = (0xfff, 0xf_ffff);
/// What ext4 takes for a time without changing it: seconds in 32 bits before 1970.
const EARLIEST: i64 = -(1 << 31) * 1_000_000_000;
/// Not an owner: chown(2) leaves it.
const NO_OWNER: u32 = u32::MAX;

/// Refuses what means something else on each file system, or nothing.
pub(super) fn check(operation: &Operation) -> Result<()> {
    let Operation::File(operation) = operation else {
        return Ok(());
    };
    for path in operation.paths() {
        check_path(path)?;
    }
    match operation {
        Op::Write { at, data, .. }
        | Op::MapWrite { at, data, .. }
        | Op::HeldWrite { at, data, .. } => check_range(*at, u64::from(data.length)),
        Op::Append { data, .. } | Op::Rewrite { data, .. } | Op::Tmpfile { data, .. } => {
            check_data(*data)
        }
        Op::Truncate { size, .. } | Op::HeldTruncate { size, .. } => check_range(*size, 0),
        Op::Allocate { at, length, .. } | Op::Punch { at, length, .. } => check_range(*at, *length),
        Op::Symlink { target, .. } => check_target(target),
        Op::Mknod {
            special: Special::Character(major, minor) | Special::Block(major, minor),
            ..
        } => {
            ensure!(
                *major <= LARGEST_DEVICE.0 && *minor <= LARGEST_DEVICE.1,
                "Linux has no device {major}:{minor}; the largest is {}:{}",
                LARGEST_DEVICE.0,
                LARGEST_DEVICE.1
            );
            Ok(())
        }
        Op::Chown { uid, gid, .. } => {
            ensure!(
                *uid != NO_OWNER && *gid != NO_OWNER,
                "{NO_OWNER} is no owner"
            );
            Ok(())
        }
        Op::SetAcl { acl: Some(acl), .. } => {
            ensure!(acl.named.0 != NO_OWNER, "{NO_OWNER} is no user");
            Ok(())
        }
        Op::Utimens { mtime, .. } => {
            ensure!(
                *mtime >= EARLIEST,
                "times before -2147483648 differ by file system"
            );
            Ok(())
        }
        Op::SetXattr { key, value, .. } => check_attribute(key, value),
        Op::RemoveXattr { key, .. } => check_key(key),
        _ => Ok(()),
    }
}

fn check_path(path: &TreePath) -> Result<()> {
    let length = path.as_bytes().len();
    ensure!(
        length <= LONGEST_PATH,
        "a path of {length} bytes; the longest has {LONGEST_PATH}"
    );
    Ok(())
}

fn check_range(at: u64, length: u64) -> Result<()> {
    let end = at.checked_add(length);
    ensure!(
        end.is_some_and(|end| end <= LARGEST_FILE),
        "a file ends at {LARGEST_FILE} at the latest"
    );
    Ok(())
}

fn check_data(data: Data) -> Result<()> {
    check_range(0, u64::from(data.length))
}

/// A slash at the end of a target asks for a directory, which the model does not do.
fn check_target(target: &[u8]) -> Result<()> {
    let length = target.len();
    ensure!(
        length <= LONGEST_TARGET,
        "a target of {length} bytes; the longest has {LONGEST_TARGET}"
    );
    ensure!(!target.contains(&0), "a target holds no NUL");
    let asks = target.ends_with(b"/.") || target.len() > 1 && target.ends_with(b"/");
    ensure!(!asks, "a target does not end with a slash or `/.`");
    Ok(())
}

fn check_key(key: &str) -> Result<()> {
    let plain = ["user.", "trusted."].iter().any(|prefix| {
        key.strip_prefix(prefix)
            .is_some_and(|name| !name.is_empty() && !name.starts_with("overlay."))
    });
    ensure!(
        plain && !key.contains(['=', '\0']) || key == "security.capability",
        "`{key}` is not `security.capability`, nor a name below `user.` or `trusted.` without `=` \
         that is not overlay's"
    );
    ensure!(
        key.len() <= LONGEST_KEY,
        "a key has {LONGEST_KEY} bytes at most"
    );
    Ok(())
}

fn check_attribute(key: &str, value: &[u8]) -> Result<()> {
    check_key(key)?;
    ensure!(
        value.len() <= LONGEST_VALUE,
        "a value has {LONGEST_VALUE} bytes at most"
    );
    // Revision 2: `linux/capability.h`.
    ensure!(
        key != "security.capability" || value.len() == 20 && value[1..4] == [0, 0, 2],
        "the kernel takes 20 bytes of revision 2 for capabilities only"
    );
    Ok(())
}
