//! File systems in files: made, shared, adopted and released. Root only.
#![expect(
    clippy::print_stdout,
    reason = "a child tells its parent how far it is"
)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Stdio};
use strata_driver::backing::{BackingSpec, LoopFileSystem, take_down};
use strata_driver::process::Tool;
use strata_driver::{Bytes, ErrorKind};

const FILE: &str = "STRATA_TEST_BACKING";

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

fn spec(directory: &Path) -> BackingSpec {
    BackingSpec::new(directory.join("image"), "ext4", directory.join("mnt"))
        .with_size(Bytes(64 << 20))
}

fn attached(directory: &Path) -> usize {
    let image = directory.join("image");
    strata_sys::loopdev::attached()
        .unwrap()
        .iter()
        .filter(|(_, file)| *file == image)
        .count()
}

/// The kernel detaches a device a moment after its last user is gone.
fn is_detached(directory: &Path) -> bool {
    (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(4));
        attached(directory) == 0
    })
}

#[test]
fn an_empty_file_system_is_made_used_and_released() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let backing = LoopFileSystem::take(&spec(directory.path())).unwrap();
    assert_eq!(fs_err::read_dir(backing.mount_point()).unwrap().count(), 0);
    let before = backing.device_bytes_written().unwrap();
    let file = backing.mount_point().join("data");
    fs_err::write(&file, vec![7; 4 << 20]).unwrap();
    fs_err::File::open(&file).unwrap().sync_all().unwrap();
    let written = backing.device_bytes_written().unwrap().0 - before.0;
    assert!((4 << 20..6 << 20).contains(&written), "{written}");
    // Sparse: no more than what was written and what mkfs needs.
    let allocated = rustix::fs::stat(directory.path().join("image"))
        .unwrap()
        .st_blocks
        * 512;
    assert!(allocated < 16 << 20, "{allocated}");
    // A journal: without one a crash of the host would undo what was synced.
    let dump = Tool::find("dumpe2fs", "install `e2fsprogs`").unwrap();
    let features = dump
        .run(["-h".as_ref(), backing.device().as_os_str()])
        .unwrap();
    assert!(features.text().unwrap().contains("has_journal"));
    backing.release().unwrap();
    assert!(!file.exists() && is_detached(directory.path()));
    assert!(!directory.path().join("image.json").exists());

    let again = LoopFileSystem::take(&spec(directory.path())).unwrap();
    assert_eq!(fs_err::read(&file).unwrap().len(), 4 << 20);
    drop(again);
    assert!(!file.exists() && is_detached(directory.path()));
}

#[test]
fn holders_share_and_the_last_one_unmounts() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path(), &link).unwrap();
    let first = LoopFileSystem::take(&spec(directory.path())).unwrap();
    // By another name of the same file.
    let second = LoopFileSystem::take(&spec(&link)).unwrap();
    assert_eq!(first.device(), second.device());
    assert_eq!(first.mount_id().unwrap(), second.mount_id().unwrap());
    fs_err::write(first.mount_point().join("a"), "").unwrap();
    first.release().unwrap();
    assert!(second.mount_point().join("a").exists());
    second.release().unwrap();
    assert!(is_detached(directory.path()));
}

#[test]
fn a_busy_backing_stays_for_the_next_holder() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let backing = LoopFileSystem::take(&spec(directory.path())).unwrap();
    let user = fs_err::File::create(backing.mount_point().join("open")).unwrap();
    assert_eq!(backing.release().unwrap_err().kind(), ErrorKind::InUse);
    let next = LoopFileSystem::take(&spec(directory.path())).unwrap();
    assert!(next.mount_point().join("open").exists());
    assert_eq!(attached(directory.path()), 1);
    drop(user);
    next.release().unwrap();
    assert!(is_detached(directory.path()));
}

#[test]
fn a_passing_use_is_waited_for() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let backing = LoopFileSystem::take(&spec(directory.path())).unwrap();
    let user = fs_err::File::create(backing.mount_point().join("open")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(10));
            drop(user);
        });
        backing.release().unwrap();
    });
    assert!(is_detached(directory.path()));
}

/// The side of a process that is killed while it holds; as a test of its own it has nothing to do.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(FILE) else {
        return;
    };
    let _backing = LoopFileSystem::take(&spec(directory.as_ref())).unwrap();
    println!("taken");
    std::thread::park();
}

fn killed_holder(directory: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FILE, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().ends_with("taken")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_a_killed_process_held_is_adopted_or_taken_down() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    killed_holder(directory.path());
    assert_eq!(attached(directory.path()), 1);
    let adopted = LoopFileSystem::take(&spec(directory.path())).unwrap();
    assert_eq!(attached(directory.path()), 1);
    adopted.release().unwrap();
    assert!(is_detached(directory.path()));

    killed_holder(directory.path());
    assert!(take_down(&directory.path().join("image")).unwrap());
    assert!(is_detached(directory.path()));
    assert!(!take_down(&directory.path().join("image")).unwrap());
}

#[test]
fn a_record_of_another_boot_is_not_believed() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    LoopFileSystem::take(&spec(directory.path()))
        .unwrap()
        .release()
        .unwrap();
    let record = r#"{"boot_id":"another","device":"/dev/loop0","mount_point":"/nowhere"}"#;
    fs_err::write(directory.path().join("image.json"), record).unwrap();
    assert!(!take_down(&directory.path().join("image")).unwrap());
    let backing = LoopFileSystem::take(&spec(directory.path())).unwrap();
    fs_err::write(backing.mount_point().join("a"), "").unwrap();
    backing.release().unwrap();
    assert!(is_detached(directory.path()));
}

#[test]
fn what_fails_leaves_nothing_attached() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let refused = spec(directory.path()).with_mkfs_arguments(["--no-such-option"]);
    let error = LoopFileSystem::take(&refused).unwrap_err();
    assert!(error.to_string().contains("no-such-option"), "{error}");
    assert!(
        !directory.path().join("image").exists() && !directory.path().join("image.new").exists()
    );
    // A file that is no file system.
    fs_err::write(directory.path().join("image"), vec![0; 1 << 20]).unwrap();
    assert!(LoopFileSystem::take(&spec(directory.path())).is_err());
    assert!(is_detached(directory.path()));
}

#[test]
fn every_type_works_or_names_its_package() {
    if !is_root() {
        return;
    }
    for (fs_type, package) in [("xfs", "xfsprogs"), ("btrfs", "btrfs-progs")] {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let spec = BackingSpec::new(
            directory.path().join("image"),
            fs_type,
            directory.path().join("mnt"),
        )
        .with_size(Bytes(512 << 20));
        match LoopFileSystem::take(&spec) {
            Ok(backing) => {
                fs_err::write(backing.mount_point().join("a"), "").unwrap();
                let again = LoopFileSystem::take(&spec).unwrap();
                assert_eq!(again.device(), backing.device());
                backing.release().unwrap();
                again.release().unwrap();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                let hint = error.hint_text().unwrap();
                assert!(
                    hint.contains(package) || hint.contains("modprobe"),
                    "{hint}"
                );
            }
        }
        assert!(is_detached(directory.path()));
    }
}

#[test]
fn a_backing_that_cannot_be_recorded_is_given_back() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let in_the_way = directory.path().join("image.json.new");
    fs_err::create_dir(&in_the_way).unwrap();
    // Once this waited for a lock of its own, for ever.
    LoopFileSystem::take(&spec(directory.path())).unwrap_err();
    assert!(is_detached(directory.path()));
    fs_err::remove_dir(&in_the_way).unwrap();
    let backing = LoopFileSystem::take(&spec(directory.path())).unwrap();
    backing.release().unwrap();
    assert!(is_detached(directory.path()));
}
