//! Which extended attributes count and travel (`docs/formats.md`, section 1).

use crate::changeset::{Xattr, travels};
use crate::tree::inode::Inode;
use rustix::io::Errno;

/// Attributes of one inode, in order of their names.
pub(super) type Xattrs = Vec<Xattr>;

/// Replaces `into` by those attributes of `inode` that count. `names` is a buffer and holds the
/// list of all names afterwards.
pub(super) fn read(inode: Inode<'_>, names: &mut Vec<u8>, into: &mut Xattrs) -> Result<(), Errno> {
    into.clear();
    inode.list_into(names)?;
    for name in strata_sys::xattr::names(names) {
        let bytes = name.to_bytes();
        if !travels(bytes) {
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
