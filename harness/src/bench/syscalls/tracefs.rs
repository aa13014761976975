//! Counting with trace instances: one for all calls, one for those that wait for the disk, and one
//! for each class.

use super::{CLASSES, SYNCS, SyscallCounter};
use crate::bench::sample::SyscallCounts;
use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, Signal};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The class that holds write(2), by which instances are turned on and off: it is turned on last
/// and off first.
const LAST: &str = "data";

/// A signal that is ignored unless somebody asked for it.
const HARMLESS: Signal = Signal::WINCH;

/// What the kernel notes as the origin of a signal by tgkill(2), from `asm-generic/siginfo.h`.
const SI_TKILL: i32 = -6;

/// Counts with the tracing file system (Documentation/trace/ftrace.rst).
#[derive(Debug)]
pub(super) struct Tracefs {
    all: Instance,
    syncs: Instance,
    classes: Vec<(&'static str, Instance)>,
    pauses: u64,
    // After the instances, which live on it.
    _mount: TraceMount,
}

/// The tracing file system, mounted by us unless it was there.
#[derive(Debug)]
struct TraceMount {
    path: PathBuf,
    ours: bool,
}

impl Drop for TraceMount {
    fn drop(&mut self) {
        if self.ours {
            let gone = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
            if let Err(error) = gone
                .map_err(std::io::Error::from)
                .and_then(|()| fs_err::remove_dir(&self.path))
            {
                tracing::warn!("the tracing file system stays mounted: {error}");
            }
        }
    }
}

impl TraceMount {
    fn take(scratch: &Path) -> Result<Self> {
        let usual = Path::new("/sys/kernel/tracing");
        if usual.join("instances").is_dir() {
            return Ok(Self {
                path: usual.to_owned(),
                ours: false,
            });
        }
        let path = scratch.join("tracing");
        fs_err::create_dir_all(&path)?;
        rustix::mount::mount("tracefs", &path, "tracefs", MountFlags::empty(), None)
            .context("tracefs cannot be mounted")?;
        Ok(Self { path, ours: true })
    }
}

/// One trace instance: buffers, filters and switch of its own.
#[derive(Debug)]
struct Instance {
    path: PathBuf,
    switch: Option<File>,
    /// Events that were there at the start.
    before: u64,
}

impl Instance {
    fn make(tracing: &Path, name: &str) -> Result<Self> {
        let path = tracing
            .join("instances")
            .join(format!("strata-bench-{}-{name}", std::process::id()));
        fs_err::create_dir(&path).context("no trace instance can be made")?;
        let mut instance = Self {
            path,
            switch: None,
            before: 0,
        };
        instance.set("tracing_on", "0")?;
        instance.set("options/event-fork", "1")?;
        instance.switch = Some(
            fs_err::OpenOptions::new()
                .write(true)
                .open(instance.path.join("tracing_on"))?
                .into_parts()
                .0,
        );
        Ok(instance)
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        Ok(fs_err::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.path.join(file))?
            .write_all(value.as_bytes())?)
    }

    fn turn(&mut self, value: &str) -> Result<()> {
        let switch = self.switch.as_mut().expect("an instance keeps its switch");
        Ok(switch.write_all(value.as_bytes())?)
    }

    /// Follows `threads` and all that they start. Done once: each number waits for every
    /// processor, tens of milliseconds on a busy machine.
    fn follow(&self, threads: &BTreeSet<String>) -> Result<()> {
        for thread in threads {
            fs_err::OpenOptions::new()
                .append(true)
                .open(self.path.join("set_event_pid"))?
                .write_all(thread.as_bytes())?;
        }
        Ok(())
    }

    /// The numbers that the kernel's events give to the threads of this process. They are those
    /// of the first process namespace, which `/proc` in another one does not tell: so each thread
    /// gets a signal that nobody minds, and the event of its sending names it.
    fn own_threads(&mut self) -> Result<BTreeSet<String>> {
        let event = "events/signal/signal_generate";
        self.set(
            &format!("{event}/filter"),
            &format!("sig == {} && code == {SI_TKILL}", HARMLESS.as_raw()),
        )?;
        self.set(&format!("{event}/enable"), "1")?;
        self.turn("1")?;
        let ourselves = rustix::thread::gettid();
        strata_sys::thread::send_signal(ourselves, HARMLESS)?;
        for thread in fs_err::read_dir("/proc/self/task")? {
            let number = thread?.file_name().to_string_lossy().parse()?;
            let thread = Pid::from_raw(number).context("a thread without a number")?;
            match strata_sys::thread::send_signal(thread, HARMLESS) {
                Err(error) if error.is(rustix::io::Errno::SRCH) => {} // it has ended since
                sent => sent?,
            }
        }
        self.turn("0")?;
        self.set(&format!("{event}/enable"), "0")?;
        let trace = fs_err::read_to_string(self.path.join("trace"))?;
        self.clear()?;
        let signals: Vec<_> = trace.lines().filter_map(sender_and_receiver).collect();
        // Only a thread that signals itself is both; whoever else is, is another process.
        let ours = signals.iter().find(|(sender, receiver)| sender == receiver);
        let (ours, _) = ours.context("no event of a signal arrives")?;
        Ok(signals
            .iter()
            .filter(|(sender, _)| sender == ours)
            .map(|(_, receiver)| receiver.to_string())
            .collect())
    }

    /// Counts from here on.
    fn restart(&mut self) -> Result<()> {
        self.before = 0;
        self.before = self.total()?;
        Ok(())
    }

    /// Empties the buffers.
    fn clear(&mut self) -> Result<()> {
        self.before = 0;
        self.set("trace", "")
    }

    /// Events since the start, those that were overwritten included.
    fn total(&self) -> Result<u64> {
        let mut total = 0;
        for processor in fs_err::read_dir(self.path.join("per_cpu"))? {
            let text = fs_err::read_to_string(processor?.path().join("stats"))?;
            for line in text.lines() {
                if let Some((key, value)) = line.split_once(':')
                    && matches!(key, "entries" | "overrun" | "dropped events")
                {
                    total += value.trim().parse::<u64>()?;
                }
            }
        }
        Ok(total.saturating_sub(self.before))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.switch.take());
        for file in ["events/enable", "tracing_on"] {
            drop(self.set(file, "0")); // removing the instance stops it as well
        }
        if let Err(error) = fs_err::remove_dir(&self.path) {
            tracing::warn!("a trace instance is left behind: {error}");
        }
    }
}

/// Who sent a signal to whom, from a line of the event (`COMM-SENDER [CPU] ... pid=RECEIVER ...`).
fn sender_and_receiver(line: &str) -> Option<(&str, &str)> {
    let (head, event) = line.split_once(" signal_generate: ")?;
    let (task, _) = head.rsplit_once(" [")?;
    let (_, sender) = task.trim_end().rsplit_once('-')?;
    let (_, receiver) = event.split_once(" pid=")?;
    Some((sender, receiver.split(' ').next()?))
}

impl Tracefs {
    pub(super) fn open(scratch: &Path) -> Result<Self> {
        let mount = TraceMount::take(scratch)?;
        let mut all = Instance::make(&mount.path, "all")?;
        all.set("buffer_size_kb", "64")?;
        let threads = all.own_threads()?;
        all.set("events/raw_syscalls/sys_enter/enable", "1")
            .context("the kernel has no event for system calls")?;
        let syncs = Instance::make(&mount.path, "syncs")?;
        syncs.set("buffer_size_kb", "4096")?;
        for name in SYNCS {
            syncs
                .set(&format!("events/syscalls/sys_enter_{name}/enable"), "1")
                .with_context(|| format!("the kernel has no event for {name}"))?;
        }
        let mut classes = Vec::new();
        for (class, names) in CLASSES {
            let instance = Instance::make(&mount.path, class)?;
            instance.set("buffer_size_kb", "8")?;
            // Which of the names there are depends on the architecture.
            let known = names.iter().filter(|name| {
                let event = format!("events/syscalls/sys_enter_{name}/enable");
                instance.set(&event, "1").is_ok()
            });
            if known.count() == 0 {
                bail!("the kernel has no event for the class {class}");
            }
            classes.push((*class, instance));
        }
        let mut counter = Self {
            all,
            syncs,
            classes,
            pauses: 0,
            _mount: mount,
        };
        let classes = counter.classes.iter().map(|(_, instance)| instance);
        for instance in classes.chain([&counter.all, &counter.syncs]) {
            instance.follow(&threads)?;
        }
        // An instance that exists but records nothing (lockdown) must not pass for zero calls.
        counter.reset()?;
        counter.resume()?;
        let probe = fs_err::File::open(scratch)?;
        strata_sys::file::sync_file_system(probe.file())?;
        counter.pause()?;
        let seen = counter.counts()?;
        if seen.syncs.get("syncfs") != Some(&1) || seen.all < 2 {
            bail!("trace events do not arrive ({seen:?})");
        }
        Ok(counter)
    }
}

impl SyscallCounter for Tracefs {
    fn method(&self) -> &'static str {
        "trace events of the kernel, in an untimed repetition"
    }

    fn reset(&mut self) -> Result<()> {
        self.pauses = 0;
        self.syncs.clear()?;
        for (_, instance) in &mut self.classes {
            instance.restart()?;
        }
        self.all.restart()
    }

    fn resume(&mut self) -> Result<()> {
        self.syncs.turn("1")?;
        for (_, instance) in &mut self.classes {
            instance.turn("1")?;
        }
        self.all.turn("1")
    }

    fn pause(&mut self) -> Result<()> {
        self.all.turn("0")?;
        for (_, instance) in self.classes.iter_mut().rev() {
            instance.turn("0")?;
        }
        self.syncs.turn("0")?;
        self.pauses += 1;
        Ok(())
    }

    fn counts(&mut self) -> Result<SyscallCounts> {
        // Each call that turned it off was seen.
        let all = self.all.total()?.saturating_sub(self.pauses);
        let mut counts = SyscallCounts {
            all,
            ..SyscallCounts::default()
        };
        for (class, instance) in &self.classes {
            // Turning is a write: the last class sees `all` go on and off, and its own end.
            let ours = if *class == LAST { 3 * self.pauses } else { 0 };
            let count = instance.total()?.saturating_sub(ours);
            counts.classes.insert((*class).to_owned(), count);
        }
        let trace = fs_err::read_to_string(self.syncs.path.join("trace"))?;
        for line in trace.lines().filter(|line| !line.starts_with('#')) {
            let name = SYNCS
                .iter()
                .find(|name| line.contains(&format!(" sys_{name}(")));
            if let Some(name) = name {
                *counts.syncs.entry((*name).to_owned()).or_default() += 1;
            }
        }
        if counts.sync_total() != self.syncs.total()? {
            bail!("the trace buffer was too small for all calls that wait for the disk");
        }
        Ok(counts)
    }
}
