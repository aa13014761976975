//! The catalogue on a full btrfs, which writes nothing in place unless told to.
//!
//! `SQLite` maps a file into memory, and a write to a mapped page for which there is no room ends
//! the process. So all is done by a child: this very test binary, told by an environment variable.
#![expect(
    clippy::print_stdout,
    reason = "a child tells its parent how far it is"
)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use rustix::fs::IFlags;
use rustix::io::Errno;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use strata_driver::backing::{BackingSpec, LoopFileSystem};
use strata_driver::catalog::{Catalog, CatalogOptions, NewSnapshot};
use strata_driver::process::Tool;
use strata_driver::{
    Bytes, DriverName, Durability, ErrorKind, Host, Labels, SnapshotKind, SnapshotName,
};

const ROOT: &str = "STRATA_TEST_FULL_ROOT";

fn open(root: &Path) -> strata_driver::Result<Catalog> {
    Catalog::open(
        root,
        &CatalogOptions {
            driver: &DriverName::new("test").unwrap(),
            durability: Durability::Durable,
        },
    )
}

fn name(number: usize) -> SnapshotName {
    SnapshotName::new(format!("key-{number}")).unwrap()
}

fn create(catalog: &Catalog, number: usize) -> strata_driver::Result<()> {
    let new = NewSnapshot {
        key: &name(number),
        kind: SnapshotKind::Active,
        parent: None,
        labels: &Labels::new(),
    };
    catalog.create(&new, |_| Ok(()), |_| Ok(())).map(drop)
}

fn remove(catalog: &Catalog, number: usize) -> strata_driver::Result<()> {
    let row = catalog.begin_remove(&name(number))?;
    catalog.finish_remove(row.id)
}

/// Takes all room of the file system, down to single blocks, and has everything written out: a
/// page that waits for that has its room already.
fn fill_up(directory: &Path) {
    let mut file = fs_err::File::create(directory.join("ballast")).unwrap();
    for block in [1 << 20, 4096, 512] {
        loop {
            let written = file.write_all(&vec![1; block]);
            match written.and_then(|()| file.sync_all()) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    write_out(directory);
}

fn write_out(directory: &Path) {
    match rustix::fs::syncfs(fs_err::File::open(directory).unwrap()) {
        Ok(()) | Err(Errno::NOSPC) => {}
        Err(errno) => panic!("{errno}"),
    }
}

/// The child's side; as a test of its own it has nothing to do.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let root = Path::new(&root);
    let catalog = open(root).unwrap();
    for number in 0..40 {
        create(&catalog, number).unwrap();
    }
    fill_up(root.parent().unwrap());
    for number in 0..40 {
        for outcome in [remove(&catalog, number), create(&catalog, 100 + number)] {
            if let Err(error) = outcome {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.chain());
            }
            write_out(root);
        }
    }
    let listed = catalog.list().unwrap();
    drop(catalog);
    // Whoever opens first makes `-shm` anew, for which there is no room.
    match open(root) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.chain()),
        Ok(catalog) => assert_eq!(catalog.list().unwrap(), listed),
    }
    fs_err::remove_file(root.with_file_name("ballast")).unwrap();
    write_out(root);
    let catalog = open(root).unwrap();
    assert_eq!(catalog.list().unwrap(), listed);
    for row in listed {
        catalog.begin_remove(&row.name.unwrap()).unwrap();
    }
    println!("done");
}

fn btrfs(directory: &Path) -> Option<LoopFileSystem> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    if !Host::probe().has_file_system("btrfs") {
        eprintln!("skipped: the kernel has no btrfs");
        return None;
    }
    if let Err(error) = Tool::find("mkfs.btrfs", "install `btrfs-progs`") {
        eprintln!("skipped: {}", error.chain());
        return None;
    }
    let spec = BackingSpec::new(directory.join("image"), "btrfs", directory.join("mnt"))
        .with_size(Bytes(256 << 20));
    Some(LoopFileSystem::take(&spec).unwrap())
}

/// Linux 6.17 needs no room to write to a mapped page in place.
fn kernel_overwrites_mapped_pages() -> bool {
    let kernel = Host::probe().kernel;
    let mut numbers = kernel.split(['.', '-']).map(str::parse::<u32>);
    let (major, minor) = (numbers.next().unwrap(), numbers.next().unwrap());
    (major.unwrap(), minor.unwrap()) >= (6, 17)
}

#[test]
fn a_full_btrfs_is_no_space_and_ends_no_process() {
    if !kernel_overwrites_mapped_pages() {
        eprintln!("skipped: needs Linux 6.17");
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let Some(backing) = btrfs(directory.path()) else {
        return;
    };
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(ROOT, backing.mount_point().join("root"))
        .output()
        .unwrap();
    backing.release().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.contains("done"),
        "{}: {told}{complaint}",
        output.status
    );
}

/// What lies in layers is written as the file system does.
#[test]
fn the_catalogue_is_overwritten_in_place_and_nothing_else() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let Some(backing) = btrfs(directory.path()) else {
        return;
    };
    let root = backing.mount_point().join("root");
    let in_place = |file: &str| {
        let flags = rustix::fs::ioctl_getflags(fs_err::File::open(root.join(file)).unwrap());
        flags.unwrap().contains(IFlags::NOCOW)
    };
    let files = ["catalog.db", "catalog.db-wal", "catalog.db-shm"];
    let catalog = open(&root).unwrap();
    create(&catalog, 1).unwrap();
    drop(catalog);
    assert_eq!(files.map(in_place), [true; 3]);
    assert_eq!(["", "holders"].map(in_place), [false; 2]);
    // A backup has no such file.
    fs_err::remove_file(root.join("catalog.db-shm")).unwrap();
    drop(open(&root).unwrap());
    assert_eq!(files.map(in_place), [true; 3]);
    backing.release().unwrap();
}
