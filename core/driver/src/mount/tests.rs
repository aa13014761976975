//! Tests that need the private parts: both interfaces on one kernel, escaping.

use super::build::{self, Interface};
use super::*;
use crate::name::SnapshotName;
use crate::plan::{MountFlags, MountOption, MountStep};
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// A directory on a file system that can be an upper layer.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn plan(step: MountStep) -> MountPlan {
    MountPlan {
        snapshot: SnapshotName::new("test").unwrap(),
        steps: vec![step],
        hold: None,
    }
}

/// An overlay of directories below `base`, each made with one file of its own number.
fn overlay(base: &Path, lowers: &[String], upper: Option<&str>) -> MountPlan {
    let mut options = Vec::new();
    let path = |name: &str| base.join(name).to_str().unwrap().to_owned();
    for (number, lower) in lowers.iter().enumerate() {
        fs_err::create_dir_all(base.join(lower)).unwrap();
        fs_err::write(base.join(lower).join(number.to_string()), "x").unwrap();
        options.push(MountOption::pair("lowerdir+", path(lower)));
    }
    if let Some(upper) = upper {
        for (key, name) in [
            ("upperdir", upper.to_owned()),
            ("workdir", format!("{upper}-work")),
        ] {
            fs_err::create_dir_all(base.join(&name)).unwrap();
            options.push(MountOption::pair(key, path(&name)));
        }
    }
    plan(MountStep {
        fs_type: "overlay".into(),
        source: "overlay".into(),
        options,
        flags: MountFlags {
            read_only: upper.is_none(),
        },
    })
}

fn count(directory: &Path) -> usize {
    fs_err::read_dir(directory).unwrap().count()
}

const BOTH: [Interface; 2] = [Interface::Context, Interface::Classic];

#[test]
fn this_kernel_is_recognised() {
    if !is_root() {
        return;
    }
    assert_eq!(Interface::of_kernel(), Interface::Context);
}

#[test]
fn names_with_every_separator_are_mounted() {
    if !is_root() {
        return;
    }
    for interface in BOTH {
        let base = directory();
        let target = base.path().join("target");
        fs_err::create_dir(&target).unwrap();
        let lowers = [
            "plain",
            "co:lon",
            "com,ma",
            "back\\slash",
            "a:b,c\\d e",
            "tail\\",
        ];
        let plan = overlay(
            base.path(),
            &lowers.map(str::to_owned),
            Some("up:per, with\\all"),
        );
        let mounted = mount_through(&plan, &target, interface).unwrap();
        assert_eq!(count(&target), lowers.len(), "{interface:?}");
        fs_err::write(target.join("new"), "y").unwrap();
        mounted.unmount().unwrap();
        assert!(
            base.path().join("up:per, with\\all/new").exists(),
            "{interface:?}"
        );
    }
}

#[test]
fn paths_longer_than_an_option_are_mounted() {
    if !is_root() {
        return;
    }
    let base = directory();
    let target = base.path().join("target");
    fs_err::create_dir(&target).unwrap();
    let long = |letter: &str| format!("{}/{}", letter.repeat(200), letter.repeat(200));
    let plan = overlay(base.path(), &[long("l"), long("m")], Some(&long("u")));
    for interface in BOTH {
        let mounted = mount_through(&plan, &target, interface).unwrap();
        assert!(target.join("0").exists() && target.join("1").exists());
        mounted.unmount().unwrap();
    }
}

#[test]
fn many_layers_go_through_either_interface_or_are_refused_in_words() {
    if !is_root() {
        return;
    }
    let base = directory();
    let target = base.path().join("target");
    fs_err::create_dir(&target).unwrap();
    // 500 absolute paths; as relative names they fit into a page.
    let deep = "some/quite/deep/directory";
    let many: Vec<_> = (0..400).map(|number| format!("{deep}/{number}")).collect();
    let plan = overlay(base.path(), &many, None);
    assert!(plan.to_classic()[0].option_text().len() > 4096);
    for interface in BOTH {
        let mounted = mount_through(&plan, &target, interface).unwrap();
        assert_eq!(count(&target), 400);
        assert!(fs_err::write(target.join("new"), "y").is_err());
        mounted.unmount().unwrap();
    }
    let wide: Vec<_> = (0..100)
        .map(|number| format!("{}-{number}", "w".repeat(60)))
        .collect();
    let plan = overlay(base.path(), &wide, None);
    mount_through(&plan, &target, Interface::Context)
        .unwrap()
        .unmount()
        .unwrap();
    let error = mount_through(&plan, &target, Interface::Classic).unwrap_err();
    assert!(error.chain().contains("less than one page"), "{error:?}");
    assert_eq!(count(&target), 0);
}

#[test]
fn detached_mounts_are_seen_through_their_descriptor_only() {
    if !is_root() {
        return;
    }
    // Other tests mount meanwhile; and what they remove is unmounted everywhere.
    strata_sys::namespace::run_in_private_namespace(|| {
        for interface in BOTH {
            let base = directory();
            let plan = overlay(base.path(), &["l".to_owned()], Some("u"));
            let before = super::table().unwrap();
            let detached = build::detached(&plan, interface).unwrap();
            let after = super::table().unwrap();
            let new: Vec<_> = after
                .lines()
                .filter(|mount| !before.lines().any(|known| known == *mount))
                .collect();
            assert!(new.is_empty(), "{interface:?}: {new:?}");
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
            let file =
                rustix::fs::openat(detached.root(), "new", flags, Mode::from_raw_mode(0o644));
            rustix::io::write(file.unwrap(), b"y").unwrap();
            let names: Vec<_> = rustix::fs::Dir::read_from(detached.root())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().to_owned())
                .collect();
            assert_eq!(names.len(), 4, "{interface:?}: {names:?}");
            drop(detached);
            assert!(base.path().join("u/new").exists(), "{interface:?}");
        }
    })
    .unwrap();
}

#[test]
fn bind_mounts_are_read_only_through_either_interface() {
    if !is_root() {
        return;
    }
    let base = directory();
    let (source, target) = (base.path().join("s"), base.path().join("t"));
    for directory in [&source, &target] {
        fs_err::create_dir(directory).unwrap();
    }
    for read_only in [true, false] {
        let step = MountStep::bind(&source, MountFlags { read_only });
        attach_step(&step, &target).unwrap();
        assert_eq!(fs_err::write(target.join("a"), "").is_err(), read_only);
        unmount_one(&target).unwrap();
        classic::mount(&step, &target).unwrap();
        assert_eq!(fs_err::write(target.join("a"), "").is_err(), read_only);
        unmount_one(&target).unwrap();
    }
}

#[test]
fn a_remount_changes_what_is_there_and_is_no_mount_of_its_own() {
    if !is_root() {
        return;
    }
    let base = directory();
    let step = |options| MountStep {
        fs_type: "tmpfs".into(),
        source: "none".into(),
        options,
        flags: MountFlags::default(),
    };
    let mut plan = plan(step(vec![MountOption::pair("size", "64k")]));
    plan.steps.push(step(vec![
        MountOption::flag("remount"),
        MountOption::pair("size", "128k"),
    ]));
    let mounted = mount(&plan, base.path()).unwrap();
    let stat = rustix::fs::statvfs(base.path()).unwrap();
    assert_eq!(stat.f_blocks * stat.f_frsize, 128 << 10);
    mounted.unmount().unwrap();
    assert!(!table().unwrap().contains(&escaped_for_table(base.path())));
    let detached = build::detached(&plan, Interface::of_kernel()).unwrap();
    let stat = rustix::fs::fstatvfs(detached.root()).unwrap();
    assert_eq!(stat.f_blocks * stat.f_frsize, 128 << 10);
}

#[test]
fn classic_words_are_escaped_as_the_kernel_reads_them() {
    let mut step = MountStep {
        fs_type: "overlay".into(),
        source: PathBuf::new(),
        options: vec![
            MountOption::pair("lowerdir+", "/a:b"),
            MountOption::flag("volatile"),
            MountOption::pair("lowerdir+", "/c,d\\e"),
            MountOption::pair("upperdir", "/u:,"),
            MountOption::pair("workdir", "/w"),
            MountOption::pair("index", "off"),
        ],
        flags: MountFlags::default(),
    };
    let classic = step.to_classic();
    assert_eq!(
        (classic.source.to_str(), classic.fs_type.as_str()),
        (Some("overlay"), "overlay")
    );
    assert_eq!(
        classic.option_text(),
        r"lowerdir=/a\:b:/c\,d\\e,volatile,upperdir=/u:\,,workdir=/w,index=off"
    );
    step.options.push(MountOption::pair("datadir+", "/data"));
    step.flags.read_only = true;
    let text = step.to_classic().option_text();
    assert!(
        text.starts_with(r"ro,lowerdir=/a\:b:/c\,d\\e::/data,"),
        "{text}"
    );
    let bind = MountStep::bind("/s", MountFlags { read_only: true }).to_classic();
    assert_eq!(bind.option_text(), "bind,ro");
    assert_eq!(
        MountStep::bind("/s", MountFlags::default())
            .to_classic()
            .option_text(),
        "bind,rw"
    );
}

#[test]
fn table_escapes_are_the_kernels() {
    if !is_root() {
        return;
    }
    let base = directory();
    let target = base.path().join("with space\tand\\more");
    fs_err::create_dir(&target).unwrap();
    let step = MountStep::bind(base.path(), MountFlags::default());
    attach_step(&step, &target).unwrap();
    let wanted = escaped_for_table(&target);
    let seen = table()
        .unwrap()
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&wanted));
    unmount_one(&target).unwrap();
    assert!(seen, "{wanted}");
}
