//! What the catalogue promises of its rows, in one process.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::str::FromStr as _;
use strata_driver::catalog::{
    Catalog, CatalogOptions, CommitRow, Leftovers, NewSnapshot, SnapshotId, State,
};
use strata_driver::{
    DriverName, Durability, ErrorKind, Labels, Result, SnapshotKind, SnapshotName, recovery,
};

fn open(root: &Path) -> Result<Catalog> {
    open_as(root, "one")
}

fn open_as(root: &Path, driver: &str) -> Result<Catalog> {
    Catalog::open(
        root,
        &CatalogOptions {
            driver: &DriverName::new(driver).unwrap(),
            durability: Durability::Durable,
        },
    )
}

fn name(text: &str) -> SnapshotName {
    SnapshotName::new(text).unwrap()
}

fn labels(value: &str) -> Labels {
    [("label".to_owned(), value.to_owned())].into()
}

fn create(catalog: &Catalog, key: &str, parent: Option<&str>) -> Result<SnapshotId> {
    making(catalog, key, parent, |_| Ok(()))
}

/// Makes an active snapshot; `make` is what its driver would do.
fn making(
    catalog: &Catalog,
    key: &str,
    parent: Option<&str>,
    make: impl FnOnce(&strata_driver::catalog::Draft) -> Result<()>,
) -> Result<SnapshotId> {
    let parent = parent.map(name);
    let new = NewSnapshot {
        key: &name(key),
        kind: SnapshotKind::Active,
        parent: parent.as_ref(),
        labels: &labels("key"),
    };
    catalog.create(&new, make, |_| Ok(()))
}

fn commit(catalog: &Catalog, key: &str, to: &str) -> Result<SnapshotId> {
    commit_late(catalog, key, to, None)
}

fn commit_late(catalog: &Catalog, key: &str, to: &str, late: Option<&str>) -> Result<SnapshotId> {
    let late = late.map(name);
    let row = catalog.commit(&CommitRow {
        key: &name(key),
        name: &name(to),
        labels: &labels("name"),
        late_parent: late.as_ref(),
    })?;
    Ok(row.id)
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn life_of_a_snapshot_is_told_by_its_row() {
    let root = tempfile::tempdir().unwrap();
    let catalog = open(root.path()).unwrap();
    let base = create(&catalog, "k1", None).unwrap();
    assert_eq!(commit(&catalog, "k1", "base").unwrap(), base);
    let middle = create(&catalog, "k1", Some("base")).unwrap();
    commit(&catalog, "k1", "middle").unwrap();
    let new = NewSnapshot {
        key: &name("top"),
        kind: SnapshotKind::View,
        parent: Some(&name("middle")),
        labels: &Labels::new(),
    };
    let make = |draft: &strata_driver::catalog::Draft| {
        assert_eq!(draft.chain, [middle, base]);
        // Nobody sees it before it is finished, and its number is known.
        assert_eq!(kind(catalog.get(&name("top"))), ErrorKind::NotFound);
        assert_eq!(catalog.list().unwrap().len(), 2);
        assert!(catalog.known_ids().unwrap().contains(draft.id));
        Ok(())
    };
    let top_id = catalog.create(&new, make, |_| Ok(())).unwrap();

    let names: Vec<_> = catalog
        .list()
        .unwrap()
        .into_iter()
        .map(|row| row.name.unwrap().to_string())
        .collect();
    assert_eq!(names, ["base", "middle", "top"]);
    let top = catalog.get(&name("top")).unwrap();
    assert_eq!((top.kind, top.state), (SnapshotKind::View, State::Ready));
    assert_eq!(
        (top.parent, top.parent_name.clone()),
        (Some(middle), Some(name("middle")))
    );
    assert_eq!(top.holder, None);
    assert_eq!(catalog.get(&name("base")).unwrap().labels, labels("name"));
    assert_eq!(catalog.chain(&name("top")).unwrap(), [top_id, middle, base]);
    let info = top.into_info().unwrap();
    assert_eq!(info.parent, Some(name("middle")));
    assert!(info.created_ms > 1_600_000_000_000);

    catalog
        .set_labels(&name("top"), &labels("new \u{1f980} \"'"))
        .unwrap();
    assert_eq!(
        catalog.get(&name("top")).unwrap().labels,
        labels("new \u{1f980} \"'")
    );
    let gone = catalog.begin_remove(&name("top")).unwrap();
    assert_eq!((gone.id, gone.name), (top_id, Some(name("top"))));
    assert_eq!(kind(catalog.get(&name("top"))), ErrorKind::NotFound);
    // The name is free at once, the number is not.
    let again = create(&catalog, "top", Some("base")).unwrap();
    assert!(again > top_id);
    let known: Vec<_> = catalog
        .known_ids()
        .unwrap()
        .rows()
        .iter()
        .copied()
        .collect();
    assert_eq!(known, [base, middle, top_id, again]);
    catalog.finish_remove(top_id).unwrap();
    catalog.finish_remove(top_id).unwrap();
    assert!(!catalog.known_ids().unwrap().rows().contains(&top_id));
}

#[test]
fn numbers_are_never_given_twice() {
    let root = tempfile::tempdir().unwrap();
    let mut last = None;
    for _ in 0..3 {
        let catalog = open(root.path()).unwrap();
        let id = create(&catalog, "k", None).unwrap();
        assert!(Some(id) > last);
        last = Some(id);
        catalog.begin_remove(&name("k")).unwrap();
        catalog.finish_remove(id).unwrap();
    }
}

#[test]
fn the_log_is_overwritten_in_place_and_stays_short() {
    let root = tempfile::tempdir().unwrap();
    let length = || {
        let log = fs_err::metadata(root.path().join("catalog.db-wal"));
        log.unwrap().len()
    };
    let live = |catalog: &Catalog| {
        let id = create(catalog, "k", None).unwrap();
        catalog.begin_remove(&name("k")).unwrap();
        catalog.finish_remove(id).unwrap();
    };
    let durable = open(root.path()).unwrap();
    live(&durable);
    let filled = length();
    assert!(filled >= 1 << 20, "{filled}");
    for _ in 0..50 {
        live(&durable);
    }
    assert_eq!(length(), filled);
    drop(durable);
    let driver = DriverName::new("one").unwrap();
    let volatile = CatalogOptions {
        driver: &driver,
        durability: Durability::Volatile,
    };
    let volatile = Catalog::open(root.path(), &volatile).unwrap();
    for _ in 0..3000 {
        live(&volatile);
    }
    assert!(length() < 6 << 20, "{}", length());
}

#[test]
fn refusals_change_nothing() {
    let root = tempfile::tempdir().unwrap();
    let catalog = open(root.path()).unwrap();
    create(&catalog, "k", None).unwrap();
    commit(&catalog, "k", "base").unwrap();
    create(&catalog, "active", Some("base")).unwrap();
    let before = catalog.list().unwrap();
    assert_eq!(
        kind(create(&catalog, "active", None)),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        kind(create(&catalog, "base", None)),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        kind(create(&catalog, "x", Some("nobody"))),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(create(&catalog, "x", Some("active"))),
        ErrorKind::InvalidState
    );
    assert_eq!(kind(commit(&catalog, "nobody", "x")), ErrorKind::NotFound);
    assert_eq!(kind(commit(&catalog, "base", "x")), ErrorKind::InvalidState);
    assert_eq!(
        kind(commit(&catalog, "active", "base")),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        kind(commit(&catalog, "active", "active")),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        kind(commit_late(&catalog, "active", "x", Some("base"))),
        ErrorKind::InvalidState
    );
    let error = catalog.begin_remove(&name("base")).unwrap_err();
    assert_eq!(
        (error.kind(), error.context("child")),
        (ErrorKind::InUse, Some("active"))
    );
    assert_eq!(
        kind(catalog.begin_remove(&name("nobody"))),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(catalog.set_labels(&name("nobody"), &Labels::new())),
        ErrorKind::NotFound
    );
    catalog.finish_remove(before[0].id).unwrap();
    assert_eq!(catalog.list().unwrap(), before);
    assert_eq!(
        catalog.leftovers(Leftovers::AbandonedOrRemoved).unwrap(),
        []
    );
}

#[test]
fn late_parent_joins_the_chain() {
    let root = tempfile::tempdir().unwrap();
    let catalog = open(root.path()).unwrap();
    let base = create(&catalog, "k", None).unwrap();
    commit(&catalog, "k", "base").unwrap();
    let late = create(&catalog, "k", None).unwrap();
    assert_eq!(
        kind(commit_late(&catalog, "k", "x", Some("nobody"))),
        ErrorKind::NotFound
    );
    commit_late(&catalog, "k", "late", Some("base")).unwrap();
    assert_eq!(catalog.chain(&name("late")).unwrap(), [late, base]);
    assert_eq!(kind(catalog.begin_remove(&name("base"))), ErrorKind::InUse);
}

#[test]
fn what_is_being_removed_is_no_child() {
    let root = tempfile::tempdir().unwrap();
    let catalog = open(root.path()).unwrap();
    create(&catalog, "k", None).unwrap();
    commit(&catalog, "k", "base").unwrap();
    create(&catalog, "child", Some("base")).unwrap();
    assert_eq!(kind(catalog.begin_remove(&name("base"))), ErrorKind::InUse);
    catalog.begin_remove(&name("child")).unwrap();
    catalog.begin_remove(&name("base")).unwrap();
}

#[test]
fn a_creation_that_fails_is_unmade_and_leaves_no_row() {
    let root = tempfile::tempdir().unwrap();
    let catalog = open(root.path()).unwrap();
    create(&catalog, "k", None).unwrap();
    commit(&catalog, "k", "base").unwrap();
    let base = name("base");
    let attempt = |make: &dyn Fn() -> Result<()>| {
        let new = NewSnapshot {
            key: &name("key"),
            kind: SnapshotKind::Active,
            parent: Some(&base),
            labels: &Labels::new(),
        };
        let (mut made, mut unmade) = (None, None);
        let outcome = catalog.create(
            &new,
            |draft| {
                made = Some(draft.id);
                draft.claim();
                make()
            },
            |id| {
                unmade = Some(id);
                Ok(())
            },
        );
        assert!(made.is_some() && made == unmade);
        outcome.unwrap_err()
    };
    let broken = || Err(strata_driver::Error::new(ErrorKind::NoSpace, "make"));
    assert_eq!(attempt(&broken).kind(), ErrorKind::NoSpace);
    // Somebody else is faster.
    let faster = || create(&catalog, "key", None).map(drop);
    assert_eq!(attempt(&faster).kind(), ErrorKind::AlreadyExists);
    catalog.begin_remove(&name("key")).unwrap();
    // The parent goes while it is read.
    let gone = || {
        catalog.begin_remove(&base).unwrap();
        broken()
    };
    let error = attempt(&gone);
    assert_eq!(
        (error.kind(), error.context("parent")),
        (ErrorKind::NotFound, Some("base"))
    );
    assert_eq!(catalog.list().unwrap(), []);
}

#[test]
fn a_parent_that_goes_meanwhile_is_no_parent() {
    let root = tempfile::tempdir().unwrap();
    let catalog = open(root.path()).unwrap();
    create(&catalog, "k", None).unwrap();
    commit(&catalog, "k", "base").unwrap();
    let made = making(&catalog, "key", Some("base"), |_| {
        let removed = catalog.begin_remove(&name("base")).unwrap();
        catalog.finish_remove(removed.id)
    });
    assert_eq!(kind(made), ErrorKind::NotFound);
}

#[test]
fn what_an_instance_leaves_is_found_by_the_next_and_by_nobody_before() {
    let root = tempfile::tempdir().unwrap();
    let (first, second) = (open(root.path()).unwrap(), open(root.path()).unwrap());
    let mut half_made = None;
    making(&first, "half", None, |draft| {
        half_made = Some(draft.id);
        assert!(second.known_ids().unwrap().contains(draft.id));
        Err(strata_driver::Error::new(ErrorKind::Other, "make"))
    })
    .unwrap_err();
    let half_made = half_made.unwrap();
    let removed = create(&first, "gone", None).unwrap();
    first.begin_remove(&name("gone")).unwrap();
    assert_eq!(second.leftovers(Leftovers::Abandoned).unwrap(), []);
    let asked = second.leftovers(Leftovers::AbandonedOrRemoved).unwrap();
    assert_eq!(
        asked.iter().map(|row| row.id).collect::<Vec<_>>(),
        [removed]
    );

    drop(first);
    let left = second.leftovers(Leftovers::Abandoned).unwrap();
    let told: Vec<_> = left.iter().map(|row| (row.id, row.state)).collect();
    assert_eq!(told, [(removed, State::Removing)]);
    assert!(!second.known_ids().unwrap().contains(half_made));
    second.finish_remove(removed).unwrap();
    assert_eq!(second.leftovers(Leftovers::AbandonedOrRemoved).unwrap(), []);
    create(&second, "half", None).unwrap();
    assert_eq!(
        fs_err::read_dir(root.path().join("holders"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn reservations_cover_what_is_being_made_and_go_with_their_instance() {
    let root = tempfile::tempdir().unwrap();
    let (first, second) = (open(root.path()).unwrap(), open(root.path()).unwrap());
    let mut last = SnapshotId::from_str("1").unwrap();
    making(&first, "slow", None, |slow| {
        for round in 0..200 {
            let id = create(&first, &format!("quick-{round}"), None).unwrap();
            assert!(id > last || round == 0);
            last = id;
            let other = create(&second, &format!("other-{round}"), None).unwrap();
            assert_ne!(other, id);
            assert!(second.known_ids().unwrap().contains(slow.id));
        }
        Ok(())
    })
    .unwrap();
    let reservations = || {
        let raw = rusqlite::Connection::open(root.path().join("catalog.db")).unwrap();
        raw.query_row(
            "SELECT count(DISTINCT holder) FROM reserved WHERE holder <> ''",
            [],
            |row| row.get::<_, i64>(0),
        )
        .unwrap()
    };
    assert_eq!(reservations(), 2);
    drop(first);
    assert_eq!(reservations(), 1);
    // One whose process died is swept by the next that opens the root.
    std::mem::forget(second);
    let raw = rusqlite::Connection::open(root.path().join("catalog.db")).unwrap();
    raw.execute_batch("INSERT INTO reserved VALUES ('4000000-1-0', 900, 1000)")
        .unwrap();
    let third = open(root.path()).unwrap();
    assert_eq!(reservations(), 1);
    assert!(!third.known_ids().unwrap().contains("950".parse().unwrap()));
}

#[test]
fn stale_instance_files_are_swept() {
    let root = tempfile::tempdir().unwrap();
    drop(open(root.path()).unwrap());
    let stale = root.path().join("holders/4000000-1-0");
    fs_err::write(&stale, "").unwrap();
    let _catalog = open(root.path()).unwrap();
    assert!(!stale.exists());
}

#[test]
fn options_are_kept_and_cannot_touch_the_drivers_name() {
    let root = tempfile::tempdir().unwrap();
    let catalog = open(root.path()).unwrap();
    assert_eq!(catalog.meta("index").unwrap(), None);
    catalog.set_meta("index", "off").unwrap();
    catalog.set_meta("index", "on").unwrap();
    catalog.set_meta("driver", "other").unwrap();
    drop(catalog);
    let catalog = open(root.path()).unwrap();
    assert_eq!(catalog.meta("index").unwrap().as_deref(), Some("on"));
    assert_eq!(
        Catalog::peek(root.path()).unwrap(),
        Some(DriverName::new("one").unwrap())
    );
}

#[test]
fn foreign_roots_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    assert_eq!(Catalog::peek(&root).unwrap(), None);
    drop(open(&root).unwrap());
    let error = open_as(&root, "two").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(text.contains("`one`") && text.contains("`two`"), "{text}");
    assert!(error.hint_text().is_some());

    let filled = directory.path().join("filled");
    fs_err::create_dir(&filled).unwrap();
    fs_err::write(filled.join("photo.jpg"), "x").unwrap();
    assert_eq!(kind(open(&filled)), ErrorKind::InvalidInput);
    assert_eq!(fs_err::read_dir(&filled).unwrap().count(), 1);
    assert_eq!(Catalog::peek(&filled).unwrap(), None);
    assert_eq!(
        kind(open(&directory.path().join("no/parent"))),
        ErrorKind::NotFound
    );
}

#[test]
fn later_versions_and_other_databases_are_refused() {
    for (statement, word) in [
        ("PRAGMA user_version=99", "version 99"),
        ("PRAGMA application_id=1", "another program"),
    ] {
        let root = tempfile::tempdir().unwrap();
        drop(open(root.path()).unwrap());
        rusqlite::Connection::open(root.path().join("catalog.db"))
            .unwrap()
            .execute_batch(statement)
            .unwrap();
        for error in [
            open(root.path()).unwrap_err(),
            Catalog::peek(root.path()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}

#[test]
fn damage_is_corrupt_with_a_way_out() {
    let garbage = tempfile::tempdir().unwrap();
    fs_err::write(garbage.path().join("catalog.db"), vec![0x5a; 8192]).unwrap();
    let error = open(garbage.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(error.hint_text().is_some());

    // A row that makes no sense, a chain without an end, and pages that are torn.
    let root = tempfile::tempdir().unwrap();
    let catalog = open(root.path()).unwrap();
    create(&catalog, "k", None).unwrap();
    commit(&catalog, "k", "base").unwrap();
    let raw = rusqlite::Connection::open(root.path().join("catalog.db")).unwrap();
    raw.execute_batch("UPDATE snapshot SET parent = id")
        .unwrap();
    assert_eq!(kind(catalog.chain(&name("base"))), ErrorKind::Corrupt);
    raw.execute_batch("UPDATE snapshot SET parent = 77")
        .unwrap();
    assert_eq!(kind(catalog.chain(&name("base"))), ErrorKind::Corrupt);
    raw.execute_batch("UPDATE snapshot SET parent = NULL, labels = '{'")
        .unwrap();
    let error = catalog.get(&name("base")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    raw.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    drop((raw, catalog));
    let file = root.path().join("catalog.db");
    let mut bytes = fs_err::read(&file).unwrap();
    for byte in &mut bytes[1024..] {
        *byte ^= 0xff;
    }
    fs_err::write(&file, bytes).unwrap();
    let error = open(root.path())
        .and_then(|catalog| catalog.list())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
}

#[test]
fn an_interrupted_making_of_the_root_is_taken_up() {
    let root = tempfile::tempdir().unwrap();
    fs_err::write(root.path().join("catalog.db"), "").unwrap();
    assert_eq!(Catalog::peek(root.path()).unwrap(), None);
    create(&open(root.path()).unwrap(), "k", None).unwrap();
}

#[test]
fn threads_share_one_catalogue() {
    let root = tempfile::tempdir().unwrap();
    let catalog = open(root.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let catalog = &catalog;
            scope.spawn(move || {
                for round in 0..20 {
                    create(catalog, &format!("{thread}-{round}"), None).unwrap();
                }
            });
        }
    });
    assert_eq!(catalog.list().unwrap().len(), 80);
}

#[test]
fn ids_read_what_they_write_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let id = create(&open(root.path()).unwrap(), "k", None).unwrap();
    assert_eq!(id.to_string().parse::<SnapshotId>().unwrap(), id);
    assert_eq!(id.get(), 1);
    for wrong in ["", "0", "01", "+1", "-1", "1 ", "x", "99999999999999999999"] {
        assert_eq!(
            kind(wrong.parse::<SnapshotId>()),
            ErrorKind::InvalidInput,
            "{wrong}"
        );
    }
}

#[test]
fn what_was_there_before_is_not_unmade() {
    let root = tempfile::tempdir().unwrap();
    let catalog = open(root.path()).unwrap();
    let new = NewSnapshot {
        key: &name("key"),
        kind: SnapshotKind::Active,
        parent: None,
        labels: &Labels::new(),
    };
    let place = root.path().join("1");
    fs_err::create_dir(&place).unwrap();
    let made = catalog.create(
        &new,
        |draft| strata_driver::recovery::make_home(draft, &root.path().join(draft.id.to_string())),
        |_| panic!("somebody else's is deleted"),
    );
    assert_eq!(kind(made), ErrorKind::Corrupt);
    assert!(place.exists());
}

#[test]
fn a_number_seen_on_disk_is_never_given() {
    let root = tempfile::tempdir().unwrap();
    let (first, second) = (open(root.path()).unwrap(), open(root.path()).unwrap());
    let homes = root.path().join("snapshots");
    // What a power loss leaves: directories, and a count that knows nothing of them.
    fs_err::create_dir_all(homes.join("7/fs")).unwrap();
    fs_err::create_dir_all(homes.join("9.removing/fs")).unwrap();
    let sweep = |catalog| {
        let parse = |name: &str| name.parse().ok();
        let remove = |id| recovery::remove_all(&homes, id);
        recovery::sweep(catalog, &homes, Leftovers::Abandoned, parse, remove).unwrap()
    };
    assert_eq!(sweep(&first), 2);
    assert_eq!(fs_err::read_dir(&homes).unwrap().count(), 0);
    for catalog in [&first, &second] {
        let id = create(
            catalog,
            &format!("k{}", catalog.list().unwrap().len()),
            None,
        )
        .unwrap();
        assert!(id.get() > 9, "{id}");
    }
}

#[test]
fn an_idle_instance_hides_no_orphan_of_others() {
    let root = tempfile::tempdir().unwrap();
    let (idle, other) = (open(root.path()).unwrap(), open(root.path()).unwrap());
    let mut between = None;
    making(&idle, "slow", None, |slow| {
        between = Some(create(&other, "between", None).unwrap());
        for round in 0..8 {
            create(&idle, &format!("k{round}"), None).unwrap();
        }
        assert!(idle.known_ids().unwrap().contains(slow.id));
        Ok(())
    })
    .unwrap();
    let between = between.unwrap();
    other.begin_remove(&name("between")).unwrap();
    other.finish_remove(between).unwrap();
    drop(other);
    for catalog in [&idle, &open(root.path()).unwrap()] {
        assert!(!catalog.known_ids().unwrap().contains(between));
    }
}

#[test]
fn a_parent_removed_between_two_questions_is_not_found() {
    let root = tempfile::tempdir().unwrap();
    let catalog = open(root.path()).unwrap();
    create(&catalog, "k", None).unwrap();
    let base = commit(&catalog, "k", "base").unwrap();
    create(&catalog, "child", Some("base")).unwrap();
    let row = catalog.get(&name("child")).unwrap();
    catalog.begin_remove(&name("child")).unwrap();
    catalog.begin_remove(&name("base")).unwrap();
    catalog.finish_remove(base).unwrap();
    drop(catalog);
    let catalog = open(root.path()).unwrap();
    assert_eq!(kind(catalog.parents(&row)), ErrorKind::NotFound);
}
