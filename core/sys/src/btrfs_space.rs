//! What the files of a btrfs subvolume take, from its tree (`BTRFS_IOC_TREE_SEARCH_V2`).

use std::collections::HashSet;
use std::os::fd::AsFd;

use crate::btrfs::{TREE_SEARCH, call};
use crate::error::Result;

/// `BTRFS_INODE_ITEM_KEY` and `BTRFS_EXTENT_DATA_KEY` of `linux/btrfs_tree.h`.
const INODE: u32 = 1;
const EXTENT: u32 = 108;

/// Bytes of items in one answer; no item is longer than the largest node.
const ROOM: usize = 64 * 1024 + 512;

/// `struct btrfs_ioctl_search_args_v2`.
#[repr(C)]
struct SearchArguments {
    tree: u64,
    objects: [u64; 2],
    offsets: [u64; 2],
    transactions: [u64; 2],
    types: [u32; 2],
    items: u32,
    unused: [u32; 9],
    size: u64,
    buffer: [u8; ROOM],
}

const _: () = assert!(size_of::<SearchArguments>() == 112 + ROOM);

/// What a subvolume's files take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Bytes on disk of extents that are newer than the transaction asked for.
    pub new_bytes: u64,
    /// Bytes on disk of those that are not.
    pub old_bytes: u64,
    /// Inodes that are newer.
    pub new_inodes: u64,
}

/// Adds up all extents and inodes of the subvolume that `root` is the root of; each extent once,
/// and apart those that were made after the transaction `since`.
///
/// Sees what is on disk: call syncfs(2) first. Needs `CAP_SYS_ADMIN` in the initial user namespace.
pub fn space(root: impl AsFd, since: u64) -> Result<Space> {
    let mut sum = Space::default();
    let mut seen = HashSet::new();
    #[expect(
        clippy::large_stack_arrays,
        reason = "64 KiB, once, on its way to the heap"
    )]
    let mut arguments = Box::new(SearchArguments {
        tree: 0,
        objects: [0, u64::MAX],
        offsets: [0, u64::MAX],
        transactions: [0, u64::MAX],
        types: [0, 255],
        items: u32::MAX,
        unused: [0; 9],
        size: ROOM as u64,
        buffer: [0; ROOM],
    });
    loop {
        arguments.items = u32::MAX;
        arguments.size = ROOM as u64;
        let step = "ioctl(BTRFS_IOC_TREE_SEARCH_V2)";
        call(root.as_fd(), TREE_SEARCH, step, &mut *arguments)?;
        let mut rest = &arguments.buffer[..];
        let mut last = None;
        for _ in 0..arguments.items {
            // `struct btrfs_ioctl_search_header`, in the machine's own byte order.
            let Some((header, behind)) = rest.split_at_checked(32) else {
                break;
            };
            let field = |at: usize| u64::from_ne_bytes(bytes(header, at));
            let (object, offset) = (field(8), field(16));
            let kind = u32::from_ne_bytes(bytes(header, 24));
            let length = u32::from_ne_bytes(bytes(header, 28)) as usize;
            let Some((item, behind)) = behind.split_at_checked(length) else {
                break;
            };
            rest = behind;
            last = Some((object, kind, offset));
            match kind {
                INODE if item.len() >= 8 && number(item, 0) > since => sum.new_inodes += 1,
                EXTENT => add_extent(item, since, &mut seen, &mut sum),
                _ => {}
            }
        }
        let Some((object, kind, offset)) = last else {
            return Ok(sum);
        };
        // The key behind the last one: objects, types and offsets are the digits of one number.
        let next_offset = offset.checked_add(1);
        let next_kind = if next_offset.is_some() {
            kind
        } else {
            kind + 1
        };
        arguments.objects[0] = object;
        arguments.types[0] = next_kind;
        arguments.offsets[0] = next_offset.unwrap_or(0);
    }
}

/// `struct btrfs_file_extent_item`: little-endian, packed.
fn add_extent(item: &[u8], since: u64, seen: &mut HashSet<u64>, sum: &mut Space) {
    const HEADER: usize = 21;
    const WHOLE: usize = 53;
    const INLINE: u8 = 0;
    let taken = match item.get(20) {
        Some(&INLINE) => item.len() - HEADER,
        Some(_) if item.len() >= WHOLE => {
            let start = number(item, HEADER);
            // 0 is a hole.
            if start == 0 || !seen.insert(start) {
                return;
            }
            number(item, HEADER + 8) as usize
        }
        _ => return,
    };
    if number(item, 0) > since {
        sum.new_bytes += taken as u64;
    } else {
        sum.old_bytes += taken as u64;
    }
}

fn number(item: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes(item, at))
}

/// `N` bytes from `at` on; the caller has looked that they are there.
fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut copy = [0; N];
    if let Some(found) = from.get(at..at + N) {
        copy.copy_from_slice(found);
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(generation: u64, kind: u8, start: u64, length: u64) -> Vec<u8> {
        let mut item = vec![0; 53];
        item[..8].copy_from_slice(&generation.to_le_bytes());
        item[20] = kind;
        item[21..29].copy_from_slice(&start.to_le_bytes());
        item[29..37].copy_from_slice(&length.to_le_bytes());
        item
    }

    #[test]
    fn extents_count_once_and_holes_not_at_all() {
        let (mut seen, mut sum) = (HashSet::new(), Space::default());
        for item in [
            extent(7, 1, 4096, 8192),
            extent(7, 1, 4096, 8192),
            extent(5, 2, 65536, 4096),
            extent(7, 1, 0, 0),
            extent(7, 0, 0, 0)[..26].to_vec(),
            vec![0; 3],
        ] {
            add_extent(&item, 5, &mut seen, &mut sum);
        }
        assert_eq!((sum.new_bytes, sum.old_bytes), (8192 + 5, 4096));
    }
}
