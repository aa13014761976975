//! Which extended attributes a changeset carries (`docs/formats.md`, section 1).

const KEPT_PREFIXES: [&[u8]; 2] = [b"user.", b"trusted."];
const KEPT_NAMES: [&[u8]; 3] = [
    b"security.capability",
    b"system.posix_acl_access",
    b"system.posix_acl_default",
];
const MARKS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
/// xfs shows the ACLs of an inode a second time, in its own form (`fs/xfs/xfs_acl.h`).
const SECOND_SIGHT: &[u8] = b"trusted.SGI_ACL_";

/// Whether an attribute of this name belongs to the tree and not to the host, the file system
/// below or a driver.
pub fn travels(name: &[u8]) -> bool {
    let kept = KEPT_NAMES.contains(&name)
        || KEPT_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix) && name != *prefix);
    kept && !is_overlay_mark(name) && !name.starts_with(SECOND_SIGHT)
}

/// Whether `name` is a mark of an overlay file system: left out of a diff with a warning, refused
/// in an apply.
pub fn is_overlay_mark(name: &[u8]) -> bool {
    MARKS.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_host_stays() {
        for name in [
            "user.a",
            "trusted.a",
            "security.capability",
            "system.posix_acl_default",
        ] {
            assert!(travels(name.as_bytes()), "{name}");
        }
        let staying = [
            "user.",
            "user.overlay.opaque",
            "trusted.overlay.x",
            "trusted.SGI_ACL_FILE",
            "security.selinux",
            "btrfs.compression",
            "system.nfs4_acl",
        ];
        for name in staying {
            assert!(!travels(name.as_bytes()), "{name}");
        }
    }
}
