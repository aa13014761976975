//! What btrfs knows of the difference of two snapshots: its send stream, and the names of an
//! inode (`linux/btrfs.h`; btrfs(5) and btrfs-send(8) say who may ask).
#![expect(unsafe_code, reason = "the ioctls of btrfs have no safe wrapper")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use crate::error::{Context, Result, SysError};
use crate::syscall::check_int;

const BTRFS_IOC_TREE_SEARCH_V2: libc::Ioctl = libc::_IOWR::<SearchHead>(0x94, 17);
const BTRFS_IOC_INO_LOOKUP: libc::Ioctl = libc::_IOWR::<InoLookup>(0x94, 18);
const BTRFS_IOC_INO_PATHS: libc::Ioctl = libc::_IOWR::<InoPathArgs>(0x94, 35);
const BTRFS_IOC_SEND: libc::Ioctl = libc::_IOW::<SendArgs>(0x94, 38);
const BTRFS_IOC_GET_SUBVOL_INFO: libc::Ioctl = libc::_IOR::<SubvolInfo>(0x94, 60);

const SEND_NO_FILE_DATA: u64 = 1;

/// `struct btrfs_ioctl_send_args`.
#[repr(C)]
struct SendArgs {
    send_fd: i64,
    clone_sources_count: u64,
    clone_sources: *const u64,
    parent_root: u64,
    flags: u64,
    version: u32,
    reserved: [u8; 28],
}

/// `struct btrfs_ioctl_ino_path_args`.
#[repr(C)]
struct InoPathArgs {
    inode: u64,
    size: u64,
    reserved: [u64; 4],
    found: *mut PathContainer,
}

/// The most that the kernel fills of a container (`btrfs_ioctl_ino_to_path` cuts larger sizes).
const CONTAINER_BYTES: usize = 4096;
const CONTAINER_HEADER: usize = 16;

/// `struct btrfs_data_container`, with room for what follows it: for each path its offset from
/// `values`, then the paths, each with a NUL behind.
#[repr(C)]
struct PathContainer {
    bytes_left: u32,
    bytes_missing: u32,
    count: u32,
    missed: u32,
    values: [u64; (CONTAINER_BYTES - CONTAINER_HEADER) / 8],
}

/// `struct btrfs_ioctl_search_args_v2` without the room for what is found.
#[repr(C)]
struct SearchHead {
    tree: u64,
    inode: [u64; 2],
    offset: [u64; 2],
    transaction: [u64; 2],
    kind: [u32; 2],
    items: u32,
    unused: [u32; 9],
    bytes: u64,
}

/// The whole of it. One item is smaller than a tree block, which has 16 KiB unless the file system
/// was made otherwise; a larger one ends the search with `EOVERFLOW`.
#[repr(C)]
struct Search {
    head: SearchHead,
    found: [u8; SEARCH_BYTES],
}

const SEARCH_BYTES: usize = 16 * 1024;
/// `struct btrfs_ioctl_search_header`: transaction, inode, offset, kind, length.
const ITEM_HEADER: usize = 32;
/// The kinds of items that name an inode (`linux/btrfs_tree.h`).
const INODE_REF: u32 = 12;
const INODE_EXTREF: u32 = 13;

/// `struct btrfs_ioctl_ino_lookup_args`.
#[repr(C)]
struct InoLookup {
    tree: u64,
    inode: u64,
    path: [u8; 4080],
}

/// `struct btrfs_ioctl_get_subvol_info_args`, of which only the number is used.
#[repr(C)]
struct SubvolInfo {
    tree: u64,
    rest: [u64; 62],
}

const _: () = assert!(size_of::<SendArgs>() == 72);
const _: () = assert!(size_of::<InoPathArgs>() == 56);
const _: () = assert!(size_of::<PathContainer>() == CONTAINER_BYTES);
const _: () = assert!(size_of::<SubvolInfo>() == 504);
const _: () = assert!(size_of::<SearchHead>() == 112);
const _: () = assert!(size_of::<InoLookup>() == 4096);

/// The number of the subvolume that `directory` is in (its root id). Needs no privilege.
///
/// `ENOTTY` where the file system is not btrfs or the kernel is older than 4.18.
pub fn subvolume_id(directory: impl AsFd) -> Result<u64> {
    let directory = directory.as_fd();
    let mut info = SubvolInfo {
        tree: 0,
        rest: [0; 62],
    };
    // SAFETY: linux/btrfs.h: the kernel fills a structure of this size, which outlives the call.
    let returned = unsafe {
        libc::ioctl(
            directory.as_raw_fd(),
            BTRFS_IOC_GET_SUBVOL_INFO,
            &raw mut info,
        )
    };
    check_int(returned).on("ioctl(BTRFS_IOC_GET_SUBVOL_INFO)", || number(directory))?;
    Ok(info.tree)
}

/// Writes how `subvolume` differs from the subvolume with the number `parent` to `into`, as a send
/// stream of version 1 without the data of files. Returns when all is written, so somebody must
/// read meanwhile if `into` is a pipe.
///
/// Both must be read-only. `EPERM` without `CAP_SYS_ADMIN` in the initial user namespace, `ENOTTY`
/// where the file system is not btrfs.
pub fn send(subvolume: impl AsFd, parent: u64, into: impl AsFd) -> Result<()> {
    let subvolume = subvolume.as_fd();
    let sources = [parent];
    let args = SendArgs {
        send_fd: i64::from(into.as_fd().as_raw_fd()),
        clone_sources_count: 1,
        clone_sources: sources.as_ptr(),
        parent_root: parent,
        flags: SEND_NO_FILE_DATA,
        version: 0,
        reserved: [0; 28],
    };
    // SAFETY: linux/btrfs.h: the kernel reads this structure and the one number that it points to;
    // both outlive the call.
    let returned = unsafe { libc::ioctl(subvolume.as_raw_fd(), BTRFS_IOC_SEND, &raw const args) };
    check_int(returned)
        .map(drop)
        .on("ioctl(BTRFS_IOC_SEND)", || number(subvolume))
}

/// The paths that `inode` has in the subvolume of `directory`, from its root.
///
/// Empty if there is no such inode. `EPERM` without `CAP_DAC_READ_SEARCH`, or `CAP_SYS_ADMIN` where
/// the paths take more than 4 KiB.
pub fn paths_of_inode(directory: impl AsFd, inode: u64) -> Result<Vec<Vec<u8>>> {
    let directory = directory.as_fd();
    let mut container = PathContainer {
        bytes_left: 0,
        bytes_missing: 0,
        count: 0,
        missed: 0,
        values: [0; _],
    };
    let mut args = InoPathArgs {
        inode,
        size: CONTAINER_BYTES as u64,
        reserved: [0; 4],
        found: ptr::from_mut(&mut container),
    };
    // SAFETY: linux/btrfs.h: the kernel reads `args` and fills at most `size` bytes of the
    // container, which is as large; both outlive the call.
    let returned =
        unsafe { libc::ioctl(directory.as_raw_fd(), BTRFS_IOC_INO_PATHS, &raw mut args) };
    match check_int(returned) {
        Ok(_) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => {
            let subject = format!("inode {inode} of {}", number(directory));
            return Err(SysError::new("ioctl(BTRFS_IOC_INO_PATHS)", errno, subject));
        }
    }
    if container.missed > 0 {
        return searched_paths(directory, inode);
    }
    let values = container.values;
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect();
    Ok(values
        .iter()
        .take(container.count as usize)
        .filter_map(|offset| {
            let path = bytes.get(usize::try_from(*offset).ok()?..)?;
            let end = path.iter().position(|byte| *byte == 0)?;
            Some(path[..end].to_vec())
        })
        .collect())
}

/// As [`paths_of_inode`], from the back references themselves.
fn searched_paths(directory: BorrowedFd<'_>, inode: u64) -> Result<Vec<Vec<u8>>> {
    let mut search = Box::new(Search {
        head: SearchHead {
            tree: 0, // that of the descriptor
            inode: [inode; 2],
            offset: [0, u64::MAX],
            transaction: [0, u64::MAX],
            kind: [INODE_REF, INODE_EXTREF],
            items: 0,
            unused: [0; 9],
            bytes: SEARCH_BYTES as u64,
        },
        found: [0; SEARCH_BYTES],
    });
    let mut parents: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut paths = Vec::new();
    loop {
        search.head.items = u32::MAX;
        // SAFETY: linux/btrfs.h: the kernel reads and writes the head and at most `bytes` behind
        // it, which is what `found` has; all of it outlives the call.
        let returned = unsafe {
            libc::ioctl(
                directory.as_raw_fd(),
                BTRFS_IOC_TREE_SEARCH_V2,
                &raw mut *search,
            )
        };
        check_int(returned).on("ioctl(BTRFS_IOC_TREE_SEARCH_V2)", || {
            format!("inode {inode} of {}", number(directory))
        })?;
        let mut rest = &search.found[..];
        let mut last = None;
        for _ in 0..search.head.items {
            let Some((header, after)) = rest.split_at_checked(ITEM_HEADER) else {
                break;
            };
            let offset = u64_at(header, 16, u64::from_ne_bytes);
            let [kind, length] = [24, 28].map(|at| u32_at(header, at));
            let Some((item, after)) = after.split_at_checked(length as usize) else {
                break;
            };
            rest = after;
            last = Some((kind, offset));
            for (parent, name) in references(kind, offset, item) {
                let above = match parents.entry(parent) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => place.insert(path_of_directory(directory, parent)?),
                };
                paths.push([&**above, name].concat());
            }
        }
        let Some((kind, offset)) = last else {
            return Ok(paths);
        };
        match offset.checked_add(1) {
            Some(next) => search.head.offset[0] = next,
            None if kind == INODE_REF => search.head.offset[0] = 0,
            None => return Ok(paths),
        }
        search.head.kind[0] = kind + u32::from(offset == u64::MAX);
    }
}

/// The names in one item, each with the inode of its directory: `struct btrfs_inode_ref` (index,
/// length), of which the item's offset is the directory, or `struct btrfs_inode_extref`
/// (directory, index, length), in little endian.
fn references(kind: u32, offset: u64, mut item: &[u8]) -> Vec<(u64, &[u8])> {
    let head = if kind == INODE_REF { 10 } else { 18 };
    let mut found = Vec::new();
    while let Some((header, rest)) = item.split_at_checked(head) {
        let parent = match kind {
            INODE_REF => offset,
            _ => u64_at(header, 0, u64::from_le_bytes),
        };
        let length = u16::from_le_bytes([header[head - 2], header[head - 1]]);
        let Some((name, rest)) = rest.split_at_checked(usize::from(length)) else {
            break;
        };
        found.push((parent, name));
        item = rest;
    }
    found
}

/// The path of a directory from the root of its subvolume, with a slash behind; empty for the root.
fn path_of_directory(directory: BorrowedFd<'_>, inode: u64) -> Result<Vec<u8>> {
    let mut args = InoLookup {
        tree: 0,
        inode,
        path: [0; _],
    };
    // SAFETY: linux/btrfs.h: the kernel reads and fills a structure of this size, which outlives
    // the call.
    let returned =
        unsafe { libc::ioctl(directory.as_raw_fd(), BTRFS_IOC_INO_LOOKUP, &raw mut args) };
    check_int(returned).on("ioctl(BTRFS_IOC_INO_LOOKUP)", || {
        format!("inode {inode} of {}", number(directory))
    })?;
    let path = args.path.split(|byte| *byte == 0).next();
    Ok(path.unwrap_or_default().to_vec())
}

fn u64_at(bytes: &[u8], at: usize, read: fn([u8; 8]) -> u64) -> u64 {
    read(std::array::from_fn(|index| bytes[at + index]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn number(fd: BorrowedFd<'_>) -> String {
    format!("fd {}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_out_of_items() {
        let mut item = Vec::new();
        for name in [&b"one"[..], b"another"] {
            item.extend_from_slice(&7_u64.to_le_bytes());
            item.extend_from_slice(&(name.len() as u16).to_le_bytes());
            item.extend_from_slice(name);
        }
        let found = references(INODE_REF, 256, &item);
        assert_eq!(found, [(256, &b"one"[..]), (256, b"another")]);
        let found = references(INODE_REF, 256, &item[..item.len() - 1]);
        assert_eq!(found, [(256, &b"one"[..])]);
        let mut item = 300_u64.to_le_bytes().to_vec();
        item.extend_from_slice(&7_u64.to_le_bytes());
        item.extend_from_slice(&[1, 0, b'x']);
        assert_eq!(references(INODE_EXTREF, 99, &item), [(300, &b"x"[..])]);
        assert!(references(INODE_EXTREF, 99, &[]).is_empty());
    }

    #[test]
    fn another_file_system_is_told() {
        let directory = std::fs::File::open("/proc").unwrap();
        assert!(subvolume_id(&directory).unwrap_err().is_unsupported());
        let (_reader, writer) = std::io::pipe().unwrap();
        assert!(send(&directory, 5, writer).unwrap_err().is_unsupported());
        assert!(paths_of_inode(&directory, 1).unwrap_err().is_unsupported());
    }
}
