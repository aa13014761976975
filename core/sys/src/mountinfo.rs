//! The table of mounts as text, `/proc/thread-self/mountinfo`: for kernels without
//! [`statmount`](crate::statmount), and for what that does not tell.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Result, SysError};
use crate::file::read_whole;

/// One mount, see `proc_pid_mountinfo(5)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// Number that a later mount may get again.
    pub id: u64,
    /// Number of the mount that this one is mounted on.
    pub parent: u64,
    /// Major and minor number of the device of its files.
    pub device: (u32, u32),
    /// The directory of the file system that the mount shows.
    pub root: PathBuf,
    /// Where it is mounted, seen from the calling thread's root.
    pub mount_point: PathBuf,
    /// Options of this mount, comma-separated.
    pub options: OsString,
    /// Type of the file system, with its subtype after a dot.
    pub fs_type: String,
    /// A device, or any word.
    pub source: OsString,
    /// Options of the file system, comma-separated, with the kernel's own escapes undone.
    pub super_options: OsString,
}

/// All mounts of the calling thread's namespace that it can reach, in the kernel's order.
pub fn mounts() -> Result<Vec<MountInfo>> {
    read_whole(Path::new("/proc/thread-self/mountinfo"))?
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            parse(line).ok_or_else(|| {
                let reason = "not a line of proc_pid_mountinfo(5)".to_owned();
                SysError::refused("read", String::from_utf8_lossy(line), reason)
            })
        })
        .collect()
}

fn parse(line: &[u8]) -> Option<MountInfo> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
    let root = PathBuf::from(unescape(fields.next()?));
    let mount_point = PathBuf::from(unescape(fields.next()?));
    let options = unescape(fields.next()?);
    // Any number of optional fields ends with a lone hyphen.
    fields.by_ref().find(|field| field == b"-")?;
    Some(MountInfo {
        id,
        parent,
        device: (major.parse().ok()?, minor.parse().ok()?),
        root,
        mount_point,
        options,
        fs_type: unescape(fields.next()?).to_string_lossy().into_owned(),
        source: unescape(fields.next()?),
        super_options: unescape(fields.next()?),
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Undoes the kernel's `\040` for a space, and likewise for tab, newline, backslash and `#`.
fn unescape(field: &[u8]) -> OsString {
    let mut text = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(escaped) = octal {
            text.push(escaped);
            rest = &after[3..];
        } else {
            text.push(byte);
            rest = after;
        }
    }
    OsString::from_vec(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart_and_unescaped() {
        let line =
            br"36 35 98:0 /a\040b /mnt\134x rw,noatime master:1 shared:7 - fuse.x \011 rw,l=\";
        let mount = parse(line).unwrap();
        assert_eq!((mount.id, mount.parent, mount.device), (36, 35, (98, 0)));
        assert_eq!(mount.root, PathBuf::from("/a b"));
        assert_eq!(mount.mount_point, PathBuf::from(r"/mnt\x"));
        assert_eq!(mount.options, "rw,noatime");
        assert_eq!(mount.fs_type, "fuse.x");
        assert_eq!(mount.source, "\t");
        assert_eq!(mount.super_options, r"rw,l=\");
        for broken in [
            &b""[..],
            b"36 35",
            b"x 35 98:0 / / rw - a b c",
            b"36 35 98:0 / / rw a b c",
        ] {
            assert_eq!(parse(broken), None);
        }
    }

    #[test]
    fn the_root_is_in_the_table() {
        if crate::namespace::is_chrooted() {
            eprintln!("skipped: the root of a chroot is no mount");
            return;
        }
        let all = mounts().unwrap();
        assert!(all.iter().any(|mount| mount.mount_point.as_os_str() == "/"));
    }
}
