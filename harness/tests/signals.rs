//! What a run leaves when it is interrupted (nothing), and when it is killed (nothing, once the
//! next one has started).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test with a main of its own"
)]

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use strata_harness::fixture::{FileSystemKind, MARK, scratch_place};

/// Says to this program that it is the run that gets the signal.
const ROLE: &str = "STRATA_SIGNALS_ROLE";

fn main() -> ExitCode {
    if std::env::var_os(ROLE).is_some() {
        return strata_harness::conformance::main(Arc::new(plain_copy::PlainCopyFactory));
    }
    if let Some(missing) = FileSystemKind::Ext4.missing() {
        eprintln!("skipped: {missing}");
        return ExitCode::SUCCESS;
    }
    interrupted_run_leaves_nothing();
    killed_run_is_cleaned_by_the_next();
    println!("2 passed");
    ExitCode::SUCCESS
}

fn start(filter: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command
        .arg(filter)
        .env(ROLE, "run")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends `signal` once some cases have run.
fn signalled(signal: Signal) -> (u32, ExitStatus) {
    let mut child = start("");
    let pid = child.id();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..5 {
        lines.next().unwrap().unwrap();
    }
    assert!(!marked(pid).is_empty(), "the run has no fixture");
    let target = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(target, signal).unwrap();
    // Read on, so that the run never waits for its reader.
    for line in lines {
        drop(line);
    }
    (pid, child.wait().unwrap())
}

/// Marked directories, mounts and loop devices of the run with this process id.
fn marked(pid: u32) -> Vec<String> {
    let mark = format!("{MARK}{pid}-");
    let mut found = Vec::new();
    for entry in fs_err::read_dir(scratch_place()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.starts_with(&mark) {
            found.push(name);
        }
    }
    let mut texts = vec![fs_err::read_to_string("/proc/self/mountinfo").unwrap()];
    for entry in fs_err::read_dir("/sys/block").unwrap() {
        let file = entry.unwrap().path().join("loop/backing_file");
        texts.extend(fs_err::read_to_string(file));
    }
    let lines = texts.iter().flat_map(|text| text.lines());
    found.extend(lines.filter(|line| line.contains(&mark)).map(str::to_owned));
    found
}

fn interrupted_run_leaves_nothing() {
    for signal in [Signal::INT, Signal::TERM] {
        let (pid, status) = signalled(signal);
        assert_eq!(status.code(), Some(130), "{signal:?}: {status}");
        assert_eq!(marked(pid), Vec::<String>::new(), "left by {signal:?}");
    }
}

fn killed_run_is_cleaned_by_the_next() {
    let (pid, status) = signalled(Signal::KILL);
    assert_eq!(status.code(), None, "{status}");
    assert!(!marked(pid).is_empty(), "a killed run cannot clean up");
    let output = start("remove_absent").wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(marked(pid), Vec::<String>::new(), "left after the next run");
}
