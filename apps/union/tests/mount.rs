//! The program: by hand, as mount(8)'s helper, and what it says when it cannot.

#![expect(clippy::unwrap_used, reason = "a test")]

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use strata_sys::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_strata-union");

/// Looks before a daemon counts as one that stays.
const TRIES: usize = 1000;

fn can_mount() -> bool {
    let can = rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists();
    if !can {
        eprintln!("skipped: needs root and /dev/fuse");
    }
    can
}

/// Branches and a target, unmounted at the end.
struct Ground(TempDir);

impl Ground {
    fn new() -> Self {
        let ground = Self(tempfile::tempdir_in("/dev/shm").unwrap());
        for directory in ["upper", "lower", "target"] {
            fs_err::create_dir(ground.path(directory)).unwrap();
        }
        fs_err::write(ground.path("lower/file"), "old").unwrap();
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    fn mount(&self, options: &str) -> Output {
        let arguments = ["none", "target", "-o", options];
        self.run(Path::new(PROGRAM), &arguments)
    }

    fn control(&self, request: &str) -> String {
        let output = self.run(Path::new(PROGRAM), &["control", "target", request]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.control("pid").parse().unwrap()).unwrap()
    }

    fn mounts(&self) -> usize {
        let mounts = strata_sys::mountinfo::mounts().unwrap();
        let here = |mount: &&strata_sys::mountinfo::MountInfo| {
            mount.mount_point.starts_with(self.0.path())
        };
        mounts.iter().filter(here).count()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        while self.mounts() > 0 {
            unmount(&self.path("target"), UnmountFlags::DETACH).unwrap();
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_returns_when_mounted_and_lives_on() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let output = ground.mount("br=upper:lower=ro+wh,nosuid");
    assert!(output.status.success(), "{}", said(&output));
    fs_err::write(ground.path("target/file"), "new").unwrap();
    assert_eq!(
        fs_err::read_to_string(ground.path("upper/file")).unwrap(),
        "new"
    );
    assert_eq!(
        fs_err::read_to_string(ground.path("lower/file")).unwrap(),
        "old"
    );
    let lower = format!("1 {}=ro+wh", ground.path("lower").display());
    assert!(ground.control("branches").ends_with(&lower));
    let status = fs_err::read_to_string(format!("/proc/{}/status", ground.pid().as_raw_nonzero()));
    assert!(
        !status
            .unwrap()
            .contains(&format!("PPid:\t{}\n", std::process::id()))
    );
    unmount(&ground.path("target"), UnmountFlags::empty()).unwrap();
}

#[test]
fn as_mounts_helper_it_looks_and_mounts() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let helper = ground.path("mount.fuse.strata-union");
    fs_err::os::unix::fs::symlink(PROGRAM, &helper).unwrap();
    let options = "rw,lowerdir=lower,upperdir=upper,workdir=upper";
    let fake = ground.run(&helper, &["none", "target", "-f", "-n", "-o", options]);
    assert!(
        fake.status.success() && ground.mounts() == 0,
        "{}",
        said(&fake)
    );
    let real = ground.run(&helper, &["none", "target", "-v", "-o", options]);
    assert!(
        real.status.success() && ground.mounts() == 1,
        "{}",
        said(&real)
    );
}

#[test]
fn a_dead_mount_is_replaced() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    assert!(ground.mount("br=upper:lower").status.success());
    kill_process(ground.pid(), Signal::KILL).unwrap();
    while rustix::fs::statfs(ground.path("target")).map(drop) != Err(Errno::NOTCONN) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let again = ground.mount("br=upper:lower");
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(ground.mounts(), 1);
    assert!(ground.path("target/file").exists());
}

/// Else the daemon would keep the namespace alive, that its mount, and that the daemon.
#[test]
fn it_goes_with_the_namespace_that_it_was_mounted_in() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let in_namespace = || {
        assert!(ground.mount("br=upper:lower").status.success());
        ground.pid()
    };
    let pid = strata_sys::namespace::run_in_private_namespace(in_namespace).unwrap();
    let status = format!("/proc/{}/status", pid.as_raw_nonzero());
    // Nobody may wait for it here, and then it is a zombie.
    let lives = || fs_err::read_to_string(&status).is_ok_and(|text| !text.contains("State:\tZ"));
    for _ in 0..TRIES {
        if !lives() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    kill_process(pid, Signal::KILL).unwrap();
    panic!("the daemon goes on without its namespace");
}

#[test]
fn what_fails_says_why_and_mounts_nothing() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    for (options, words) in [
        ("br=upper,quux", "unknown option `quux`"),
        ("br=upper:missing", "missing"),
        ("", "no branch is given"),
    ] {
        let output = ground.mount(options);
        assert_eq!(output.status.code(), Some(32), "{options}");
        assert!(
            said(&output).contains(words),
            "{options}: {}",
            said(&output)
        );
        assert_eq!(ground.mounts(), 0);
    }
    let output = ground.run(Path::new(PROGRAM), &["none"]);
    assert_eq!(output.status.code(), Some(1));
}
