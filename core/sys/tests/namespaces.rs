//! User namespaces of children, and signals at the parent's end.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, also in its set-up, it is the assertion"
)]

use std::io::Read as _;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use strata_sys::namespace::{
    IdMap, IdMaps, boot_id, is_chrooted, run_in_private_namespace, set_parent_death_signal,
    spawn_in_user_namespace,
};

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The output, or `None` where this host allows no such namespace.
fn output(command: Command, maps: &IdMaps) -> Option<String> {
    let spawned = spawn_in_user_namespace(command, maps);
    if let Err(error) = &spawned
        && (!rustix::process::geteuid().is_root() || is_chrooted())
    {
        eprintln!("skipped: no user namespace here: {error}: {}", error.source);
        return None;
    }
    let output = spawned.unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn own_ids_make_root_inside() {
    let Some(text) = output(
        shell("id -u; id -g; cat /proc/self/uid_map"),
        &IdMaps::own_ids(),
    ) else {
        return;
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let own = rustix::process::geteuid().as_raw().to_string();
    assert_eq!(words, ["0", "0", "0", &own, "1"]);
}

#[test]
fn ranges_written_by_root_can_own_files_and_mount() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let range = vec![IdMap {
        inside: 0,
        outside: 100_000,
        count: 1000,
    }];
    let maps = IdMaps {
        users: range.clone(),
        groups: range,
    };
    let script = "set -e; mount -t tmpfs none /mnt; : > /mnt/f; chown 7:8 /mnt/f; \
                  stat -c '%u %g' /mnt/f; cat /proc/self/setgroups";
    let Some(text) = output(shell(script), &maps) else {
        return;
    };
    assert_eq!(text, "7 8\nallow\n");
    assert!(
        !std::path::Path::new("/mnt/f").exists(),
        "mounted inside only"
    );
    drop(place);
}

#[test]
fn refused_maps_are_an_error_that_names_them() {
    if is_chrooted() {
        eprintln!("skipped: no user namespace in a chroot");
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let twice = vec![
        IdMap {
            inside: 0,
            outside: 5,
            count: 10
        };
        2
    ];
    let maps = IdMaps {
        users: twice.clone(),
        groups: twice,
    };
    let error = spawn_in_user_namespace(shell("true"), &maps).unwrap_err();
    assert!(
        error.subject.ends_with("uid_map: 0 5 10, 0 5 10"),
        "{error}"
    );
}

#[test]
fn a_missing_program_is_an_error_not_a_hang() {
    let error = spawn_in_user_namespace(Command::new("/nonexistent"), &IdMaps::own_ids());
    assert!(error.unwrap_err().to_string().contains("/nonexistent"));
}

#[test]
fn a_child_is_signalled_when_its_parent_thread_ends() {
    let mut command = Command::new("/bin/sleep");
    command.arg("60").stdout(Stdio::null());
    set_parent_death_signal(&mut command, Signal::KILL);
    let mut child = std::thread::spawn(move || command.spawn().unwrap())
        .join()
        .unwrap();
    let status = child.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9)
    );
}

#[test]
fn a_panic_in_a_private_namespace_reaches_the_caller() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let run = || run_in_private_namespace(|| panic!("as planned"));
    let panic = std::panic::catch_unwind(run).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"as planned"));
}

#[test]
fn the_boot_id_is_a_uuid() {
    let id = boot_id().unwrap();
    assert_eq!(id.len(), 36);
    let mut text = String::new();
    let path = "/proc/sys/kernel/random/boot_id";
    fs_err::File::open(path)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text.trim(), id);
}
