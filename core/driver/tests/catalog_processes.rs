//! The catalogue under several processes, killed processes and a full disk.
//!
//! Children are this very test binary, told by an environment variable to work on a root.
#![expect(
    clippy::print_stdout,
    reason = "a child tells its parent how far it is"
)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use strata_driver::catalog::{
    Catalog, CatalogOptions, CommitRow, Leftovers, NewSnapshot, SnapshotId,
};
use strata_driver::{DriverName, Durability, ErrorKind, Labels, SnapshotKind, SnapshotName};

const ROOT: &str = "STRATA_TEST_CATALOG_ROOT";
const WORK: &str = "STRATA_TEST_CATALOG_WORK";

fn open(root: &Path) -> strata_driver::Result<Catalog> {
    Catalog::open(
        root,
        &CatalogOptions {
            driver: &DriverName::new("test").unwrap(),
            durability: Durability::Volatile,
        },
    )
}

fn name(text: impl Into<String>) -> SnapshotName {
    SnapshotName::new(text).unwrap()
}

fn create(
    catalog: &Catalog,
    key: &SnapshotName,
    labels: &Labels,
) -> strata_driver::Result<SnapshotId> {
    let new = NewSnapshot {
        key,
        kind: SnapshotKind::Active,
        parent: None,
        labels,
    };
    catalog.create(&new, |_| Ok(()), |_| Ok(()))
}

/// One prepare, commit and remove after the other; each finished one is told on standard output.
fn live(catalog: &Catalog, me: &str, rounds: u64) {
    let labels = Labels::new();
    for round in 0..rounds {
        let (key, to) = (
            name(format!("{me}-key-{round}")),
            name(format!("{me}-{round}")),
        );
        let id = create(catalog, &key, &labels).unwrap();
        let commit = CommitRow {
            key: &key,
            name: &to,
            labels: &labels,
            late_parent: None,
        };
        catalog.commit(&commit).unwrap();
        println!("committed {to}");
        if round % 2 == 0 {
            catalog.begin_remove(&to).unwrap();
            println!("removed {to}");
            catalog.finish_remove(id).unwrap();
        }
    }
}

/// The children's side; as a test of its own it has nothing to do.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let catalog = open(root.as_ref()).unwrap();
    let me = std::process::id().to_string();
    match std::env::var(WORK).unwrap().as_str() {
        "endless" => live(&catalog, &me, u64::MAX),
        rounds => live(&catalog, &me, rounds.parse().unwrap()),
    }
}

fn spawn(root: &Path, work: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(ROOT, root)
        .env(WORK, work)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a child told: the names that must exist, and those that must not.
fn told(child: &mut Child) -> (Vec<String>, Vec<String>) {
    let (mut committed, mut removed) = (Vec::new(), Vec::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(name) = line.strip_prefix("committed ") {
            committed.push(name.to_owned());
        } else if let Some(name) = line.strip_prefix("removed ") {
            removed.push(name.to_owned());
        }
    }
    committed.retain(|name| !removed.contains(name));
    (committed, removed)
}

#[test]
fn killed_processes_lose_nothing_that_they_told() {
    let root = tempfile::tempdir().unwrap();
    drop(open(root.path()).unwrap());
    let mut finished = 0;
    for round in 0..12_u64 {
        let mut child = spawn(root.path(), "endless");
        // Anywhere between its start and some hundred transactions.
        std::thread::sleep(std::time::Duration::from_millis(7 + round * 13 % 50));
        child.kill().unwrap();
        child.wait().unwrap();
        let (there, gone) = told(&mut child);
        finished += there.len() + gone.len();

        let catalog = open(root.path()).unwrap();
        let mut exists = catalog
            .list()
            .unwrap()
            .into_iter()
            .map(|row| row.name.unwrap().to_string())
            .collect::<Vec<_>>();
        // The last commit and the last removal may be done and untold.
        for name in &there {
            let last = there.last() == Some(name);
            assert!(last || exists.contains(name), "{name} is lost");
        }
        for name in gone {
            assert!(!exists.contains(&name), "{name} came back");
        }
        let left = catalog.leftovers(Leftovers::Abandoned).unwrap();
        assert!(left.len() <= 1, "one operation at a time: {left:?}");
        for row in left {
            catalog.finish_remove(row.id).unwrap();
        }
        assert_eq!(
            catalog.leftovers(Leftovers::AbandonedOrRemoved).unwrap(),
            []
        );
        exists.sort();
        let ids = catalog.known_ids().unwrap();
        assert_eq!(ids.rows().len(), exists.len());
    }
    assert!(
        finished > 0,
        "the children were killed before they did anything"
    );
    let check = rusqlite::Connection::open(root.path().join("catalog.db")).unwrap();
    let answer: String = check
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(answer, "ok");
}

#[test]
fn processes_share_one_root() {
    let root = tempfile::tempdir().unwrap();
    let mut children: Vec<_> = (0..3).map(|_| spawn(root.path(), "150")).collect();
    let catalog = open(root.path()).unwrap();
    let mut expected = Vec::new();
    for child in &mut children {
        let (there, gone) = told(child);
        assert!(child.wait().unwrap().success());
        assert_eq!((there.len(), gone.len()), (75, 75));
        expected.extend(there);
    }
    expected.sort();
    let exists: Vec<_> = catalog
        .list()
        .unwrap()
        .into_iter()
        .map(|row| row.name.unwrap().to_string())
        .collect();
    assert_eq!(exists, expected);
    assert_eq!(
        catalog.leftovers(Leftovers::AbandonedOrRemoved).unwrap(),
        []
    );
}

/// A file system in memory.
fn memory(target: &Path, size: &str) -> strata_driver::mount::Mounted {
    let plan = strata_driver::MountPlan {
        snapshot: name("memory"),
        steps: vec![strata_driver::MountStep {
            fs_type: "tmpfs".into(),
            source: "memory".into(),
            options: vec![strata_driver::MountOption::pair("size", size)],
            flags: strata_driver::MountFlags::default(),
        }],
        hold: None,
    };
    strata_driver::mount::mount(&plan, target).unwrap()
}

#[test]
fn a_full_disk_is_no_space_and_harms_nothing() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mounted = memory(directory.path(), "512k");
    let root = mounted.target().join("root");
    let catalog = open(&root).unwrap();
    let labels: Labels = [("x".to_owned(), "y".repeat(4000))].into();
    let mut made = Vec::new();
    let error = loop {
        let key = name(format!("k{}", made.len()));
        match create(&catalog, &key, &labels) {
            Ok(_) => made.push(key),
            Err(error) => break error,
        }
        assert!(made.len() < 1000, "the disk never got full");
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    // The same instance goes on, and so does the next.
    assert_eq!(catalog.list().unwrap().len(), made.len());
    drop(catalog);
    let larger = Command::new("mount")
        .args(["-o", "remount,size=8m"])
        .arg(mounted.target())
        .status()
        .unwrap();
    assert!(larger.success());
    let catalog = open(&root).unwrap();
    assert_eq!(catalog.list().unwrap().len(), made.len());
    for key in &made {
        let row = catalog.begin_remove(key).unwrap();
        catalog.finish_remove(row.id).unwrap();
    }
    assert!(catalog.known_ids().unwrap().rows().is_empty());
    drop(catalog);
    mounted.unmount().unwrap();
}

/// A reservation that cannot be recorded gives no number: others would delete what is made under it.
#[test]
fn on_a_full_disk_nothing_is_made_under_a_number_that_nobody_knows() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mounted = memory(directory.path(), "512k");
    let root = mounted.target().join("root");
    let (catalog, looking) = (open(&root).unwrap(), open(&root).unwrap());
    let labels = Labels::new();
    let (mut refused, mut tried) = (0, 0);
    // Long enough for a range to run out after the disk is full.
    while refused < 300 {
        let key = name(format!("k{tried}"));
        let new = NewSnapshot {
            key: &key,
            kind: SnapshotKind::Active,
            parent: None,
            labels: &labels,
        };
        let known = |draft: &strata_driver::catalog::Draft| {
            assert!(looking.known_ids().unwrap().contains(draft.id));
            Ok(())
        };
        tried += 1;
        refused += u32::from(catalog.create(&new, known, |_| Ok(())).is_err());
        assert!(tried < 10_000, "the disk never got full");
    }
    drop((catalog, looking));
    mounted.unmount().unwrap();
}

/// What cannot be deleted keeps nothing else back, and no root from being opened.
#[test]
fn a_leftover_that_stays_is_told_when_it_is_asked_for() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let catalog = open(&directory.path().join("root")).unwrap();
    let homes = directory.path().join("homes");
    fs_err::create_dir_all(homes.join("3/mounted")).unwrap();
    fs_err::create_dir_all(homes.join("4")).unwrap();
    let mounted = memory(&homes.join("3/mounted"), "64k");
    let sweep = |which| {
        let parse = |name: &str| name.parse().ok();
        let remove = |id| strata_driver::recovery::remove_all(&homes, id);
        strata_driver::recovery::sweep(&catalog, &homes, which, parse, remove)
    };
    assert_eq!(sweep(Leftovers::Abandoned).unwrap(), 1);
    assert!(homes.join("3").exists() && !homes.join("4").exists());
    let told = sweep(Leftovers::AbandonedOrRemoved).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Busy);
    mounted.unmount().unwrap();
    assert_eq!(sweep(Leftovers::AbandonedOrRemoved).unwrap(), 1);
}

/// An instance that finishes a snapshot and goes leaves no orphan, however close a recovery looks:
/// what is on disk and not known gets deleted.
#[test]
fn a_finished_snapshot_is_never_an_orphan() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let looking = open(&root).unwrap();
    let latest = std::sync::atomic::AtomicU64::new(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..2_000 {
                let short_lived = open(&root).unwrap();
                let key = name(format!("key-{round}"));
                let new = NewSnapshot {
                    key: &key,
                    kind: SnapshotKind::Active,
                    parent: None,
                    labels: &Labels::new(),
                };
                let make = |draft: &strata_driver::catalog::Draft| {
                    latest.store(draft.id.get(), Ordering::SeqCst);
                    Ok(())
                };
                short_lived.create(&new, make, |_| Ok(())).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            let seen = latest.load(Ordering::SeqCst);
            if let Ok(id) = seen.to_string().parse() {
                assert!(looking.known_ids().unwrap().contains(id), "{id}");
            }
        }
    });
}

/// Whoever comes second finds a root, and in it what the first one's driver has made since.
#[test]
fn a_root_that_several_make_at_once_is_everybodys() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let root = directory.path().join(round.to_string());
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    let catalog = open(&root).unwrap();
                    let made = fs_err::create_dir(root.join("snapshots"));
                    assert!(made.is_ok() || root.join("snapshots").is_dir());
                    drop(catalog);
                });
            }
        });
    }
}
