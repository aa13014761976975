//! What goes wrong, waits, or ends.

use crate::{Fixture, mounted};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;
use strata_fuse::{NodeId, Session, SessionOptions};

const DAY: Duration = Duration::from_hours(24);

fn alone() -> SessionOptions {
    SessionOptions {
        threads: 1,
        ..SessionOptions::default()
    }
}

/// References that the kernel has to `name`.
fn references(f: &Fixture, name: &std::ffi::CStr) -> u64 {
    let mut state = f.fs.state();
    let node = state.find(NodeId::ROOT, name).unwrap();
    state.node(node).unwrap().references
}

#[test]
fn a_panic_fails_its_own_request_only() {
    mounted(&alone(), |f| {
        let error = rustix::fs::stat(f.path("panics")).unwrap_err();
        assert_eq!(error, Errno::IO);
        fs_err::write(f.path("file"), "served").unwrap();
        assert_eq!(fs_err::read(f.path("file")).unwrap(), b"served");
    });
}

#[test]
fn a_listing_that_panics_gives_its_references_back() {
    mounted(&alone(), |f| {
        fs_err::write(f.path("file"), "").unwrap();
        let before = references(f, c"file");
        // Into the table past the kernel, which would look it up.
        let mut state = f.fs.state();
        let node = state.find(NodeId::ROOT, c"file").unwrap();
        let names = &mut state.node(NodeId::ROOT).unwrap().names;
        names.insert(c"panics".to_owned(), node.0);
        drop(state);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = rustix::fs::open(&f.root, flags, Mode::empty()).unwrap();
        let mut listed = rustix::fs::Dir::new(directory).unwrap();
        assert_eq!(listed.read().unwrap().unwrap_err(), Errno::IO);
        assert_eq!(f.calls("readdirplus"), 1);
        assert_eq!(references(f, c"file"), before);
    });
}

#[test]
fn two_threads_answer_at_once() {
    mounted(&SessionOptions::default(), |f| {
        f.fs.state().add_file("slow");
        f.fs.gate(c"slow");
        let slow = f.path("slow");
        let waiting = thread::spawn(move || slow.exists());
        f.fs.wait_until(|state| state.waiting == 1);
        // Nothing that takes the directory's lock, which the kernel holds for a lookup.
        assert!(!f.path("other").exists());
        assert!(!waiting.is_finished());
        f.fs.open_gates();
        assert!(waiting.join().unwrap());
    });
}

fn reader(path: PathBuf) -> Child {
    Command::new("cat").arg(path).spawn().unwrap()
}

#[test]
fn killed_callers_leave_the_session_alone() {
    mounted(&alone(), |f| {
        fs_err::write(f.path("file"), "x".repeat(10_000)).unwrap();
        // So that it has to be read again.
        let node = f.fs.state().find(NodeId::ROOT, c"file").unwrap();
        f.notifier.inval_inode(node, 0, 0).unwrap();
        f.fs.gate(c"read");
        let mut first = reader(f.path("file"));
        f.fs.wait_until(|state| state.waiting == 1);
        // Its request is in no one's hands yet: it goes at once.
        let mut second = reader(f.path("other"));
        thread::sleep(Duration::from_millis(50));
        second.kill().unwrap();
        assert!(!second.wait().unwrap().success());
        // Its request is with us: it goes when that is answered.
        first.kill().unwrap();
        f.fs.open_gates();
        assert!(!first.wait().unwrap().success());
        assert_eq!(fs_err::read(f.path("file")).unwrap().len(), 10_000);
        f.fs.wait_until(|state| state.nodes.values().all(|node| node.opens == 0));
    });
}

#[test]
fn promises_of_answers_that_do_not_arrive_are_taken_back() {
    mounted(&SessionOptions::default(), |f| {
        f.fs.state().entry_ttl = DAY;
        fs_err::write(f.path("seen"), "").unwrap();
        fs_err::create_dir(f.path("dir")).unwrap();
        let before = references(f, c"seen");
        f.notifier.inval_entry(NodeId::ROOT, c"seen").unwrap();
        f.fs.wait_until(|state| state.calls.get("forget") == Some(&1));
        f.fs.wait_until(|state| state.calls.get("release") == Some(&1));
        assert_eq!(references(f, c"seen"), before - 1);
        f.fs.gate(c"seen");
        f.fs.gate(c"made");
        let (seen, made) = (f.path("seen"), f.path("dir/made"));
        let looking = thread::spawn(move || rustix::fs::stat(seen).unwrap_err());
        f.fs.wait_until(|state| state.waiting == 1);
        f.fs.state().entry_ttl = Duration::ZERO;
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let making =
            thread::spawn(move || rustix::fs::open(made, flags, Mode::empty()).unwrap_err());
        f.fs.wait_until(|state| state.waiting == 2);
        assert_eq!(references(f, c"seen"), before);
        f.notifier.abort().unwrap();
        for error in [looking.join().unwrap(), making.join().unwrap()] {
            assert!(
                matches!(error, Errno::NOTCONN | Errno::CONNABORTED),
                "{error}"
            );
        }
        f.fs.open_gates();
        f.fs.wait_until(|state| state.nodes.values().all(|node| node.opens == 0));
        f.fs.wait_until(|state| state.calls.get("destroy") == Some(&1));
        assert_eq!(references(f, c"seen"), before - 1);
        let mut state = f.fs.state();
        let directory = state.find(NodeId::ROOT, c"dir").unwrap();
        let made = state.find(directory, c"made").unwrap();
        assert_eq!(state.node(made).unwrap().references, 0);
    });
}

#[test]
fn a_session_that_never_ran_ends_when_dropped() {
    mounted(&SessionOptions::default(), |f| {
        let (session, mount) = Session::new(&SessionOptions::default()).unwrap();
        mount.attach(&f.beside).unwrap();
        let notifier = session.notifier();
        assert!(session.features().minor >= 31);
        drop(session);
        let error = rustix::fs::open(&f.beside, OFlags::RDONLY, Mode::empty()).unwrap_err();
        assert_eq!(error, Errno::NOTCONN);
        let told = notifier.inval_inode(NodeId::ROOT, 0, 0);
        assert_eq!(told, Err(Errno::NODEV));
        notifier.abort().unwrap();
        strata_sys::mount::unmount(&f.beside, strata_sys::mount::UnmountFlags::empty()).unwrap();
    });
}
