//! A file system in memory, mounted and used. Needs root and `/dev/fuse`.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "in a test, also in its set-up, it is the assertion"
)]

mod content;
mod ends;
mod memory;
mod names;

use memory::Memory;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::time::Duration;
use strata_fuse::{Features, Notifier, Session, SessionOptions};
use strata_sys::mount::{UnmountFlags, unmount};
use strata_sys::namespace::run_in_private_namespace;

/// A mounted [`Memory`].
struct Fixture {
    fs: Arc<Memory>,
    /// Where it is mounted.
    root: PathBuf,
    /// A directory beside it.
    beside: PathBuf,
    notifier: Notifier,
    features: Features,
}

impl Fixture {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn calls(&self, name: &str) -> usize {
        self.fs.state().calls.get(name).copied().unwrap_or(0)
    }
}

impl Drop for Fixture {
    /// So that a failed test leaves nobody waiting, nor this process in a wait that no signal ends.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.notifier.abort().unwrap();
            self.fs.open_gates();
        }
    }
}

/// Aborts the session of a test that hangs; until the answer is dropped.
fn watch(fixture: &Fixture) -> Sender<()> {
    let (under_way, end) = std::sync::mpsc::channel();
    let (fs, notifier) = (Arc::clone(&fixture.fs), fixture.notifier.clone());
    std::thread::spawn(move || {
        let ended = end.recv_timeout(Duration::from_mins(1));
        if ended == Err(RecvTimeoutError::Timeout) {
            notifier.abort().unwrap();
            fs.open_gates();
        }
    });
    under_way
}

/// Runs `test` on a mounted file system, unmounts it, and sees the session end.
fn mounted(options: &SessionOptions, test: impl FnOnce(&Fixture) + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    if !Path::new("/dev/fuse").exists() {
        eprintln!("skipped: needs /dev/fuse");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (root, beside) = (place.path().join("mnt"), place.path().join("beside"));
    fs_err::create_dir(&root).unwrap();
    fs_err::create_dir(&beside).unwrap();
    run_in_private_namespace(|| {
        let (session, mount) = Session::new(options).unwrap();
        mount.attach(&root).unwrap();
        let fixture = Fixture {
            fs: Arc::new(Memory::default()),
            root,
            beside,
            notifier: session.notifier(),
            features: session.features(),
        };
        let fs = Arc::clone(&fixture.fs);
        let server = std::thread::spawn(move || session.run(&*fs));
        let under_way = watch(&fixture);
        test(&fixture);
        drop(under_way);
        unmount(&fixture.root, UnmountFlags::empty()).unwrap();
        server.join().unwrap().unwrap();
        assert_eq!(fixture.calls("destroy"), 1);
        assert_eq!(fixture.calls("forgotten too often"), 0);
    })
    .unwrap();
}
