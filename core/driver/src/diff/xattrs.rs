//! Which extended attributes count and travel (`docs/formats.md`, section 1).

use crate::changeset::Xattr;
use crate::tree::inode::Inode;
use rustix::io::Errno;

const KEPT: [&[u8]; 5] = [
    b"user.",
    b"trusted.",
    b"security.capability",
    b"system.posix_acl_access",
    b"system.posix_acl_default",
];
/// Marks of overlay file systems: they never travel, whoever set them.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Attributes of one inode, in order of their names.
pub(super) type Xattrs = Vec<Xattr>;

fn begins(name: &[u8], prefixes: &[&[u8]]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether `name` is a mark of an overlay file system.
pub(super) fn is_overlay(name: &[u8]) -> bool {
    begins(name, &OVERLAY)
}

/// Replaces `into` by those attributes of `inode` that count. `names` is a buffer and holds the
/// list of all names afterwards.
pub(super) fn read(inode: Inode<'_>, names: &mut Vec<u8>, into: &mut Xattrs) -> Result<(), Errno> {
    into.clear();
    inode.list_into(names)?;
    for name in strata_sys::xattr::names(names) {
        let bytes = name.to_bytes();
        if !begins(bytes, &KEPT) || is_overlay(bytes) {
            continue;
        }
        let mut value = Vec::new();
        if inode.get_into(name, &mut value)? {
            into.push((bytes.to_vec(), value));
        }
    }
    into.sort_unstable();
    Ok(())
}
