//! CPU time, exact to what the scheduler knows.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use std::time::Duration;

/// User and system time of another process: of all its threads, those that have ended included.
pub(super) fn of_process(id: u32) -> anyhow::Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(id.cast_signed()))?;
    Ok(clock.now()?.into())
}

/// User and system time of this process, and of those that it has waited for.
pub(super) fn of_callers() -> anyhow::Result<Duration> {
    let mut microseconds = 0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        microseconds += usage.user_time().num_microseconds();
        microseconds += usage.system_time().num_microseconds();
    }
    Ok(Duration::from_micros(microseconds.cast_unsigned()))
}

#[cfg(test)]
mod tests {
    use super::{of_callers, of_process};
    use std::process::Command;
    use std::time::Duration;

    const BURN: &str = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";

    /// What is told of a process while it lives is no more than it has used in the end.
    #[test]
    fn clocks_of_the_living_and_of_the_dead_agree() {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{BURN}; read line")])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut living = Duration::ZERO;
        loop {
            let now = of_process(child.id()).unwrap();
            if now == living && now > Duration::from_millis(20) {
                break;
            }
            living = now;
            std::thread::sleep(Duration::from_millis(200));
        }
        let before = of_callers().unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        let dead = of_callers().unwrap().saturating_sub(before);
        assert!(dead >= living, "{dead:?} after {living:?}");
    }
}
