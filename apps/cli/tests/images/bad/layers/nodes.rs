//! Kinds of nodes, permission bits, owners and attributes.

use super::Case;
use super::Verdict::{self, Refused};
use super::tree;
use strata_harness::tar::Entry;

/// A capability set of revision 2: `cap_net_raw` permitted and effective.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

pub fn cases() -> Vec<Case> {
    let one = |name: &str, entry: Entry, verdict: Verdict| Case::new(name, &[&[entry]], verdict);
    let file = || Entry::file("f", "");
    let device = |flag, major, minor| Entry::new("n", flag).device(major, minor);
    let kept = "f f= 4755 12:34 security.capability=\
                \\x01\\x00\\x00\\x02\\x00 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00";
    vec![
        one(
            "set-id and sticky",
            file().mode(0o7777).owner(1, 2),
            tree(&["f f= 7777 1:2"]),
        ),
        one(
            "sticky directory",
            Entry::dir("d").mode(0o1777),
            tree(&["d d 1777"]),
        ),
        one(
            "owners of 31 bits",
            file().owner(1 << 31, 1 << 31),
            tree(&["f f= 2147483648:2147483648"]),
        ),
        one(
            "a capability over an owner",
            file()
                .mode(0o4755)
                .owner(12, 34)
                .xattr("security.capability", CAPABILITY),
            tree(&[kept]),
        ),
        one("fifo", Entry::new("n", b'6'), tree(&["p n"])),
        one("device null", device(b'3', 1, 3), tree(&["c n 1:3"])),
        one("block device", device(b'4', 8, 1), tree(&["b n 8:1"])),
        one("char device 0:0", device(b'3', 0, 0), Refused("0:0")),
        one("device 4096:0", device(b'3', 4096, 0), Refused("device")),
        one(
            "contiguous file",
            Entry {
                flag: b'7',
                ..Entry::file("f", "1")
            },
            tree(&["f f=1"]),
        ),
        one("unknown type", Entry::new("f", b'Z'), Refused("type")),
        one("volume label", Entry::new("f", b'V'), tree(&[])),
        one(
            "xattr with NUL and newline",
            file().xattr("user.x", b"a\nb\0="),
            tree(&["f f= user.x=a\\nb\\x00="]),
        ),
        one(
            "xattr of 100 KiB",
            file().xattr("user.x", vec![b'x'; 100 << 10]),
            Refused("more than 65536 bytes"),
        ),
        one(
            "xattr of a long name",
            file().xattr(&format!("user.{}", "x".repeat(251)), "1"),
            Refused("more than 255 bytes"),
        ),
        one(
            "xattr of overlay",
            Entry::dir("d").xattr("trusted.overlay.opaque", "y"),
            Refused("trusted.overlay.opaque"),
        ),
        one(
            "xattr of overlay for users",
            Entry::dir("d").xattr("user.overlay.redirect", "/etc"),
            Refused("user.overlay.redirect"),
        ),
        one(
            "xattr of SELinux",
            file().xattr("security.selinux", "x"),
            tree(&["f f="]),
        ),
        one(
            "user xattr on a link",
            Entry::symlink("f", "x").xattr("user.x", "1"),
            Refused("user.x"),
        ),
    ]
}
