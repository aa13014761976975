//! Extents, copies, statx, confined opening, directories, locks and the page cache.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, also in its set-up, it is the assertion"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::Path;

use rustix::io::Errno;
use strata_sys::dir::{DirectoryReader, FileType};
use strata_sys::file::{
    CopyOutcome, CopyRange, Immutable, MOUNT_ID_UNIQUE, Mode, OFlags, StatxAttributes, StatxFlags,
    cachestat, clone_file, clone_range, copy_range, data_extents, open_beneath,
    open_beneath_without_symlinks, open_in_root, punch_hole, set_immutable, statx,
    sync_file_system,
};
use strata_sys::lock::FileLock;
use strata_sys::{Result, SysError};
use tempfile::{TempDir, tempfile};

fn directory(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

fn errno<T: std::fmt::Debug>(result: Result<T>) -> Errno {
    result.unwrap_err().errno().unwrap()
}

const MIB: u64 = 1 << 20;

#[test]
fn data_extents_of_a_sparse_file() {
    let file = tempfile().unwrap();
    file.set_len(4 * MIB).unwrap();
    let extents = || {
        data_extents(&file, 4 * MIB)
            .collect::<Result<Vec<_>>>()
            .unwrap()
    };
    assert_eq!(extents(), []);
    file.write_all_at(&[1; 4096], MIB).unwrap();
    file.write_all_at(&[1; 4096], 4 * MIB - 4096).unwrap();
    assert_eq!(extents(), [MIB..MIB + 4096, 4 * MIB - 4096..4 * MIB]);
    let first = data_extents(&file, MIB + 100)
        .collect::<Result<Vec<_>>>()
        .unwrap();
    assert_eq!(first, vec![MIB..MIB + 100], "not past the length given");

    file.write_all_at(&[1; 8192], 0).unwrap();
    punch_hole(&file, 0, 4096).unwrap();
    assert_eq!(extents()[0], 4096..8192);
    assert_eq!(file.metadata().unwrap().len(), 4 * MIB);
}

#[test]
fn data_extents_of_what_cannot_seek_is_one_error() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let found: Vec<_> = data_extents(&reader, 10).collect();
    assert_eq!(found.len(), 1);
    assert!(found[0].as_ref().unwrap_err().is(Errno::SPIPE));
}

#[test]
fn copy_range_copies_all_and_tells_where_the_source_ends() {
    let (mut source, target) = (tempfile().unwrap(), tempfile().unwrap());
    source.write_all(&[7; 10_000]).unwrap();
    let position = source.stream_position().unwrap();
    let range = CopyRange {
        source_offset: 1000,
        target_offset: 5,
        length: 9000,
    };
    assert_eq!(
        copy_range(&source, &target, range).unwrap(),
        CopyOutcome::Complete
    );
    assert_eq!(target.metadata().unwrap().len(), 9005);
    assert_eq!(source.stream_position().unwrap(), position);
    let range = CopyRange {
        length: 9001,
        ..range
    };
    assert_eq!(
        copy_range(&source, &target, range).unwrap(),
        CopyOutcome::SourceEnded { copied: 9000 }
    );
}

#[test]
fn copy_range_tells_what_the_kernel_does_not_copy() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let range = CopyRange {
        source_offset: 0,
        target_offset: 0,
        length: 1,
    };
    let outcome = copy_range(&reader, tempfile().unwrap(), range).unwrap();
    assert_eq!(
        outcome,
        CopyOutcome::Refused {
            copied: 0,
            errno: Errno::INVAL
        }
    );
    let file = tempfile().unwrap();
    let read_only = rustix::fs::open("/proc/self/exe", OFlags::RDONLY, Mode::empty()).unwrap();
    assert_eq!(errno(copy_range(&file, &read_only, range)), Errno::BADF);
}

#[test]
fn clone_shares_or_says_that_it_cannot() {
    let (mut source, mut target) = (tempfile().unwrap(), tempfile().unwrap());
    source.write_all(&[7; 8192]).unwrap();
    let whole = CopyRange {
        source_offset: 0,
        target_offset: 0,
        length: 0,
    };
    for cloned in [
        clone_file(&source, &target),
        clone_range(&source, &target, whole),
    ] {
        match cloned {
            Ok(()) => {
                let mut bytes = Vec::new();
                target.rewind().unwrap();
                target.read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes, [7; 8192]);
            }
            Err(error) => assert!(error.is_unsupported(), "{error:?}"),
        }
    }
}

#[test]
fn statx_agrees_with_stat_and_follows_nothing() {
    let place = TempDir::new().unwrap();
    fs_err::write(place.path().join("file"), b"12345").unwrap();
    symlink("file", place.path().join("link")).unwrap();
    let fd = directory(place.path());
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME | MOUNT_ID_UNIQUE;
    let stat = statx(&fd, "file", mask).unwrap();
    let known = fs_err::metadata(place.path().join("file")).unwrap();
    assert_eq!(
        (stat.ino, stat.size, stat.mode),
        (known.ino(), 5, known.mode())
    );
    assert_eq!((stat.uid, stat.gid), (known.uid(), known.gid()));
    assert_eq!(u64::from(stat.nlink), known.nlink());
    assert_eq!(
        (stat.mtime.0, i64::from(stat.mtime.1)),
        (known.mtime(), known.mtime_nsec())
    );
    assert_eq!(
        (stat.ctime.0, i64::from(stat.ctime.1)),
        (known.ctime(), known.ctime_nsec())
    );
    assert_eq!(stat.blocks, known.blocks());
    assert_eq!(
        rustix::fs::makedev(stat.dev_major, stat.dev_minor),
        known.dev()
    );
    assert!(stat.mask.contains(StatxFlags::BASIC_STATS));

    let link = statx(&fd, "link", mask).unwrap();
    assert_eq!(FileType::from_raw_mode(link.mode), FileType::Symlink);
    assert_eq!(
        statx(&fd, "", mask).unwrap().ino,
        fs_err::metadata(place.path()).unwrap().ino()
    );
    let null = statx(rustix::fs::CWD, "/dev/null", mask).unwrap();
    assert_eq!((null.rdev_major, null.rdev_minor), (1, 3));
    let root = statx(rustix::fs::CWD, "/", mask).unwrap();
    assert_eq!(
        root.attributes.contains(StatxAttributes::MOUNT_ROOT),
        !strata_sys::namespace::is_chrooted()
    );
    let table = statx(rustix::fs::CWD, "/proc", mask).unwrap();
    assert!(table.attributes.contains(StatxAttributes::MOUNT_ROOT));
    let missing = statx(&fd, "missing", mask).unwrap_err();
    assert!(
        missing.is(Errno::NOENT) && missing.subject.ends_with("/missing"),
        "{missing:?}"
    );
    assert!(errno(statx(&fd, "a\0b", mask)) == Errno::INVAL);
}

#[test]
fn escapes_are_refused_by_openat2() {
    let place = TempDir::new().unwrap();
    let root = place.path().join("root");
    fs_err::create_dir_all(root.join("sub")).unwrap();
    fs_err::write(place.path().join("secret"), b"outside").unwrap();
    fs_err::write(root.join("secret"), b"inside").unwrap();
    for (target, link) in [
        ("../secret", "up"),
        ("/secret", "absolute"),
        ("sub/../../secret", "detour"),
        ("secret", "fine"),
        ("/proc/self/root", "magic"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    let fd = directory(&root);
    let none = Mode::empty();
    for path in [
        "../secret",
        "/secret",
        "sub/../../secret",
        "up",
        "absolute",
        "detour",
        "..",
    ] {
        assert_eq!(
            errno(open_beneath(&fd, path, OFlags::RDONLY, none)),
            Errno::XDEV,
            "{path}"
        );
    }
    for path in [
        "../secret",
        "/secret",
        "up",
        "absolute",
        "detour",
        "fine",
        "secret",
    ] {
        let opened = open_in_root(&fd, path, OFlags::RDONLY, none).unwrap();
        let text = std::io::read_to_string(std::fs::File::from(opened)).unwrap();
        assert_eq!(text, "inside", "{path}");
    }
    assert_eq!(
        errno(open_beneath_without_symlinks(
            &fd,
            "fine",
            OFlags::RDONLY,
            none
        )),
        Errno::LOOP
    );
    open_beneath(&fd, "fine", OFlags::RDONLY, none).unwrap();
    open_beneath_without_symlinks(&fd, "sub", OFlags::RDONLY, none).unwrap();

    let proc = directory(Path::new("/proc/self"));
    let magic = open_in_root(&proc, "exe", OFlags::RDONLY, none);
    assert_eq!(errno(magic), Errno::LOOP);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let made = open_beneath(&fd, "sub/made", flags, Mode::RUSR).unwrap();
    assert!(
        rustix::io::fcntl_getfd(&made)
            .unwrap()
            .contains(rustix::io::FdFlags::CLOEXEC)
    );
    assert_eq!(
        errno(open_beneath(&fd, "up", flags, Mode::RUSR)),
        Errno::EXIST
    );
}

#[test]
fn cachestat_counts_pages() {
    let page = rustix::param::page_size();
    let mut file = tempfile().unwrap();
    file.write_all(&vec![1; page * 5]).unwrap();
    match cachestat(&file, 0, 0) {
        Ok(whole) => {
            assert_eq!(whole.cached, 5);
            let part = cachestat(&file, page as u64, 2 * page as u64).unwrap();
            assert_eq!(part.cached, 2);
            sync_file_system(&file).unwrap();
            assert_eq!(cachestat(&file, 0, 0).unwrap().writeback, 0);
        }
        Err(error) if error.is_unsupported() => eprintln!("skipped: needs Linux 6.5"),
        Err(error) => panic!("{error}: {}", error.source),
    }
}

#[test]
fn immutable_files_cannot_be_removed_until_cleared() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let place = TempDir::new().unwrap();
    let path = place.path().join("file");
    let file = fs_err::File::create(&path).unwrap();
    match set_immutable(&file, Immutable::Set) {
        Ok(()) => {
            assert_eq!(
                fs_err::remove_file(&path).unwrap_err().kind(),
                std::io::ErrorKind::PermissionDenied
            );
            set_immutable(&file, Immutable::Set).unwrap();
            set_immutable(&file, Immutable::Clear).unwrap();
            fs_err::remove_file(&path).unwrap();
        }
        Err(error) if error.is_unsupported() => {
            eprintln!("skipped: {} has no immutable files", place.path().display());
        }
        Err(error) => panic!("{error}: {}", error.source),
    }
}

#[test]
fn directories_are_read_whole_and_again() {
    let place = TempDir::new().unwrap();
    let mut expected = BTreeMap::new();
    for number in 0..3000 {
        let name = format!("a-name-that-fills-the-buffer-soon-{number}");
        fs_err::write(place.path().join(&name), b"").unwrap();
        expected.insert(name.into_bytes(), FileType::RegularFile);
    }
    fs_err::create_dir(place.path().join("directory")).unwrap();
    expected.insert(b"directory".to_vec(), FileType::Directory);
    symlink("x", place.path().join("link")).unwrap();
    expected.insert(b"link".to_vec(), FileType::Symlink);

    let mut reader = DirectoryReader::new();
    for _ in 0..2 {
        let mut found = BTreeMap::new();
        reader
            .read(directory(place.path()), |entry| {
                found.insert(entry.name_bytes().to_vec(), entry.file_type);
                assert_ne!(entry.inode, 0);
                Ok::<_, SysError>(())
            })
            .unwrap();
        assert_eq!(found, expected);
    }
    let mut seen = 0;
    let stopped = reader.read(directory(place.path()), |_| {
        seen += 1;
        Err(SysError::new("visit", Errno::CANCELED, "the first"))
    });
    assert_eq!((errno(stopped), seen), (Errno::CANCELED, 1));
    let file = tempfile().unwrap();
    let not_a_directory = reader.read(file.as_fd(), |_| Ok::<_, SysError>(()));
    assert_eq!(errno(not_a_directory), Errno::NOTDIR);
}

#[test]
fn locks_exclude_each_other_across_descriptors() {
    let place = TempDir::new().unwrap();
    let path = place.path();
    let first = FileLock::try_exclusive(path).unwrap().unwrap();
    assert!(FileLock::try_exclusive(path).unwrap().is_none());
    assert!(FileLock::try_shared(path).unwrap().is_none());
    drop(first);
    let shared = FileLock::shared(path).unwrap();
    let also = FileLock::try_shared(path).unwrap().unwrap();
    assert!(FileLock::try_exclusive(path).unwrap().is_none());
    drop((shared, also));

    let file = path.join("file");
    fs_err::write(&file, b"").unwrap();
    let held = FileLock::exclusive(&file).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| FileLock::exclusive(&file).unwrap());
        assert!(FileLock::try_exclusive(&file).unwrap().is_none());
        drop(held);
        let got = waiter.join().unwrap();
        assert!(FileLock::try_shared(&file).unwrap().is_none());
        drop(got);
    });
    assert_eq!(
        errno(FileLock::exclusive(&path.join("missing"))),
        Errno::NOENT
    );
}

#[test]
fn a_dropped_lock_is_free_even_if_the_descriptor_lives_on_elsewhere() {
    let place = TempDir::new().unwrap();
    let fd = directory(place.path());
    let copy = fd.try_clone().unwrap();
    drop(FileLock::exclusive_on(fd).unwrap());
    assert!(FileLock::try_exclusive(place.path()).unwrap().is_some());
    drop(copy);
}
