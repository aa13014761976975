//! Names: those that climb, those that are none, and odd ones that are fine. Roots.

use super::Verdict::Refused;
use super::{Case, tree};
use strata_harness::tar::Entry;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let climbing = [
        "../x",
        "a/../../x",
        "a/../b",
        "..",
        "a/..",
        "/../x",
        "./../x",
    ];
    for name in climbing {
        for (kind, entry) in [
            ("file", Entry::file(name, "")),
            ("directory", Entry::dir(name)),
            ("link", Entry::symlink(name, "x")),
        ] {
            cases.push(Case::new(
                format!("{kind} {name}"),
                &[&[Entry::dir("a"), entry]],
                Refused("the name has a `..` component"),
            ));
        }
    }
    let one = |name: &str, entry: Entry, verdict| Case::new(name, &[&[entry]], verdict);
    let path = |path: &[u8]| Entry::file("x", "1").pax("path", path);
    cases.extend([
        one(
            "empty name",
            Entry::file("", ""),
            Refused("the name is empty"),
        ),
        one("NUL in a name", path(b"a\0b"), Refused("NUL")),
        one(
            "absolute name",
            Entry::file("/abs", "1"),
            tree(&["f abs=1"]),
        ),
        one(
            "dots and slashes",
            Entry::file("./a//./b", "1"),
            tree(&["d a", "f a/b=1"]),
        ),
        one(
            "a file with a slash",
            Entry::file("a/", "1"),
            tree(&["f a=1"]),
        ),
        one(
            "newline and control",
            Entry::file("a\n\x1b[31m", ""),
            tree(&["f a\\n\\x1b[31m="]),
        ),
        one("not UTF-8", path(b"\xff\xfe"), tree(&["f \\xff\\xfe=1"])),
        one(
            "256 bytes",
            path(&[b'n'; 256]),
            Refused("longer than 255 bytes"),
        ),
        one(
            "a path of 4097",
            path(("d/".repeat(2048) + "x").as_bytes()),
            Refused("4096"),
        ),
        one(
            "root with attributes",
            Entry::dir(".").mode(0o1700).owner(7, 8).mtime(99, 0),
            tree(&["d / 1700 7:8"]),
        ),
        one(
            "root without permissions",
            Entry::dir(".").mode(0),
            tree(&["d / 0"]),
        ),
    ]);
    cases.push(Case::new(
        "255 bytes",
        &[&[path(&[b'n'; 255])]],
        super::Verdict::Tree(vec![format!("f {}=1", "n".repeat(255))]),
    ));
    for name in ["./", "/", "."] {
        for (kind, entry) in [
            ("link", Entry::symlink(name, "/etc")),
            ("file", Entry::file(name, "x")),
            ("fifo", Entry::new(name, b'6')),
            ("device", Entry::new(name, b'3').device(1, 3)),
            ("hard link", Entry::hard_link(name, "x")),
        ] {
            cases.push(Case::new(
                format!("root {name} is a {kind}"),
                &[&[Entry::file("x", ""), entry]],
                Refused("root"),
            ));
        }
    }
    let reserved = [
        ".wh.",
        ".wh..",
        ".wh...",
        "a/.wh.",
        ".wh..wh.x",
        ".wh.x/y",
        ".wh..wh..opqx",
    ];
    for name in reserved {
        cases.push(one(
            &format!("reserved {name}"),
            Entry::file(name, ""),
            Refused("whiteout"),
        ));
    }
    cases
}
