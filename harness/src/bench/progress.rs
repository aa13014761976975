//! Live progress: what runs, how much is done, how long is left.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Steps done.
    pub done: u64,
    /// Steps that the run will have.
    pub total: u64,
    /// Time since the start.
    pub elapsed: Duration,
    /// Estimate of what is left.
    pub left: Option<Duration>,
    /// What runs now.
    pub now: &'a str,
}

/// Where a run tells how far it is.
pub trait Progress {
    /// The run moved on.
    fn step(&mut self, step: &Step<'_>);
    /// Something that stays readable: a stage begun, a cell skipped.
    fn note(&mut self, text: &str);
    /// The run ended; nothing more will come.
    fn finish(&mut self);
}

/// Progress on standard error: one line written over on a terminal, else a line now and then.
pub fn on_stderr() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Box::new(OneLine::new(std::io::stderr()))
    } else {
        Box::new(Lines::new(std::io::stderr(), Duration::from_secs(5)))
    }
}

/// Progress that nobody reads.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _: &Step<'_>) {}
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}

/// `1:05`, `0:07`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn line(step: &Step<'_>) -> String {
    let share = (step.done * 100).checked_div(step.total).unwrap_or(0);
    let left = step
        .left
        .map_or_else(|| "?".to_owned(), |left| format!("{} left", clock(left)));
    format!(
        "[{share:3}%] {}/{} {} {left}  {}",
        step.done,
        step.total,
        clock(step.elapsed),
        step.now
    )
}

/// One line of a terminal, written over.
#[derive(Debug)]
pub struct OneLine<W> {
    out: W,
    last: Option<Instant>,
}

impl<W: Write> OneLine<W> {
    /// How long a line stands at least: faster cannot be read.
    const PAUSE: Duration = Duration::from_millis(100);

    /// Progress on `out`.
    pub fn new(out: W) -> Self {
        Self { out, last: None }
    }

    fn put(&mut self, text: &str) {
        // A terminal that went away must not end the measurement.
        drop(self.out.write_all(text.as_bytes()));
        drop(self.out.flush());
    }
}

impl<W: Write> Progress for OneLine<W> {
    fn step(&mut self, step: &Step<'_>) {
        if self.last.is_some_and(|last| last.elapsed() < Self::PAUSE) {
            return;
        }
        self.last = Some(Instant::now());
        let text: String = line(step).chars().take(110).collect();
        self.put(&format!("\r\x1b[K{text}"));
    }

    fn note(&mut self, text: &str) {
        self.put(&format!("\r\x1b[K{text}\n"));
    }

    fn finish(&mut self) {
        self.put("\r\x1b[K");
    }
}

/// A line at the first step and then at most one per pause.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
    pause: Duration,
    last: Option<Instant>,
}

impl<W: Write> Lines<W> {
    /// Progress on `out`, a line per `pause` at most.
    pub fn new(out: W, pause: Duration) -> Self {
        Self {
            out,
            pause,
            last: None,
        }
    }
}

impl<W: Write> Progress for Lines<W> {
    fn step(&mut self, step: &Step<'_>) {
        if self.last.is_some_and(|last| last.elapsed() < self.pause) {
            return;
        }
        self.last = Some(Instant::now());
        drop(writeln!(self.out, "{}", line(step))); // as above: a lost reader is no failure
    }

    fn note(&mut self, text: &str) {
        drop(writeln!(self.out, "{text}"));
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> Step<'static> {
        Step {
            done: 21,
            total: 84,
            elapsed: Duration::from_secs(65),
            left: Some(Duration::from_secs(195)),
            now: "apply on a cell",
        }
    }

    #[test]
    fn a_line_tells_share_time_and_time_left() {
        assert_eq!(
            line(&step()),
            "[ 25%] 21/84 1:05 3:15 left  apply on a cell"
        );
    }

    #[test]
    fn lines_hold_back_within_the_pause_and_notes_do_not() {
        let mut out = Vec::new();
        let mut progress = Lines::new(&mut out, Duration::from_hours(1));
        progress.step(&step());
        progress.step(&step());
        progress.note("skipped: x");
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
    }

    #[test]
    fn a_terminal_line_is_written_over() {
        let mut out = Vec::new();
        let mut progress = OneLine::new(&mut out);
        progress.step(&step());
        progress.finish();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("\r\x1b[K[ 25%]") && !text.contains('\n'));
    }
}
