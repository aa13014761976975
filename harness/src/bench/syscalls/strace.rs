//! Counting with strace(1) attached to this process.

use super::{CLASSES, SYNCS, SyscallCounter};
use crate::bench::command::Tool;
use crate::bench::sample::SyscallCounts;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long strace may take to attach or to write its table.
const PATIENCE: Duration = Duration::from_secs(10);

/// Counts with `strace -f -c`, attached anew for each stretch.
#[derive(Debug)]
pub(super) struct Strace {
    table: PathBuf,
    running: Option<Child>,
    counted: SyscallCounts,
}

impl Strace {
    pub(super) fn attach(scratch: &Path) -> Result<Self> {
        let mut counter = Self {
            table: scratch.join("strace-table"),
            running: None,
            counted: SyscallCounts::default(),
        };
        counter.resume()?;
        let probe = fs_err::File::open(scratch)?;
        strata_sys::file::sync_file_system(probe.file())?;
        counter.pause()?;
        let seen = counter.counts()?;
        if seen.syncs.get("syncfs") != Some(&1) {
            bail!("strace counts nothing ({seen:?})");
        }
        Ok(counter)
    }

    /// Whether some thread of ours is not traced yet.
    fn untraced() -> Result<bool> {
        for thread in fs_err::read_dir("/proc/self/task")? {
            // A thread that ended since it was listed has no status any more.
            let Ok(status) = fs_err::read_to_string(thread?.path().join("status")) else {
                continue;
            };
            if status.lines().any(|line| line == "TracerPid:\t0") {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl SyscallCounter for Strace {
    fn method(&self) -> &'static str {
        "strace -f -c in an untimed repetition"
    }

    fn reset(&mut self) -> Result<()> {
        self.counted = SyscallCounts::default();
        Ok(())
    }

    fn resume(&mut self) -> Result<()> {
        let mut tool = Tool::new("strace").args(["-f", "-c", "-U", "calls,name", "-o"]);
        tool = tool
            .arg(&self.table)
            .args(["-p", &std::process::id().to_string()]);
        self.running = Some(tool.command().spawn().context("strace cannot be started")?);
        let deadline = Instant::now() + PATIENCE;
        while Self::untraced()? {
            let child = self.running.as_mut().expect("it was just started");
            if let Some(status) = child.try_wait()? {
                bail!("strace ended at once ({status}): it may not trace here");
            }
            if Instant::now() > deadline {
                bail!("strace does not attach");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<()> {
        let mut child = self.running.take().context("strace does not run")?;
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, rustix::process::Signal::INT)?;
        child.wait()?;
        let counts = parse(&fs_err::read_to_string(&self.table)?)?;
        self.counted.add(&counts);
        Ok(())
    }

    fn counts(&mut self) -> Result<SyscallCounts> {
        Ok(self.counted.clone())
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let id = rustix::process::Pid::from_child(&child);
            let told = rustix::process::kill_process(id, rustix::process::Signal::INT);
            tracing::debug!(?told, "strace was stopped early");
            drop(child.wait()); // nobody is left to hear of it
        }
        drop(fs_err::remove_file(&self.table)); // the scratch directory goes as a whole
    }
}

/// Reads the table of calls and names.
pub(super) fn parse(table: &str) -> Result<SyscallCounts> {
    let mut counts = SyscallCounts::default();
    for line in table.lines() {
        let mut words = line.split_whitespace();
        let (Some(calls), Some(name), None) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Ok(calls) = calls.parse::<u64>() else {
            continue;
        };
        if name == "total" {
            continue;
        }
        counts.all += calls;
        if SYNCS.contains(&name) {
            *counts.syncs.entry(name.to_owned()).or_default() += calls;
        }
        for (class, names) in CLASSES {
            let member = if names.contains(&name) { calls } else { 0 };
            *counts.classes.entry((*class).to_owned()).or_default() += member;
        }
    }
    if counts.all == 0 {
        bail!("strace wrote no table");
    }
    Ok(counts)
}
