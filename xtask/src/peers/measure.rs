//! Time and CPU of commands, and of a daemon that works for them.

use anyhow::{Context, bail, ensure};
use std::collections::BTreeMap;
use std::fmt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The kernel counts in `USER_HZ`, see proc(5): 100 a second on every processor of today's Debian.
const TICKS: f64 = 100.0;

/// A daemon takes a second or two.
const PATIENCE: Duration = Duration::from_mins(1);

/// What one pull took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) wall: f64,
    /// Seconds of client and daemon.
    pub(super) cpu: f64,
    /// What stays on the file system.
    pub(super) mebibytes: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            wall,
            cpu,
            mebibytes,
        } = self;
        write!(f, "{wall:.2} s, cpu {cpu:.2} s, {mebibytes} MiB")
    }
}

/// Runs `command` to its end.
pub(super) fn once(command: &mut Command) -> anyhow::Result<Cost> {
    let (start, before) = (Instant::now(), waited_for()?);
    run(command)?;
    Ok(Cost {
        wall: start.elapsed().as_secs_f64(),
        cpu: (waited_for()? - before) as f64 / TICKS,
        mebibytes: 0,
    })
}

/// Runs `client` to its end while `daemon` runs, which is there once `ready` succeeds.
pub(super) fn with_daemon(
    daemon: &mut Command,
    ready: &mut Command,
    client: &mut Command,
) -> anyhow::Result<Cost> {
    let daemon = Daemon::start(daemon)?;
    let start = Instant::now();
    while !ready
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?
        .success()
    {
        ensure!(start.elapsed() < PATIENCE, "the daemon does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    let before = below(daemon.0.id())?;
    let mut cost = once(client)?;
    cost.cpu += (below(daemon.0.id())? - before) as f64 / TICKS;
    Ok(cost)
}

/// Killed, with all that it started, when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ok(Self(child.context("cannot start a daemon")?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It fails only for a process that has ended.
        let _ = self.0.kill();
        if let Err(error) = self.0.wait() {
            eprintln!("a daemon is left: {error}");
        }
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let end = &lines[lines.len().saturating_sub(5)..];
    bail!("it ended with {}: {}", output.status, end.join("\n"))
}

/// Ticks of one process, and of those that it has waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    parent: u32,
    own: u64,
    waited_for: u64,
}

/// `1 (name) S PARENT ...`, fields 14 to 17 are times; see `proc_pid_stat(5)`.
fn parse(stat: &str) -> Option<Ticks> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Ticks {
        parent: u32::try_from(number(1)?).ok()?,
        own: number(11)? + number(12)?,
        waited_for: number(13)? + number(14)?,
    })
}

/// Ticks of all that this process has started and waited for.
fn waited_for() -> anyhow::Result<u64> {
    let stat = fs_err::read_to_string("/proc/self/stat")?;
    Ok(parse(&stat)
        .context("/proc/self/stat is not as it was")?
        .waited_for)
}

/// Ticks of a process and of everything below it, living or waited for.
fn below(process: u32) -> anyhow::Result<u64> {
    let mut all = BTreeMap::new();
    for entry in fs_err::read_dir("/proc")? {
        let entry = entry?;
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // Gone meanwhile: then its parent has waited for it.
        let stat = fs_err::read_to_string(entry.path().join("stat"));
        if let Some(ticks) = stat.ok().as_deref().and_then(parse) {
            all.insert(id, ticks);
        }
    }
    ensure!(all.contains_key(&process), "the daemon has ended");
    let is_below = |mut id: u32| {
        while let Some(ticks) = all.get(&id) {
            if id == process {
                return true;
            }
            id = ticks.parent;
        }
        false
    };
    let members = all.iter().filter(|(id, _)| is_below(**id));
    Ok(members.map(|(_, ticks)| ticks.own + ticks.waited_for).sum())
}

#[cfg(test)]
mod tests {
    use super::{Ticks, parse};

    #[test]
    fn times_stand_behind_a_name_of_any_kind() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 99 0 0";
        let ticks = Ticks {
            parent: 3,
            own: 30,
            waited_for: 70,
        };
        assert_eq!(parse(stat), Some(ticks));
    }
}
