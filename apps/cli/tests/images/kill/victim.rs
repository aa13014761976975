//! A command that is watched by its trace, and killed in a phase that it tells.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use strata_store::phase::Phase;

/// What makes the command tell the edges of its phases.
const TRACE: (&str, &str) = ("STRATA_LOG", "strata_store::phase=trace,warn");

/// Nothing here takes longer, also on a busy host.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// A running command whose trace is read.
pub struct Victim {
    child: Child,
    lines: BufReader<ChildStderr>,
    trace: Trace,
}

/// What a command has told.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Edges in their order: which, whether it began, when it was read.
    pub edges: Vec<(Phase, bool, Instant)>,
    /// Everything that is no edge.
    pub rest: String,
}

/// How a victim ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub trace: Trace,
}

impl Trace {
    fn take(&mut self, line: &str) -> Option<(Phase, bool)> {
        let edge = line
            .split_once("strata_store::phase: ")
            .and_then(|(_, rest)| {
                let (word, name) = rest.trim_end().split_once(' ')?;
                let phase = Phase::ALL.into_iter().find(|one| one.as_str() == name)?;
                Some((phase, word == "begin"))
            });
        match edge {
            Some((phase, begins)) => self.edges.push((phase, begins, Instant::now())),
            None => self.rest.push_str(line),
        }
        edge
    }

    /// Phases that began and have not ended, with how often.
    pub fn under_way(&self) -> BTreeMap<Phase, usize> {
        let mut open: BTreeMap<Phase, usize> = BTreeMap::new();
        for (phase, begins, _) in &self.edges {
            let count = open.entry(*phase).or_default();
            *count = if *begins { *count + 1 } else { *count - 1 };
        }
        open.retain(|_, count| *count > 0);
        open
    }

    /// How often a phase began, and how long one lasted in the middle of all.
    pub fn lengths(&self, wanted: Phase) -> (usize, Duration) {
        let mut begun = Vec::new();
        let mut lengths = Vec::new();
        for (_, begins, at) in self.edges.iter().filter(|(phase, ..)| *phase == wanted) {
            if *begins {
                begun.push(*at);
            } else if !begun.is_empty() {
                // Which of several ends is not told; together they are as long either way.
                lengths.push(*at - begun.remove(0));
            }
        }
        lengths.sort();
        let middle = lengths.get(lengths.len() / 2).copied();
        (lengths.len(), middle.unwrap_or_default())
    }
}

impl Victim {
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .env(TRACE.0, TRACE.1)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            lines,
            trace: Trace::default(),
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Reads on until the phase has begun so often; whether it has.
    pub fn wait_for(&mut self, wanted: Phase, mut times: usize) -> bool {
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 {
                return false;
            }
            if self.trace.take(&line) == Some((wanted, true)) {
                times -= 1;
                if times == 0 {
                    return true;
                }
            }
        }
    }

    /// Reads on until a phase has ended.
    pub fn wait_for_end(&mut self, wanted: Phase) -> bool {
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 {
                return false;
            }
            if self.trace.take(&line) == Some((wanted, false)) {
                return true;
            }
        }
    }

    /// Sends a signal after a while.
    pub fn signal_after(&self, delay: Duration, signal: Signal) {
        signal_after(delay, self.pid(), signal);
    }

    /// Reads to the end, which comes when all that write are gone, and reaps.
    pub fn end(mut self) -> Ended {
        let mut rest = Vec::new();
        self.lines.read_to_end(&mut rest).unwrap();
        for line in String::from_utf8_lossy(&rest).split_inclusive('\n') {
            self.trace.take(line);
        }
        Ended {
            status: self.child.wait().unwrap(),
            trace: std::mem::take(&mut self.trace),
        }
    }
}

/// A wait that is shorter than the scheduler's is spun away.
pub fn signal_after(delay: Duration, pid: Pid, signal: Signal) {
    let due = Instant::now() + delay;
    if delay > Duration::from_millis(2) {
        std::thread::sleep(delay.saturating_sub(Duration::from_millis(1)));
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
    // Who has ended by itself is no longer there.
    let _ = kill_process(pid, signal);
}

/// Processes that have `word` and the path of the store among their arguments.
pub fn processes(root: &Path, word: &str) -> Vec<Pid> {
    let root = root.to_string_lossy();
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(line) = fs_err::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line);
        let arguments: Vec<&str> = line.split('\0').collect();
        if pid != std::process::id() as i32
            && arguments.contains(&&*root)
            && (word.is_empty() || arguments.contains(&word))
        {
            found.extend(Pid::from_raw(pid));
        }
    }
    found
}

/// Waits until no process works in the store: a killed one's end takes a moment.
#[track_caller]
pub fn wait_until_all_ended(root: &Path) {
    let start = Instant::now();
    while !processes(root, "").is_empty() {
        assert!(
            start.elapsed() < PATIENCE,
            "processes stay in {}",
            root.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The process that `rmi` has left behind, once it is there; none if it has ended already.
pub fn sweeper(root: &Path) -> Option<Pid> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        if let Some(pid) = processes(root, "sweep").first() {
            return Some(*pid);
        }
    }
    None
}
