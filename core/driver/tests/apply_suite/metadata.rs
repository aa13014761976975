//! Owners, modes, times, attributes, devices, holes: everything about an entry but its name.

use crate::is_root;
use crate::layer::{Head, Layer};
use crate::tree::{tree, xattrs};
use rustix::fs::XattrFlags;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use strata_driver::ErrorKind;
use tempfile::tempdir;

/// `cap_net_raw=ep`, as capabilities(7) lays it out.
const CAPABILITY: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A POSIX ACL: version 2, then tag, permissions, id of each entry.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

/// Owner rwx, user 1234 r-x, group r-x, mask r-x, others none.
fn wide_acl() -> Vec<u8> {
    let none = u32::MAX;
    acl(&[
        (1, 7, none),
        (2, 5, 1234),
        (4, 5, none),
        (16, 5, none),
        (32, 0, none),
    ])
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

#[test]
fn modes_and_owners_are_exact_whatever_the_mask() {
    if !is_root() {
        return;
    }
    let root = tempdir().unwrap();
    let mut layer = Layer::new();
    let modes = [
        0o000, 0o444, 0o666, 0o777, 0o1777, 0o2775, 0o4755, 0o6711, 0o7777,
    ];
    for mode in modes {
        for (owner, uid, gid) in [
            ("root", 0, 0),
            ("user", 1000, 0),
            ("group", 0, 50),
            ("both", 70, 70),
        ] {
            for (kind, flag) in [("f", b'0'), ("d", b'5'), ("p", b'6'), ("c", b'3')] {
                let head = Head::new(flag).mode(mode).owner(uid, gid).device(1, 3);
                layer = layer.add(&format!("{kind}-{owner}-{mode:o}"), head, b"");
            }
        }
    }
    layer.apply(root.path()).unwrap();
    for entry in fs_err::read_dir(root.path()).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(
            name.ends_with(&format!("-{:o}", meta.mode() & 0o7777)),
            "{name} {:o}",
            meta.mode()
        );
        let owner = match (meta.uid(), meta.gid()) {
            (0, 0) => "root",
            (1000, 0) => "user",
            (0, 50) => "group",
            (70, 70) => "both",
            _ => "other",
        };
        assert_eq!(name.split('-').nth(1), Some(owner), "{name}");
    }
}

#[test]
fn large_owners_and_symlinks_have_their_owners() {
    if !is_root() {
        return;
    }
    let root = tempdir().unwrap();
    let head = Head::new(b'0')
        .pax("uid", b"2147483648")
        .pax("gid", b"4294967294");
    let link = Head::new(b'2').link("x").owner(5, 6).mtime(7);
    Layer::new()
        .add("a", head, b"")
        .add("l", link, b"")
        .apply(root.path())
        .unwrap();
    let meta = |name| fs_err::symlink_metadata(root.path().join(name)).unwrap();
    assert_eq!((meta("a").uid(), meta("a").gid()), (1 << 31, u32::MAX - 1));
    assert_eq!(
        (meta("l").uid(), meta("l").gid(), meta("l").mtime()),
        (5, 6, 7)
    );
}

#[test]
fn times_are_exact_to_the_nanosecond() {
    let root = tempdir().unwrap();
    let layer = Layer::new()
        .add(
            "d",
            Head::new(b'5').pax("mtime", b"1000000000.123456789"),
            b"",
        )
        .add("d/f", Head::new(b'0').pax("mtime", b"-1.5"), b"content")
        .add(
            "d/l",
            Head::new(b'2').link("f").pax("mtime", b"3.000000001"),
            b"",
        );
    layer.apply(root.path()).unwrap();
    let mtime = |name| {
        let meta = fs_err::symlink_metadata(root.path().join(name)).unwrap();
        (meta.mtime(), meta.mtime_nsec())
    };
    assert_eq!(mtime("d"), (1_000_000_000, 123_456_789));
    assert_eq!(mtime("d/f"), (-2, 500_000_000));
    assert_eq!(mtime("d/l"), (3, 1));
}

#[test]
fn nothing_is_inherited_from_a_set_group_id_directory() {
    if !is_root() {
        return;
    }
    let root = tempdir().unwrap();
    let layer = Layer::new()
        .add("d", Head::new(b'5').mode(0o2755).owner(0, 33), b"")
        .directory("d/sub")
        .file("d/f", b"")
        .symlink("d/l", "f")
        .add("d/p", Head::new(b'6'), b"");
    layer.apply(root.path()).unwrap();
    for (path, mode) in [
        ("d/sub", 0o755),
        ("d/f", 0o644),
        ("d/l", 0o777),
        ("d/p", 0o644),
    ] {
        let meta = fs_err::symlink_metadata(root.path().join(path)).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.gid()), (mode, 0), "{path}");
    }
}

#[test]
fn nothing_is_inherited_from_a_default_acl() {
    if !is_root() {
        return;
    }
    let default = "SCHILY.xattr.system.posix_acl_default";
    let fill = |layer: Layer| {
        layer
            .file("d/f", b"1")
            .add(
                "d/own",
                Head::new(b'0')
                    .mode(0o750)
                    .xattr("system.posix_acl_access", &wide_acl()),
                b"",
            )
            .directory("d/sub")
            .add("d/p", Head::new(b'6').mode(0o666), b"")
    };
    let made = tempdir().unwrap();
    let head = Head::new(b'5').pax(default, &wide_acl());
    fill(Layer::new().add("d", head, b""))
        .apply(made.path())
        .unwrap();
    let before = tempdir().unwrap();
    fs_err::create_dir(before.path().join("d")).unwrap();
    set_xattr(
        &before.path().join("d"),
        "system.posix_acl_default",
        &wide_acl(),
    );
    fill(Layer::new()).apply(before.path()).unwrap();
    for root in [made, before] {
        let at = |path: &str| root.path().join(path);
        assert_eq!(
            xattrs(&at("d")).keys().collect::<Vec<_>>(),
            ["system.posix_acl_default"]
        );
        assert!(xattrs(&at("d/f")).is_empty() && xattrs(&at("d/sub")).is_empty());
        assert!(xattrs(&at("d/p")).is_empty());
        assert_eq!(xattrs(&at("d/own"))["system.posix_acl_access"], wide_acl());
        let bits = |path: &str| fs_err::metadata(at(path)).unwrap().mode() & 0o7777;
        assert_eq!(
            (bits("d/f"), bits("d/sub"), bits("d/p")),
            (0o644, 0o755, 0o666)
        );
    }
}

#[test]
fn attributes_are_whole() {
    if !is_root() {
        return;
    }
    let root = tempdir().unwrap();
    let head = Head::new(b'0')
        .mode(0o444)
        .owner(12, 13)
        .xattr("user.newline", b"a\nb\0c")
        .xattr("user.empty", b"")
        .xattr("trusted.t", b"t")
        .xattr("security.capability", CAPABILITY);
    let layer = Layer::new()
        .add("f", head.clone(), b"content")
        .add("d", Head::new(b'5').xattr("user.x", b"1").mode(0o555), b"")
        .file("d/inside", b"")
        .add(
            "l",
            Head::new(b'2').link("f").xattr("trusted.t", b"on a link"),
            b"",
        )
        .add("p", Head::new(b'6').xattr("trusted.t", b"on a pipe"), b"");
    layer.apply(root.path()).unwrap();
    let file = xattrs(&root.path().join("f"));
    assert_eq!(file["user.newline"], b"a\nb\0c");
    assert_eq!(file["user.empty"], b"");
    assert_eq!(file["trusted.t"], b"t");
    assert_eq!(file["security.capability"], CAPABILITY);
    assert_eq!(xattrs(&root.path().join("d"))["user.x"], b"1");
    assert_eq!(xattrs(&root.path().join("l"))["trusted.t"], b"on a link");
    assert_eq!(xattrs(&root.path().join("p"))["trusted.t"], b"on a pipe");
    let meta = fs_err::metadata(root.path().join("f")).unwrap();
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.mtime()),
        (0o444, 12, 1_000_000_000)
    );
}

#[test]
fn a_kept_directory_gets_exactly_the_attributes_of_its_entry() {
    if !is_root() {
        return;
    }
    let root = tempdir().unwrap();
    let directory = root.path().join("d");
    fs_err::create_dir(&directory).unwrap();
    for name in [
        "user.old",
        "user.both",
        "trusted.old",
        "trusted.overlay.opaque",
    ] {
        set_xattr(&directory, name, b"old");
    }
    set_xattr(&directory, "system.posix_acl_access", &wide_acl());
    set_xattr(&directory, "system.posix_acl_default", &wide_acl());
    let head = Head::new(b'5')
        .mode(0o3711)
        .owner(3, 4)
        .mtime(5)
        .xattr("user.both", b"new");
    Layer::new().add("d", head, b"").apply(root.path()).unwrap();
    assert_eq!(
        tree(root.path())["d"],
        "directory 3711 3:4 5 {\"user.both\": [110, 101, 119]}"
    );
    let mut mark = [0_u8; 3];
    rustix::fs::getxattr(&directory, "trusted.overlay.opaque", &mut mark[..]).unwrap();
    assert_eq!(&mark, b"old");
}

#[test]
fn the_root_entry_sets_attributes_only() {
    if !is_root() {
        return;
    }
    let root = tempdir().unwrap();
    set_xattr(root.path(), "user.old", b"1");
    let head = Head::new(b'5').mode(0).owner(3, 4).xattr("user.new", b"2");
    Layer::new()
        .add("./", head, b"")
        .file("a", b"")
        .apply(root.path())
        .unwrap();
    let meta = fs_err::metadata(root.path()).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0, 3, 4));
    assert_eq!(
        xattrs(root.path()).into_keys().collect::<Vec<_>>(),
        ["user.new"]
    );
    fs_err::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn devices_and_pipes_are_made() {
    if !is_root() {
        return;
    }
    let root = tempdir().unwrap();
    let layer = Layer::new()
        .add("null", Head::new(b'3').device(1, 3).mode(0o666), b"")
        .add("disk", Head::new(b'4').device(259, 70_000).owner(0, 6), b"")
        .add("pipe", Head::new(b'6'), b"");
    layer.apply(root.path()).unwrap();
    let device = |name| {
        let meta = fs_err::symlink_metadata(root.path().join(name)).unwrap();
        (
            meta.mode() & 0o170_000,
            rustix::fs::major(meta.rdev()),
            rustix::fs::minor(meta.rdev()),
        )
    };
    assert_eq!(device("null"), (0o020_000, 1, 3));
    assert_eq!(device("disk"), (0o060_000, 259, 70_000));
    assert_eq!(device("pipe").0, 0o010_000);
}

#[test]
fn user_attributes_on_a_link_are_refused() {
    if !is_root() {
        return;
    }
    let head = Head::new(b'2').link("f").xattr("user.x", b"1");
    let error = Layer::new()
        .add("l", head, b"")
        .apply(tempdir().unwrap().path())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.context("attribute"), Some("user.x"));
}

#[test]
fn runs_of_zeros_become_holes() {
    let root = tempdir().unwrap();
    let mut content = vec![0_u8; 8 << 20];
    content[100] = 1;
    content[5 << 20..(5 << 20) + 4096].fill(7);
    let tail = vec![0_u8; 70_001];
    // Files of one block before them, so that the stream's own blocks fall anywhere.
    let layer = Layer::new()
        .file("shift", &[1; 700])
        .file("f", &content)
        .file("zeros", &tail)
        .file("small", &[0; 10])
        .file("dense", &vec![9; 300_000]);
    layer.apply(root.path()).unwrap();
    let blocks = |name| fs_err::metadata(root.path().join(name)).unwrap().blocks() * 512;
    assert!(fs_err::read(root.path().join("f")).unwrap() == content);
    assert!(fs_err::read(root.path().join("zeros")).unwrap() == tail);
    assert_eq!(fs_err::read(root.path().join("small")).unwrap(), [0; 10]);
    assert_eq!(
        fs_err::read(root.path().join("dense")).unwrap(),
        vec![9; 300_000]
    );
    let file = fs_err::File::open(root.path().join("f")).unwrap();
    file.sync_all().unwrap();
    assert!(blocks("f") <= 8 * 4096, "{}", blocks("f"));
    assert_eq!(blocks("zeros"), 0);
}

#[test]
fn sparse_entries_keep_their_holes() {
    let root = tempdir().unwrap();
    let mut body = b"2\n0\n5\n1048576\n5\n".to_vec();
    body.resize(512, 0);
    body.extend_from_slice(b"firstlast!");
    let head = Head::new(b'0')
        .pax("GNU.sparse.major", b"1")
        .pax("GNU.sparse.minor", b"0")
        .pax("GNU.sparse.name", b"f")
        .pax("GNU.sparse.realsize", b"2097152");
    Layer::new()
        .add("GNUSparseFile.0/f", head, &body)
        .apply(root.path())
        .unwrap();
    let found = fs_err::read(root.path().join("f")).unwrap();
    let mut wanted = vec![0_u8; 2 << 20];
    wanted[..5].copy_from_slice(b"first");
    wanted[1 << 20..(1 << 20) + 5].copy_from_slice(b"last!");
    assert!(found == wanted);
    let file = fs_err::File::open(root.path().join("f")).unwrap();
    file.sync_all().unwrap();
    assert!(file.metadata().unwrap().blocks() * 512 <= 4 * 4096);
}
