//! Names, kinds, attributes, directories.

use crate::memory::{INO_BASE, MADE_AT};
use crate::mounted;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::unix::fs::{DirEntryExt as _, FileTypeExt as _, MetadataExt as _};
use std::time::Duration;
use strata_fuse::{NodeId, SessionOptions};

const DAY: Duration = Duration::from_hours(24);

#[test]
fn all_kinds_are_made_with_the_callers_mode_and_device() {
    mounted(&SessionOptions::default(), |f| {
        fs_err::write(f.path("file"), "content").unwrap();
        fs_err::create_dir(f.path("dir")).unwrap();
        fs_err::os::unix::fs::symlink("to/where", f.path("link")).unwrap();
        fs_err::hard_link(f.path("file"), f.path("other")).unwrap();
        let device = rustix::fs::makedev(259, 70_000);
        let mode = Mode::from_raw_mode(0o640);
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(CWD, f.path("dev"), kind, mode, device).unwrap();

        assert!(f.path("dir").is_dir());
        for _ in 0..3 {
            let target = fs_err::read_link(f.path("link")).unwrap();
            assert_eq!(target.as_os_str(), "to/where");
        }
        assert_eq!(f.calls("readlink"), 1, "CACHE_SYMLINKS");
        let found = fs_err::symlink_metadata(f.path("dev")).unwrap();
        assert!(found.file_type().is_char_device());
        assert_eq!(found.rdev(), device);
        let file = fs_err::metadata(f.path("file")).unwrap();
        assert_eq!(file.nlink(), 2);
        assert_eq!((file.mtime(), file.mtime_nsec()), (MADE_AT, 5));
        assert_eq!(file.ino(), fs_err::metadata(f.path("other")).unwrap().ino());
        assert!(file.ino() > INO_BASE, "the node id is another number");
        fs_err::remove_file(f.path("other")).unwrap();
        fs_err::remove_dir(f.path("dir")).unwrap();
        assert!(!f.path("dir").exists());
        let stat = rustix::fs::statfs(&f.root).unwrap();
        assert_eq!((stat.f_blocks, stat.f_bavail, stat.f_ffree), (100, 40, 20));
    });
}

#[test]
fn attributes_are_set() {
    mounted(&SessionOptions::default(), |f| {
        fs_err::write(f.path("file"), "0123456789").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4711);
        fs_err::set_permissions(f.path("file"), mode).unwrap();
        fs_err::os::unix::fs::chown(f.path("file"), Some(5), Some(6)).unwrap();
        let file = fs_err::OpenOptions::new()
            .write(true)
            .open(f.path("file"))
            .unwrap();
        file.set_len(4).unwrap();
        let time = std::time::UNIX_EPOCH + Duration::new(77, 8);
        file.file().set_modified(time).unwrap();
        let found = fs_err::metadata(f.path("file")).unwrap();
        assert_eq!((found.uid(), found.gid(), found.len()), (5, 6, 4));
        assert_eq!(found.mode() & 0o777, 0o711);
        assert_eq!((found.mtime(), found.mtime_nsec()), (77, 8));
        assert_eq!(found.atime(), MADE_AT);
    });
}

#[test]
fn rename_flags_arrive() {
    mounted(&SessionOptions::default(), |f| {
        fs_err::write(f.path("a"), "a").unwrap();
        fs_err::write(f.path("b"), "b").unwrap();
        let rename = |from: &str, to: &str, flags| {
            rustix::fs::renameat_with(CWD, f.path(from), CWD, f.path(to), flags)
        };
        let content = |name: &str| fs_err::read_to_string(f.path(name)).unwrap();
        assert_eq!(rename("a", "b", RenameFlags::NOREPLACE), Err(Errno::EXIST));
        rename("a", "b", RenameFlags::EXCHANGE).unwrap();
        assert_eq!((content("a"), content("b")), ("b".into(), "a".into()));
        rename("a", "c", RenameFlags::WHITEOUT).unwrap();
        assert_eq!(content("c"), "b");
        let left = fs_err::symlink_metadata(f.path("a")).unwrap();
        assert!(left.file_type().is_char_device() && left.rdev() == 0);
        rename("c", "b", RenameFlags::empty()).unwrap();
        assert_eq!(content("b"), "b");
    });
}

/// Lists a directory, also with few bytes at a time.
#[test]
fn directories_are_listed_whole_plain_and_plus() {
    mounted(&SessionOptions::default(), |f| {
        f.fs.state().attr_ttl = DAY;
        f.fs.state().entry_ttl = DAY;
        let count = 3000;
        for number in 0..count {
            f.fs.state().add_file(&format!("file-with-a-name-{number}"));
        }
        let listed = || {
            let entries = fs_err::read_dir(&f.root).unwrap().map(Result::unwrap);
            entries
                .map(|entry| (entry.file_name(), entry.ino()))
                .collect::<Vec<_>>()
        };
        let first = listed();
        assert!(f.calls("readdirplus") > 0);
        assert!(
            f.calls("readdir") > 0,
            "READDIRPLUS_AUTO: nobody looked any of them up"
        );
        let all: BTreeSet<_> = first.iter().collect();
        assert_eq!((first.len(), all.len()), (count, count));
        let before = (f.calls("lookup"), f.calls("getattr"));
        fs_err::metadata(f.root.join(&first[0].0)).unwrap();
        let after = (f.calls("lookup"), f.calls("getattr"));
        assert_eq!(after, before, "READDIRPLUS gave it");
        for (name, ino) in &first {
            assert_eq!(fs_err::metadata(f.root.join(name)).unwrap().ino(), *ino);
        }
        assert_eq!(listed(), first);
        // From the middle, as telldir(3) and seekdir(3) do.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = rustix::fs::open(&f.root, flags, Mode::empty()).unwrap();
        rustix::fs::seek(&directory, rustix::fs::SeekFrom::Start(1502)).unwrap();
        let mut rest = rustix::fs::Dir::new(directory).unwrap();
        let name = rest.read().unwrap().unwrap();
        assert_eq!(
            name.file_name().to_bytes(),
            first[1500].0.as_encoded_bytes()
        );
    });
}

#[test]
fn names_that_are_not_there_are_remembered() {
    mounted(&SessionOptions::default(), |f| {
        assert!(!f.path("none").exists());
        assert!(!f.path("none").exists());
        assert_eq!(f.calls("lookup"), 2);
        f.fs.state().entry_ttl = DAY;
        for _ in 0..5 {
            assert!(!f.path("none").exists());
        }
        assert_eq!(f.calls("lookup"), 3);
        f.notifier.inval_entry(NodeId::ROOT, c"none").unwrap();
        assert!(!f.path("none").exists());
        assert_eq!(f.calls("lookup"), 4);
        f.notifier
            .inval_entry(NodeId::ROOT, c"never looked up")
            .unwrap();
    });
}

#[test]
fn names_told_of_are_looked_up_again() {
    mounted(&SessionOptions::default(), |f| {
        f.fs.state().entry_ttl = DAY;
        f.fs.state().attr_ttl = DAY;
        fs_err::write(f.path("file"), "").unwrap();
        let looked_up = || {
            assert!(f.path("file").exists());
            f.calls("lookup")
        };
        let before = looked_up();
        assert_eq!(looked_up(), before);
        f.notifier.inval_entry(NodeId::ROOT, c"file").unwrap();
        assert_eq!(looked_up(), before + 1);
        if f.features.expire_entry() {
            f.notifier.expire_entry(NodeId::ROOT, c"file").unwrap();
            assert_eq!(looked_up(), before + 2);
        }
        let node = f.fs.state().find(NodeId::ROOT, c"file").unwrap();
        f.notifier.delete(NodeId::ROOT, node, c"file").unwrap();
        f.fs.state().node(NodeId::ROOT).unwrap().names.clear();
        assert!(!f.path("file").exists());
    });
}

#[test]
fn extended_attributes_have_their_size_asked_first() {
    mounted(&SessionOptions::default(), |f| {
        let path = f.path("file");
        fs_err::write(&path, "").unwrap();
        let get = |room: &mut [u8]| rustix::fs::getxattr(&path, "user.a", room);
        let size = || rustix::fs::getxattr_query(&path, "user.a");
        assert_eq!(
            (get(&mut [0; 9]), size()),
            (Err(Errno::NODATA), Err(Errno::NODATA))
        );
        rustix::fs::setxattr(&path, "user.a", b"value", XattrFlags::empty()).unwrap();
        rustix::fs::setxattr(&path, "user.b", &vec![7; 60_000], XattrFlags::empty()).unwrap();
        assert_eq!(size(), Ok(5));
        assert_eq!(get(&mut [0; 4]), Err(Errno::RANGE));
        let mut room = [0; 9];
        assert_eq!(get(&mut room), Ok(5));
        assert_eq!(&room[..5], b"value");
        let mut room = vec![0; 60_000];
        assert_eq!(
            rustix::fs::getxattr(&path, "user.b", &mut room[..]),
            Ok(60_000)
        );
        let list = |room: &mut [u8]| rustix::fs::listxattr(&path, room);
        assert_eq!(rustix::fs::listxattr_query(&path), Ok(14));
        assert_eq!(list(&mut [0; 13]), Err(Errno::RANGE));
        let mut room = [0; 14];
        assert_eq!(list(&mut room), Ok(14));
        assert_eq!(&room, b"user.a\0user.b\0");
        rustix::fs::removexattr(&path, "user.a").unwrap();
        assert_eq!(rustix::fs::removexattr(&path, "user.a"), Err(Errno::NODATA));
    });
}

#[test]
fn a_read_only_session_is_asked_to_change_nothing() {
    let options = SessionOptions {
        read_only: true,
        source: "where it is from".to_owned(),
        subtype: "kind".to_owned(),
        ..SessionOptions::default()
    };
    mounted(&options, |f| {
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let refused = rustix::fs::open(f.path("file"), flags, Mode::empty()).unwrap_err();
        assert_eq!(refused, Errno::ROFS);
        assert_eq!(f.calls("create"), 0);
        let mounts = fs_err::read_to_string("/proc/thread-self/mounts").unwrap();
        assert!(mounts.contains("where\\040it\\040is\\040from"), "{mounts}");
        assert!(mounts.contains(" fuse.kind ro"), "{mounts}");
    });
}
