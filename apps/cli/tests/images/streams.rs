//! Standard input that sends nothing, and standard output that is a terminal.

use crate::support::{Cell, Store, cells, stderr};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use strata_harness::tar::{Entry, archive};
use strata_sys::lock::FileLock;

/// Longer than any command here takes; one that takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(1);
const ROOM: u64 = 1 << 30;

/// A store on one driver: nothing here is a driver's.
fn store() -> Option<Store> {
    let cell: Cell = *cells().first()?;
    Some(Store::on(cell, ROOM))
}

/// Waits until something is so.
fn until(child: &mut Child, what: &str, mut is_so: impl FnMut(&mut Child) -> bool) {
    let start = Instant::now();
    while !is_so(child) {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{what}: it hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether it catches SIGINT by now.
fn heeds(child: &Child) -> bool {
    let status = fs_err::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
    caught & 1 << (Signal::INT.as_raw() - 1) != 0
}

fn signal(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

fn end(mut child: Child, what: &str, each: impl Fn(&Child)) -> Output {
    until(&mut child, what, |child| {
        let is_over = child.try_wait().unwrap().is_some();
        if !is_over {
            each(child);
        }
        is_over
    });
    child.wait_with_output().unwrap()
}

/// It once took a second signal, which leaves work for a recovery.
#[test]
fn silent_standard_input_ends_with_the_first_signal() {
    let Some(store) = store() else { return };
    let tar = archive(&[Entry::file("a", b"a")]);
    for arguments in [&["load"][..], &["import", "-"]] {
        // Nothing, the beginning of a tar, and that of a compressed one.
        for begun in [&[][..], &tar[..600], b"\x1f\x8b\x08\0\0\0\0\0\0\0"] {
            let what = format!("{arguments:?} after {} bytes", begun.len());
            let (reader, mut writer) = std::io::pipe().unwrap();
            let seen = reader.try_clone().unwrap();
            writer.write_all(begun).unwrap();
            let mut child = store
                .command(arguments)
                .stdin(reader)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            until(&mut child, &what, |child| {
                heeds(child) && rustix::io::ioctl_fionread(&seen).unwrap() == 0
            });
            signal(&child);
            let ended = end(child, &what, |_| {});
            let said = stderr(&ended);
            assert_eq!(ended.status.code(), Some(130), "{what}: {said}");
            assert!(said.contains("interrupted"), "{what}: {said}");
            drop(writer);
            for place in ["fetch", "holders"] {
                let left = fs_err::read_dir(store.root().join(place)).unwrap();
                assert_eq!(left.count(), 0, "{what}: {place}");
            }
        }
    }
}

/// Whoever waits for somebody else's lock hears the first signal late.
#[test]
fn second_signal_ends_what_does_not_hear_the_first() {
    let Some(store) = store() else { return };
    let import = |name: &str| {
        let tar = archive(&[Entry::file(name, b"a")]);
        fs_err::write(store.home().join(name), tar).unwrap();
        store.command(&["import", name])
    };
    assert!(import("first").output().unwrap().status.success());
    let lock = FileLock::exclusive(&store.root().join("fetch")).unwrap();
    let mut second = import("second");
    second.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = second.spawn().unwrap();
    until(&mut child, "import", |child| {
        let pid = child.id().to_string();
        let locks = fs_err::read_to_string("/proc/locks").unwrap();
        let mut waiting = locks.lines().filter(|line| line.contains("->"));
        waiting.any(|line| line.split_whitespace().any(|word| word == pid))
    });
    let ended = end(child, "import that waits", signal);
    assert_eq!(ended.status.code(), Some(130), "{}", stderr(&ended));
    drop(lock);
    assert!(store.good(&["check"]).starts_with("clean: 1 image, "));
}

/// Runs a command on a terminal of its own; what that was sent.
fn on_terminal(store: &Store, arguments: &[&str]) -> String {
    let command = store.command(arguments);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| format!("'{}'", word.to_str().unwrap()));
    let mut terminal = Command::new("script");
    terminal
        .args(["-qec", &words.collect::<Vec<_>>().join(" "), "/dev/null"])
        .env("DOCKER_CONFIG", store.home())
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    let output = terminal.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// An image may come from anybody, and its words once reached terminals as they were.
#[test]
fn words_of_an_image_do_nothing_to_a_terminal() {
    let Some(store) = store() else { return };
    let comment = "\u{1b}[31mred\u{7f}\u{9b}2J\ttab\nline";
    let tar = archive(&[Entry::file("a", b"a")]);
    fs_err::write(store.home().join("a.tar"), tar).unwrap();
    store.good(&["import", "-m", comment, "a.tar", "words"]);
    let history = ["history", "--format", "{{.Comment}}", "words"];
    let inspect = ["inspect", "-f", "{{.Comment}}", "words"];
    for arguments in [history, inspect] {
        assert_eq!(store.good(&arguments), format!("{comment}\n"));
    }
    // A field of a row has one line; a template of `inspect` may have more.
    let escaped = "\\u{1b}[31mred\\u{7f}\\u{9b}2J";
    let told = on_terminal(&store, &history);
    assert_eq!(told, format!("{escaped}\\ttab\\nline\r\n"));
    let told = on_terminal(&store, &inspect);
    assert_eq!(told, format!("{escaped}\ttab\r\nline\r\n"));
    let table = on_terminal(&store, &["history", "words"]);
    assert!(
        table.contains(&format!("{escaped}\\ttab\\nline\r\n")),
        "{table:?}"
    );
    assert_eq!(table.lines().count(), 2, "{table:?}");
}
