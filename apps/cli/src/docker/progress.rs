//! The progress of a pull or a push.
//!
//! Source: docker/docker `pkg/jsonmessage/jsonmessage.go`, v28. On a terminal each layer owns a
//! line, which is written anew; elsewhere each change of state is a line, and counts are left out.

use super::units::fine_size;
use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};

/// A bar is drawn on terminals that are wider than this.
const WIDTH_FOR_BAR: u16 = 110;
const BAR_CELLS: i64 = 50;

/// Prints what happens to layers. Threads may call it as they like.
#[derive(Debug)]
pub(crate) struct Printer<W> {
    /// The width of the terminal; `None` where there is none.
    width: Option<u16>,
    state: Mutex<State<W>>,
}

#[derive(Debug)]
struct State<W> {
    out: W,
    /// The line of each layer, counted from the first that is still being rewritten.
    lines: HashMap<String, usize>,
}

impl Printer<io::Stdout> {
    /// Prints to standard output, as what that is allows.
    pub(crate) fn to_stdout() -> Self {
        let stdout = io::stdout();
        let width = stdout.is_terminal().then(|| {
            // Docker takes this width where a terminal does not tell its own.
            rustix::termios::tcgetwinsize(&stdout).map_or(200, |size| size.ws_col)
        });
        Self::new(stdout, width)
    }
}

impl<W: Write> Printer<W> {
    /// Prints to `out`, which is a terminal of so many columns, or none.
    pub(crate) fn new(out: W, width: Option<u16>) -> Self {
        let lines = HashMap::new();
        Self {
            width,
            state: Mutex::new(State { out, lines }),
        }
    }

    /// A line of its own. Layers before it are done with: their lines are not touched again.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        self.locked(|state| {
            state.lines.clear();
            writeln!(state.out, "{text}")
        })
    }

    /// A layer has come into a state: `Pulling fs layer`, `Download complete` and so on.
    pub(crate) fn state(&self, id: &str, status: &str) -> io::Result<()> {
        self.locked(|state| match self.width {
            Some(_) => state.rewrite(id, &format!("{status} ")),
            None => writeln!(state.out, "{id}: {status}"),
        })
    }

    /// A layer has got so far within a state. Of no terminal's business.
    pub(crate) fn advance(&self, id: &str, status: &str, count: Count) -> io::Result<()> {
        let Some(width) = self.width else {
            return Ok(());
        };
        let shown = format!("{status} {}", count.show(width));
        self.locked(|state| state.rewrite(id, &shown))
    }

    fn locked(&self, write: impl FnOnce(&mut State<W>) -> io::Result<()>) -> io::Result<()> {
        // A thread that died while printing has lost at most a part of a line.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut state)?;
        state.out.flush()
    }
}

impl<W: Write> State<W> {
    fn rewrite(&mut self, id: &str, shown: &str) -> io::Result<()> {
        let next = self.lines.len();
        let line = *self.lines.entry(id.to_owned()).or_insert(next);
        if line == next {
            writeln!(self.out)?;
        }
        let up = self.lines.len() - line;
        // Up, erase the line, write it, and back down to the left margin.
        write!(self.out, "\x1b[{up}A\x1b[2K\r{id}: {shown}\r\x1b[{up}B")
    }
}

/// How much of how much; a total of 0 is one that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// Bytes so far.
    pub(crate) current: i64,
    /// Bytes in all.
    pub(crate) total: i64,
}

impl Count {
    fn show(self, width: u16) -> String {
        let Self { current, total } = self;
        if current <= 0 && total <= 0 {
            return String::new();
        }
        let shown = format!("{:>8}", fine_size(current));
        if total <= 0 {
            return shown;
        }
        let mut out = String::new();
        if width > WIDTH_FOR_BAR {
            let percentage = (current as f64 / total as f64 * 100.0) as i64;
            let done = (percentage / 2).clamp(0, BAR_CELLS);
            let bar = "=".repeat(done as usize);
            let blank = " ".repeat((BAR_CELLS - done) as usize);
            out = format!("[{bar}>{blank}] ");
        }
        out.push_str(&shown);
        // A count beyond its total says that the total is wrong.
        if current <= total {
            out.push('/');
            out.push_str(&fine_size(total));
        }
        out
    }
}

/// Says when the next count is worth showing: every half mebibyte, or every hundredth where that
/// is less, and at the end. Source: docker/docker `pkg/progress/progressreader.go`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    total: i64,
    every: i64,
    shown: i64,
}

impl Meter {
    /// For something of so many bytes, 0 where nobody knows.
    pub(crate) fn new(total: i64) -> Self {
        let every = 512 * 1024;
        let every = if total > 0 {
            every.min(total / 100)
        } else {
            every
        };
        Self {
            total,
            every,
            shown: 0,
        }
    }

    /// The count to show now that there are so many bytes, if it is time for one.
    pub(crate) fn due(&mut self, current: i64) -> Option<Count> {
        let is_due = current - self.shown > self.every || current == self.total;
        is_due.then(|| {
            self.shown = current;
            Count {
                current,
                total: self.total,
            }
        })
    }
}
