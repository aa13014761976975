//! File systems that a daemon serves: handed over, attached, found again, unmounted, and dead.
//!
//! The daemon is this very program, under the name that it finds beside itself.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod server;

use rustix::io::Errno;
use rustix::process::{Signal, kill_process, test_kill_process};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use strata_driver::mount::{Mounter, daemon};
use strata_driver::{ErrorKind, MountFlags, MountOption, MountPlan, MountStep, SnapshotName};

const SUBTYPE: &str = "strata-test-fs";

fn main() -> ExitCode {
    let name = std::env::args_os().next().map(PathBuf::from);
    if name.is_some_and(|name| name.ends_with(SUBTYPE)) {
        return server::main();
    }
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        println!("skipped: needs root and /dev/fuse");
        return ExitCode::SUCCESS;
    }
    // A private namespace: what fails leaves no mount behind.
    strata_sys::namespace::run_in_private_namespace(all).unwrap();
    ExitCode::SUCCESS
}

/// The daemon's program, where the search finds it.
struct Program(PathBuf);

impl Program {
    fn install() -> Self {
        let own = std::env::current_exe().unwrap();
        let link = own.with_file_name(SUBTYPE);
        drop(fs_err::remove_file(&link)); // one that a killed run left
        fs_err::os::unix::fs::symlink(&own, &link).unwrap();
        Self(link)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(fs_err::remove_file(&self.0)); // the next run does it
    }
}

fn plan(options: Vec<MountOption>, read_only: bool) -> MountPlan {
    MountPlan {
        snapshot: SnapshotName::new("test").unwrap(),
        steps: vec![MountStep {
            fs_type: format!("fuse.{SUBTYPE}"),
            source: "some-source".into(),
            options,
            flags: MountFlags { read_only },
        }],
        hold: None,
    }
}

fn all() {
    let _program = Program::install();
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let target = base.path().join("target");
    fs_err::create_dir(&target).unwrap();
    let mounter = Mounter::new(Arc::default());
    for (name, test) in [
        (
            "attached_and_unmounted",
            attached_and_unmounted as fn(&Mounter, &Path),
        ),
        (
            "detached_mounts_end_their_daemon",
            detached_mounts_end_their_daemon,
        ),
        ("options_of_any_length_arrive", options_of_any_length_arrive),
        ("refusals_come_over", refusals_come_over),
        (
            "a_killed_daemon_is_unmounted_and_replaced",
            a_killed_daemon_is_unmounted_and_replaced,
        ),
        (
            "a_mount_elsewhere_keeps_the_daemon",
            a_mount_elsewhere_keeps_the_daemon,
        ),
        ("requests_are_answered", requests_are_answered),
    ] {
        println!("{name}");
        test(&mounter, &target);
        let left = strata_sys::mountinfo::mounts().unwrap();
        assert!(
            left.iter()
                .all(|mount| !mount.mount_point.starts_with(&target)),
            "{name}"
        );
    }
}

fn pid(target: &Path) -> rustix::process::Pid {
    let answer = daemon::control::request(target, "pid", None).unwrap();
    rustix::process::Pid::from_raw(answer.parse().unwrap()).unwrap()
}

fn attached_and_unmounted(mounter: &Mounter, target: &Path) {
    let live = mounter.mount(&plan(Vec::new(), false), target).unwrap();
    let mounts = strata_sys::mountinfo::mounts().unwrap();
    let row = mounts
        .iter()
        .find(|mount| mount.mount_point == target)
        .unwrap();
    assert_eq!(row.fs_type, format!("fuse.{SUBTYPE}"));
    assert_eq!(row.source, "some-source");
    let pid = pid(target);
    live.unmount().unwrap();
    // Ended and waited for.
    assert!(test_kill_process(pid).is_err());
}

fn detached_mounts_end_their_daemon(mounter: &Mounter, _: &Path) {
    let detached = mounter.detached(&plan(Vec::new(), true)).unwrap();
    let flags = rustix::fs::fstatvfs(detached.root()).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    let path = strata_sys::mount::descriptor_path(detached.root()).join(".");
    let pid = pid(&path);
    drop(detached);
    assert!(test_kill_process(pid).is_err());
}

fn options_of_any_length_arrive(mounter: &Mounter, target: &Path) {
    let long = "x".repeat(3000);
    let options =
        (0..500).map(|number| MountOption::pair("lowerdir+", format!("/{number}:{long}")));
    let live = mounter
        .mount(&plan(options.collect(), false), target)
        .unwrap();
    let length: usize = daemon::control::request(target, "length", None)
        .unwrap()
        .parse()
        .unwrap();
    assert!(length > 500 * 3000, "{length}");
    live.unmount().unwrap();
}

fn refusals_come_over(mounter: &Mounter, target: &Path) {
    let error = mounter
        .mount(&plan(vec![MountOption::flag("refuse")], false), target)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert_eq!(error.hint_text(), Some("make room"));
    assert!(error.to_string().contains("told to refuse"), "{error}");
}

fn a_killed_daemon_is_unmounted_and_replaced(mounter: &Mounter, target: &Path) {
    let kill = |target: &Path| {
        let pid = pid(target);
        kill_process(pid, Signal::KILL).unwrap();
        while rustix::fs::statfs(target).map(drop) != Err(Errno::NOTCONN) {
            std::thread::yield_now();
        }
    };
    let plan = plan(Vec::new(), false);
    let live = mounter.mount(&plan, target).unwrap();
    kill(target);
    live.unmount().unwrap();

    let dead = mounter.mount(&plan, target).unwrap().leak();
    kill(&dead);
    let live = mounter.mount(&plan, target).unwrap();
    assert!(fs_err::metadata(target).is_ok());
    live.unmount().unwrap();
}

fn a_mount_elsewhere_keeps_the_daemon(mounter: &Mounter, target: &Path) {
    let live = mounter.mount(&plan(Vec::new(), false), target).unwrap();
    let again =
        strata_sys::mount::DetachedMount::bind(target, strata_sys::mount::MountAttributes::empty());
    let pid = pid(target);
    let error = live.unmount().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    assert!(error.to_string().contains("its daemon goes on"), "{error}");
    drop(again.unwrap());
    while test_kill_process(pid).is_ok() && !is_zombie(pid) {
        std::thread::yield_now();
    }
}

/// It ended after nobody waited for it any more.
fn is_zombie(pid: rustix::process::Pid) -> bool {
    let status = fs_err::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    status.is_ok_and(|status| status.contains("State:\tZ"))
}

fn requests_are_answered(mounter: &Mounter, target: &Path) {
    use std::os::fd::AsFd as _;
    let live = mounter.mount(&plan(Vec::new(), false), target).unwrap();
    let file = fs_err::File::open("/proc/self/status").unwrap();
    let request = |text, file| daemon::control::request(target, text, file);
    assert_eq!(
        request("has a file", Some(file.file().as_fd())).unwrap(),
        "true"
    );
    assert_eq!(request("has a file", None).unwrap(), "false");
    let error = request("quux", None).unwrap_err();
    assert!(
        error.to_string().contains("unknown request `quux`"),
        "{error}"
    );
    live.unmount().unwrap();
    let error = daemon::control::request(target, "pid", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
