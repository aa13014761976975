//! Copies: everything that a file system keeps is in the copy, and what differs is noticed.
#![expect(clippy::unwrap_used, reason = "a failed step of a test may panic")]

#[expect(dead_code, reason = "each test uses its own part")]
mod diff_support;

use diff_support::{
    Edits, Random, acl, attributes, chmod, chown, directory, first_seed, lacks_root, repetitions,
    scratch, set_mtime, threads,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, XattrFlags};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use strata_driver::ErrorKind;
use strata_driver::tree::{Copied, CopyOptions, Reflink, copy};

fn copy_paths(from: &Path, to: &Path, options: &CopyOptions) -> strata_driver::Result<Copied> {
    copy(directory(from).as_fd(), directory(to).as_fd(), options)
}

/// Everything about a tree but inode numbers, change times and space: a line for each path.
fn facts(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut random = Random(0);
    let edits = Edits {
        root: root.into(),
        random: &mut random,
        model: None,
        tame: false,
    };
    let mut first_names = BTreeMap::new();
    let mut paths = edits.paths();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let found = rustix::fs::lstat(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_path_buf();
            let kind = FileType::from_raw_mode(found.st_mode);
            let content = match kind {
                FileType::RegularFile => hex::encode(Sha256::digest(fs_err::read(&path).unwrap())),
                FileType::Symlink => fs_err::read_link(&path).unwrap().display().to_string(),
                _ => format!("{:x}", found.st_rdev),
            };
            let size = if kind == FileType::Directory {
                0
            } else {
                found.st_size
            };
            let first = first_names
                .entry(found.st_ino)
                .or_insert_with(|| name.clone());
            let fact = format!(
                "{:o} {}:{} size {size} mtime {}.{} first {} {content} {:?}",
                found.st_mode,
                found.st_uid,
                found.st_gid,
                found.st_mtime,
                found.st_mtime_nsec,
                first.display(),
                attributes(&path),
            );
            (name, fact)
        })
        .collect()
}

#[test]
fn random_trees_are_copied_whole() {
    if lacks_root() {
        return;
    }
    let first = first_seed();
    for seed in first..first + repetitions(100) {
        let scratch = scratch();
        let at = |name: &str| scratch.path().join(name);
        fs_err::create_dir(at("from")).unwrap();
        let mut random = Random(seed);
        let mut edits = Edits {
            root: at("from"),
            random: &mut random,
            model: None,
            tame: false,
        };
        edits.edit_often(60);
        let before = facts(&at("from"));
        for (name, count, reflink) in [
            ("one", 1, Reflink::Never),
            ("many", 3, Reflink::WherePossible),
        ] {
            fs_err::create_dir(at(name)).unwrap();
            let options = CopyOptions::default()
                .with_threads(threads(count))
                .with_reflink(reflink);
            let copied = copy_paths(&at("from"), &at(name), &options).unwrap();
            assert_eq!(copied.entries, before.len() as u64 - 1, "seed {seed}");
            assert_eq!(facts(&at(name)), before, "seed {seed}, {name}");
        }
        assert_eq!(
            facts(&at("from")),
            before,
            "seed {seed}: the source was changed"
        );
    }
}

/// A defect put into a copy.
type Plant = fn(&Path);

#[test]
fn facts_notice_each_planted_defect() {
    if lacks_root() {
        return;
    }
    let plants: [(&str, Plant); 9] = [
        ("content", |root| {
            fs_err::write(root.join("f"), "b").unwrap();
        }),
        ("mode", |root| chmod(&root.join("f"), 0o4644)),
        ("owner", |root| chown(&root.join("l"), 5, 5)),
        ("time", |root| set_mtime(&root.join("d"), (9, 1))),
        ("target", |root| {
            fs_err::remove_file(root.join("l")).unwrap();
            rustix::fs::symlinkat("g", CWD, root.join("l")).unwrap();
        }),
        ("attribute", |root| {
            rustix::fs::lsetxattr(root.join("l"), "trusted.x", b"y", XattrFlags::empty()).unwrap();
        }),
        ("link", |root| {
            fs_err::remove_file(root.join("g")).unwrap();
            fs_err::write(root.join("g"), "a").unwrap();
            set_mtime(&root.join("g"), (1, 2));
        }),
        ("absent", |root| fs_err::remove_dir(root.join("d")).unwrap()),
        ("root", |root| chmod(root, 0o700)),
    ];
    for (name, plant) in plants {
        let scratch = scratch();
        let at = |name: &str| scratch.path().join(name);
        fs_err::create_dir(at("from")).unwrap();
        fs_err::create_dir(at("to")).unwrap();
        chmod(&at("from"), 0o755);
        fs_err::write(at("from/f"), "a").unwrap();
        set_mtime(&at("from/f"), (1, 2));
        rustix::fs::linkat(CWD, at("from/f"), CWD, at("from/g"), AtFlags::empty()).unwrap();
        rustix::fs::symlinkat("f", CWD, at("from/l")).unwrap();
        fs_err::create_dir(at("from/d")).unwrap();
        copy_paths(&at("from"), &at("to"), &CopyOptions::default()).unwrap();
        let before = facts(&at("from"));
        assert_eq!(facts(&at("to")), before);
        plant(&at("to"));
        assert_ne!(facts(&at("to")), before, "{name} was not noticed");
    }
}

#[test]
fn holes_stay_holes() {
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    fs_err::create_dir(at("from")).unwrap();
    fs_err::create_dir(at("to")).unwrap();
    let file = fs_err::File::create(at("from/sparse")).unwrap();
    rustix::fs::ftruncate(&file, 1 << 30).unwrap();
    rustix::io::pwrite(file.as_fd(), &[7; 9000], 500_000_000).unwrap();
    let options = CopyOptions::default().with_reflink(Reflink::Never);
    let copied = copy_paths(&at("from"), &at("to"), &options).unwrap();
    let (from, to) = (
        rustix::fs::lstat(at("from/sparse")).unwrap(),
        rustix::fs::lstat(at("to/sparse")).unwrap(),
    );
    assert_eq!(to.st_size, from.st_size);
    assert!(
        to.st_blocks <= from.st_blocks,
        "{} > {}",
        to.st_blocks,
        from.st_blocks
    );
    assert!(copied.bytes < 100_000, "{} bytes written", copied.bytes);
    let mut content = vec![1; 9002];
    rustix::io::pread(
        fs_err::File::open(at("to/sparse")).unwrap().as_fd(),
        &mut content,
        499_999_999,
    )
    .unwrap();
    assert!(
        content[0] == 0 && content[1..9001].iter().all(|byte| *byte == 7) && content[9001] == 0
    );
}

#[test]
fn nothing_is_inherited_from_where_the_copy_stands() {
    if lacks_root() {
        return;
    }
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    fs_err::create_dir(at("from")).unwrap();
    fs_err::create_dir(at("from/d")).unwrap();
    fs_err::write(at("from/d/f"), "1").unwrap();
    chmod(&at("from/d/f"), 0o666);
    let before = facts(&at("from"));
    let name = "system.posix_acl_default";
    rustix::fs::lsetxattr(scratch.path(), name, &acl(7), XattrFlags::empty()).unwrap();
    chown(scratch.path(), 3, 4);
    chmod(scratch.path(), 0o2755);
    fs_err::create_dir(at("to")).unwrap();
    assert!(
        !attributes(&at("to")).is_empty(),
        "the test itself lacks an inherited ACL"
    );
    copy_paths(&at("from"), &at("to"), &CopyOptions::default()).unwrap();
    assert_eq!(facts(&at("to")), before);
}

#[test]
fn reading_leaves_access_times_alone() {
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    fs_err::create_dir(at("from")).unwrap();
    fs_err::create_dir(at("to")).unwrap();
    fs_err::write(at("from/f"), "1").unwrap();
    set_mtime(&at("from/f"), (5, 6));
    copy_paths(&at("from"), &at("to"), &CopyOptions::default()).unwrap();
    for tree in ["from/f", "to/f"] {
        let found = rustix::fs::lstat(at(tree)).unwrap();
        assert_eq!((found.st_atime, found.st_atime_nsec), (5, 6), "{tree}");
    }
}

#[test]
fn a_filled_target_is_refused_and_an_error_names_its_path() {
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    fs_err::create_dir(at("from")).unwrap();
    fs_err::create_dir(at("to")).unwrap();
    fs_err::write(at("to/there"), "1").unwrap();
    let error = copy_paths(&at("from"), &at("to"), &CopyOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs_err::read(at("to/there")).unwrap(), b"1");
    if lacks_root() {
        return;
    }
    // More than ext4 keeps of attributes. What a file system cannot take is an error.
    fs_err::remove_file(at("to/there")).unwrap();
    fs_err::create_dir(at("from/d")).unwrap();
    rustix::fs::mknodat(CWD, at("from/d/f"), FileType::RegularFile, Mode::RUSR, 0).unwrap();
    let (long, flags) = (vec![b'v'; 60_000], XattrFlags::empty());
    if rustix::fs::lsetxattr(at("from/d/f"), "user.long", &long, flags).is_err() {
        eprintln!("skipped: no large attributes here");
        return;
    }
    let small = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    match copy_paths(&at("from"), small.path(), &CopyOptions::default()) {
        Ok(_) => assert_eq!(facts(small.path()), facts(&at("from"))),
        Err(error) => {
            assert_eq!(error.context("path"), Some("d/f"), "{error:?}");
            assert_eq!(error.operation(), "copy tree");
        }
    }
}

#[test]
fn names_of_any_bytes_are_copied() {
    let scratch = scratch();
    let at = |name: &[u8]| scratch.path().join(std::ffi::OsStr::from_bytes(name));
    fs_err::create_dir(at(b"from")).unwrap();
    fs_err::create_dir(at(b"to")).unwrap();
    for name in [&b"from/\xff\xfe"[..], b"from/ \n", b"from/.wh.x", b"from/-"] {
        fs_err::write(at(name), name).unwrap();
    }
    copy_paths(&at(b"from"), &at(b"to"), &CopyOptions::default()).unwrap();
    assert_eq!(facts(&at(b"to")), facts(&at(b"from")));
}
