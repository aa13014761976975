//! Live mounts as values, holds, and mounts that outlive their process. Root only, except where
//! said.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use strata_driver::catalog::{Catalog, CatalogOptions, NewSnapshot};
use strata_driver::mount::{self, MountTable, Mounter, hold};
use strata_driver::{
    Counters, DriverName, Durability, ErrorKind, Labels, MountFlags, MountOption, MountPlan,
    MountStep, SnapshotKind, SnapshotName,
};
use tempfile::TempDir;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// Two lowers, an upper, a work directory, a target and a hold.
struct Layers {
    base: TempDir,
    plan: MountPlan,
}

impl Layers {
    fn make() -> Self {
        let base = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = |name: &str| base.path().join(name);
        for name in ["top", "base", "upper", "work", "target"] {
            fs_err::create_dir(path(name)).unwrap();
        }
        fs_err::write(path("base/a"), "base").unwrap();
        fs_err::write(path("top/a"), "top").unwrap();
        let options = [
            ("lowerdir+", "top"),
            ("lowerdir+", "base"),
            ("upperdir", "upper"),
            ("workdir", "work"),
        ]
        .map(|(key, name)| MountOption::pair(key, path(name).to_str().unwrap()));
        let plan = MountPlan {
            snapshot: SnapshotName::new("k").unwrap(),
            steps: vec![MountStep {
                fs_type: "overlay".into(),
                source: "overlay".into(),
                options: options.to_vec(),
                flags: MountFlags::default(),
            }],
            hold: Some(path("upper")),
        };
        Self { base, plan }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.base.path().join(name)
    }

    fn target(&self) -> std::path::PathBuf {
        self.path("target")
    }

    fn is_mounted(&self) -> bool {
        self.path("target/a").exists()
    }
}

#[test]
fn a_mount_shows_writes_and_goes() {
    if !is_root() {
        return;
    }
    let layers = Layers::make();
    let mounted = mount::mount(&layers.plan, &layers.target()).unwrap();
    assert_eq!(
        fs_err::read_to_string(mounted.target().join("a")).unwrap(),
        "top"
    );
    fs_err::write(mounted.target().join("a"), "new").unwrap();
    assert!(mounted.mount_id().is_some());
    assert!(hold::is_held(&layers.path("upper")).unwrap());
    mounted.unmount().unwrap();
    assert!(!layers.is_mounted());
    assert!(!hold::is_held(&layers.path("upper")).unwrap());
    assert_eq!(
        fs_err::read_to_string(layers.path("upper/a")).unwrap(),
        "new"
    );

    drop(mount::mount(&layers.plan, &layers.target()).unwrap());
    assert!(!layers.is_mounted());
    let target = mount::mount(&layers.plan, &layers.target()).unwrap().leak();
    assert!(layers.is_mounted());
    assert!(!hold::is_held(&layers.path("upper")).unwrap());
    strata_sys::mount::unmount(&target, strata_sys::mount::UnmountFlags::empty()).unwrap();
}

#[test]
fn an_exclusive_hold_keeps_mounts_out() {
    if !is_root() {
        return;
    }
    let layers = Layers::make();
    let held = hold::try_exclusive(&layers.path("upper")).unwrap().unwrap();
    let error = mount::mount(&layers.plan, &layers.target()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
    assert!(!layers.is_mounted());
    drop(held);
    let first = mount::mount(&layers.plan, &layers.target()).unwrap();
    assert!(
        hold::try_exclusive(&layers.path("upper"))
            .unwrap()
            .is_none()
    );
    drop(first);
}

#[test]
fn a_busy_mount_names_who_uses_it() {
    if !is_root() {
        return;
    }
    let layers = Layers::make();
    let mounted = mount::mount(&layers.plan, &layers.target()).unwrap();
    let mut user = Command::new("sleep")
        .arg("1000")
        .current_dir(mounted.target())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let error = mounted.unmount().unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(text.contains(&format!("pid {}", user.id())), "{text}");
    let held = hold::is_held(&layers.path("upper")).unwrap();
    user.kill().unwrap();
    user.wait().unwrap();
    strata_sys::mount::unmount(&layers.target(), strata_sys::mount::UnmountFlags::empty()).unwrap();
    assert!(
        held,
        "it is still mounted, and somebody may take the snapshot"
    );
}

#[test]
fn what_others_did_to_the_mount_is_respected() {
    if !is_root() {
        return;
    }
    let layers = Layers::make();
    let mounted = mount::mount(&layers.plan, &layers.target()).unwrap();
    strata_sys::mount::unmount(&layers.target(), strata_sys::mount::UnmountFlags::empty()).unwrap();
    mounted.unmount().unwrap();

    let below = mount::mount(&layers.plan, &layers.target()).unwrap();
    let over = MountPlan {
        snapshot: SnapshotName::new("over").unwrap(),
        steps: vec![MountStep::bind(layers.path("base"), MountFlags::default())],
        hold: None,
    };
    let over = mount::mount(&over, &layers.target()).unwrap();
    let error = below.unmount().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    over.unmount().unwrap();
    strata_sys::mount::unmount(&layers.target(), strata_sys::mount::UnmountFlags::empty()).unwrap();
}

#[test]
fn errors_bear_the_kernels_words_and_leave_nothing() {
    if !is_root() {
        return;
    }
    let mut layers = Layers::make();
    fs_err::remove_dir_all(layers.path("base")).unwrap();
    let error = mount::mount(&layers.plan, &layers.target()).unwrap_err();
    assert!(error.chain().contains("base"), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    fs_err::create_dir(layers.path("base")).unwrap();
    layers.plan.steps[0]
        .options
        .push(MountOption::flag("nonsense"));
    let error = mount::mount(&layers.plan, &layers.target()).unwrap_err();
    assert!(error.chain().contains("nonsense"), "{error:?}");
    layers.plan.steps[0].fs_type = "no-such-fs".into();
    let error = mount::mount(&layers.plan, &layers.target()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.hint_text().is_some());
    assert!(!layers.is_mounted());
    assert!(!hold::is_held(&layers.path("upper")).unwrap());
}

#[test]
fn a_failing_later_step_takes_the_earlier_ones_down() {
    if !is_root() {
        return;
    }
    let mut layers = Layers::make();
    layers
        .plan
        .steps
        .push(MountStep::bind("/no/such/directory", MountFlags::default()));
    assert!(mount::mount(&layers.plan, &layers.target()).is_err());
    assert!(!layers.is_mounted());
    layers.plan.steps[1] = MountStep::bind(layers.path("base"), MountFlags { read_only: true });
    let counters = Arc::new(Counters::default());
    let mounter = Mounter::new(Arc::clone(&counters));
    let both = mounter.mount(&layers.plan, &layers.target()).unwrap();
    assert_eq!(
        fs_err::read_to_string(both.target().join("a")).unwrap(),
        "base"
    );
    assert_eq!(counters.mounts(), 2);
    both.unmount().unwrap();
    assert!(!layers.is_mounted());
    drop(mounter.detached(&layers.plan).unwrap());
    assert_eq!(counters.mounts(), 4);
}

fn catalog(root: &Path) -> (Arc<Catalog>, strata_driver::catalog::SnapshotId) {
    let driver = DriverName::new("test").unwrap();
    let options = CatalogOptions {
        driver: &driver,
        durability: Durability::Volatile,
    };
    let catalog = Catalog::open(root, &options).unwrap();
    let key = SnapshotName::new("k").unwrap();
    let new = NewSnapshot {
        key: &key,
        kind: SnapshotKind::Active,
        parent: None,
        labels: &Labels::new(),
    };
    let id = catalog.create(&new, |_| Ok(()), |_| Ok(())).unwrap();
    (Arc::new(catalog), id)
}

#[test]
fn recorded_mounts_are_true_while_the_kernel_confirms_them() {
    if !is_root() {
        return;
    }
    let layers = Layers::make();
    let (catalog, id) = catalog(&layers.path("root"));
    let table = MountTable::open(&layers.path("root")).unwrap();
    let target = table
        .mount_and_record(&layers.plan, &layers.target())
        .unwrap();
    // Nobody holds it, and still it is known.
    assert!(!hold::is_held(&layers.path("upper")).unwrap());
    assert_eq!(catalog.is_mounted(id).unwrap().unwrap().target, target);
    let again = table
        .mount_and_record(&layers.plan, &layers.target())
        .unwrap_err();
    assert_eq!(again.kind(), ErrorKind::InUse);
    table.unmount_recorded(&layers.target()).unwrap();
    assert!(!layers.is_mounted());
    assert_eq!(catalog.is_mounted(id).unwrap(), None);
    assert_eq!(
        table.unmount_recorded(&target).unwrap_err().kind(),
        ErrorKind::NotFound
    );

    // Unmounted behind our back: refuted at once.
    table
        .mount_and_record(&layers.plan, &layers.target())
        .unwrap();
    strata_sys::mount::unmount(&target, strata_sys::mount::UnmountFlags::empty()).unwrap();
    assert_eq!(catalog.is_mounted(id).unwrap(), None);
    table.unmount_recorded(&layers.target()).unwrap();
    assert_eq!(table.list().unwrap(), []);
}

#[test]
fn rows_of_other_boots_and_dead_processes_are_deleted() {
    if !is_root() {
        return;
    }
    let layers = Layers::make();
    let (catalog, id) = catalog(&layers.path("root"));
    let table = MountTable::new(Arc::clone(&catalog));
    let target = table
        .mount_and_record(&layers.plan, &layers.target())
        .unwrap();
    let mut row = table.list().unwrap().remove(0);
    table.unmount_recorded(&target).unwrap();

    row.boot_id = "another".to_owned();
    catalog.record_mount(&row).unwrap();
    assert_eq!(catalog.is_mounted(id).unwrap(), None);
    assert_eq!(table.list().unwrap(), []);

    row.boot_id = strata_sys::namespace::boot_id().unwrap();
    row.holder.started += 1;
    catalog.record_mount(&row).unwrap();
    assert_eq!(catalog.is_mounted(id).unwrap(), None);
    assert_eq!(table.list().unwrap(), []);

    // Without an identity, as on old kernels, the mount table of the own namespace decides.
    row.mount_id = None;
    catalog.record_mount(&row).unwrap();
    assert_eq!(catalog.is_mounted(id).unwrap(), None);
    let mounted = mount::mount(&layers.plan, &target).unwrap();
    catalog.record_mount(&row).unwrap();
    assert!(catalog.is_mounted(id).unwrap().is_some());
    mounted.unmount().unwrap();
}

#[test]
fn a_mount_in_another_namespace_is_confirmed_and_not_unmounted_from_here() {
    if !is_root() {
        return;
    }
    let layers = Layers::make();
    let root = layers.path("root");
    let (catalog, id) = catalog(&root);
    let table = MountTable::new(Arc::clone(&catalog));
    strata_sys::namespace::run_in_private_namespace(|| {
        let inner = MountTable::open(&root).unwrap();
        inner
            .mount_and_record(&layers.plan, &layers.target())
            .unwrap();
        assert!(layers.is_mounted());
        std::thread::scope(|scope| {
            // A thread that starts here shares the namespace; the catalogue asks by its id.
            scope.spawn(|| assert!(catalog.is_mounted(id).unwrap().is_some()));
        });
    })
    .unwrap();
    // Its last thread is gone, and the mount with it, as soon as the kernel has cleared up.
    assert!(!layers.is_mounted());
    let gone = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        catalog.is_mounted(id).unwrap().is_none()
    });
    assert!(gone, "{:?}", catalog.is_mounted(id));
    table.unmount_recorded(&layers.target()).unwrap();
}

/// Needs no root.
#[test]
fn a_root_of_nobody_has_no_table() {
    let directory = tempfile::tempdir().unwrap();
    let error = MountTable::open(directory.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
